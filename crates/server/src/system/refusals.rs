//! What Docker has and Berth has not yet: refused by name.

use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

/// Swarm: Docker's words on a node that is no manager.
pub(crate) async fn swarm(_call: Call) -> Result<Reply, ApiError> {
    Err(ApiError::with_status(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    ))
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(_call: Call) -> Result<Reply, ApiError> {
    Ok(reply::ok(&Vec::<()>::new()))
}

/// `POST /build/prune`: nothing is built, so nothing is cached.
pub(crate) async fn build_prune(_call: Call) -> Result<Reply, ApiError> {
    Ok(reply::ok(
        &serde_json::json!({"CachesDeleted": null, "SpaceReclaimed": 0}),
    ))
}

macro_rules! refusals {
    ($($name:ident: $what:literal;)*) => {$(
        pub(crate) async fn $name(_call: Call) -> Result<Reply, ApiError> {
            Err(ApiError::unsupported($what))
        }
    )*};
}

refusals! {
    build: "building images";
    checkpoint: "checkpointing containers";
    plugin: "plugins";
    swarm_start: "swarm";
    session: "BuildKit sessions";
}
