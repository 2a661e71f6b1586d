//! `POST /exec/{id}/resize`.

use http::StatusCode;

use crate::call::Call;
use crate::container::resize::size;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn resize(call: Call) -> Result<Reply, ApiError> {
    let (rows, columns) = size(&call.query)?;
    engine::container::exec_resize(call.engine(), call.name(), rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}
