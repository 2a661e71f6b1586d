//! `POST /containers/{id}/restart`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn restart(call: Call) -> Result<Reply, ApiError> {
    let request = super::stop::request(&call.query)?;
    engine::container::restart(call.engine(), call.name(), request).await?;
    Ok(reply::no_content())
}
