//! `POST /containers/{id}/resize`.

use http::StatusCode;

use crate::call::Call;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn resize(call: Call) -> Result<Reply, ApiError> {
    let (rows, columns) = size(&call.query)?;
    engine::container::resize(call.engine(), call.name(), rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Reads a terminal's size.
pub(crate) fn size(query: &Query) -> Result<(u16, u16), ApiError> {
    let side = |name: &str| {
        let size: Option<u16> = query.number(name)?;
        size.ok_or_else(|| ApiError::invalid(format!("query parameter {name} is missing")))
    };
    Ok((side("h")?, side("w")?))
}
