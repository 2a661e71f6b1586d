//! `DELETE /networks/{id}`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn remove(call: Call) -> Result<Reply, ApiError> {
    engine::network::remove(call.engine(), call.name()).await?;
    Ok(reply::no_content())
}
