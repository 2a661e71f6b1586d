//! `GET /networks/{id}`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    let details = engine::network::inspect(call.engine(), call.name())?;
    // What a verbose reply has more is about services of a swarm.
    let _verbose = call.query.flag("verbose");
    match call.query.get("scope") {
        None | Some("local") => Ok(reply::ok(&translate::network::network(&details, true))),
        Some(_) => Err(ApiError::new(
            base::error::Kind::NotFound,
            format!("network {} not found", call.name()),
        )),
    }
}
