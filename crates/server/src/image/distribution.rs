//! `GET /distribution/{name}/json`.

use api_types::registry::{DistributionDescriptor, DistributionInspect, DistributionPlatform};

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn distribution(call: Call) -> Result<Reply, ApiError> {
    let credentials = registry_auth::for_image(&call.headers, call.name())
        .map_err(|problem| ApiError::invalid(problem.to_string()))?;
    let found = engine::image::distribution(call.engine(), call.name(), credentials).await?;
    let platforms = found.platforms.into_iter().map(|platform| DistributionPlatform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: String::new(),
        os_features: Vec::new(),
        variant: platform.variant.unwrap_or_default(),
    });
    Ok(reply::ok(&DistributionInspect {
        descriptor: DistributionDescriptor {
            media_type: found.descriptor.media_type,
            digest: found.descriptor.digest.to_string(),
            size: signed(found.descriptor.size),
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        },
        platforms: Some(platforms.collect()),
    }))
}
