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

macro_rules! refusals {
    ($($name:ident: $what:literal;)*) => {$(
        pub(crate) async fn $name(_call: Call) -> Result<Reply, ApiError> {
            Err(ApiError::unsupported($what))
        }
    )*};
}

refusals! {
    auth: "logging in to a registry";
    build: "building images";
    build_prune: "a build cache";
    checkpoint: "checkpointing containers";
    distribution: "asking a registry for an image";
    network: "making and changing networks";
    plugin: "plugins";
    push: "pushing images to a registry";
    search: "searching a registry";
    swarm_start: "swarm";
    session: "BuildKit sessions";
}
