//! `POST /containers/{id}/stop`.

use engine::container::StopRequest;

use super::start::done;
use crate::call::Call;
use crate::query::Query;
use crate::reply::Reply;
use crate::status::ApiError;

pub(crate) async fn stop(call: Call) -> Result<Reply, ApiError> {
    let request = request(&call.query)?;
    let changed = engine::container::stop(call.engine(), call.name(), request).await?;
    Ok(done(changed))
}

/// Reads the query of stop and restart.
pub(crate) fn request(query: &Query) -> Result<StopRequest, ApiError> {
    Ok(StopRequest {
        signal: query.get("signal").map(str::to_owned),
        timeout: query.number("t")?,
    })
}
