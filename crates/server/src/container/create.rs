//! `POST /containers/create`.

use api_types::container::{CreateReply, CreateRequest};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let (name, platform) = (call.query.get("name"), call.query.get("platform"));
    let (name, platform) = (name.map(str::to_owned), platform.map(str::to_owned));
    let request = from_api(name, platform, call.json().await?)?;
    let created = engine::container::create(call.engine(), request).await?;
    let body = CreateReply {
        id: created.id.to_string(),
        warnings: created.warnings,
    };
    Ok(reply::json(StatusCode::CREATED, &body))
}

/// Returns what the engine is asked for.
pub(super) fn from_api(
    name: Option<String>,
    platform: Option<String>,
    request: CreateRequest,
) -> Result<engine::container::CreateRequest, ApiError> {
    let CreateRequest {
        config,
        host_config,
        networking_config,
    } = request;
    translate::network::check(&networking_config)?;
    Ok(engine::container::CreateRequest {
        name,
        platform,
        config: translate::config::from_api(config)?,
        host: translate::host_config::from_api(host_config)?,
    })
}
