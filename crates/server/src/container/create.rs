//! `POST /containers/create`.

use api_types::container::{CreateReply, CreateRequest};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;
use crate::version::ApiVersion;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let (name, platform) = (call.query.get("name"), call.query.get("platform"));
    let (name, platform) = (name.map(str::to_owned), platform.map(str::to_owned));
    let request = from_api(name, platform, call.json().await?, call.version)?;
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
    version: ApiVersion,
) -> Result<engine::container::CreateRequest, ApiError> {
    let CreateRequest {
        config,
        host_config,
        networking_config,
    } = request;
    let mut host = translate::host_config::from_api(host_config)?;
    translate::network::add_endpoints(&mut host, networking_config.endpoints_config, version)?;
    let config = translate::config::from_api(config)?;
    translate::network::check_mode(&config, &host)?;
    Ok(engine::container::CreateRequest {
        name,
        platform,
        config,
        host,
        starts: false,
    })
}
