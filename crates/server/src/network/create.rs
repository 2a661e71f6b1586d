//! `POST /networks/create`.

use api_types::network::{IpamConfig, NetworkCreateReply, NetworkCreateRequest};
use engine::network::{CreateRequest, IpamRequest};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let request = from_api(call.json().await?);
    let created = engine::network::create(call.engine(), request).await?;
    let body = NetworkCreateReply {
        id: created.id.to_string(),
        warning: created.warning,
    };
    Ok(reply::json(StatusCode::CREATED, &body))
}

fn from_api(api: NetworkCreateRequest) -> CreateRequest {
    let NetworkCreateRequest {
        // Names are always unique.
        check_duplicate: _,
        driver,
        scope,
        enable_ipv4,
        enable_ipv6,
        ipam,
        internal,
        attachable,
        ingress,
        config_only,
        config_from,
        options,
        labels,
        name,
    } = api;
    let ipam = ipam.unwrap_or_default();
    CreateRequest {
        name,
        driver,
        internal,
        attachable,
        ingress,
        config_only,
        config_from: config_from.unwrap_or_default().network,
        scope,
        ipv4: enable_ipv4,
        ipv6: enable_ipv6,
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.unwrap_or_default(),
        ipam: ipam
            .config
            .unwrap_or_default()
            .into_iter()
            .map(range_from)
            .collect(),
        options,
        labels,
    }
}

fn range_from(config: IpamConfig) -> IpamRequest {
    IpamRequest {
        subnet: config.subnet,
        ip_range: config.ip_range,
        gateway: config.gateway,
        auxiliary: config.auxiliary_addresses,
    }
}
