//! `POST /berth/containers/{id}/rollback`: Berth's own.

use api_types::container::IdReply;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn rollback(call: Call) -> Result<Reply, ApiError> {
    let steps = match call.query.get("steps") {
        None => 1,
        Some(text) => text
            .parse()
            .map_err(|_not_a_number| ApiError::invalid(format!("invalid number of steps: {text}")))?,
    };
    let done = engine::container::rollback(call.engine(), call.name(), steps).await?;
    Ok(reply::json(StatusCode::OK, &IdReply { id: done.image }))
}
