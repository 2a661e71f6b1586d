//! `POST /containers/create`.

use api_types::container::{CreateReply, CreateRequest};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let CreateRequest {
        config,
        host_config,
        networking_config,
    } = call.json().await?;
    translate::network::check(&networking_config)?;
    let request = engine::container::CreateRequest {
        name: call.query.get("name").map(str::to_owned),
        platform: call.query.get("platform").map(str::to_owned),
        config: translate::config::from_api(config)?,
        host: translate::host_config::from_api(host_config)?,
    };
    let created = engine::container::create(call.engine(), request).await?;
    let body = CreateReply {
        id: created.id.to_string(),
        warnings: created.warnings,
    };
    Ok(reply::json(StatusCode::CREATED, &body))
}
