//! `GET /networks/{id}`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    let name = call.name();
    let network = super::list::networks()
        .into_iter()
        .find(|network| network.name == name || network.id.starts_with(name));
    match network {
        Some(network) => Ok(reply::ok(&network)),
        None => Err(ApiError::new(
            base::error::Kind::NotFound,
            format!("network {name} not found"),
        )),
    }
}
