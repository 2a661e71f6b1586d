//! `POST /containers/{id}/update`.

use api_types::container::UpdateReply;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::{self, list};

pub(crate) async fn update(mut call: Call) -> Result<Reply, ApiError> {
    let request = translate::host_config::update_from_api(call.json().await?)?;
    let updated = engine::container::update(call.engine(), call.name(), request).await?;
    Ok(reply::ok(&UpdateReply {
        warnings: list(&updated.warnings),
    }))
}
