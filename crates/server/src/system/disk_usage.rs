//! `GET /system/df`.

use api_types::system::DiskUsage;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::{signed, summary};

pub(crate) async fn disk_usage(call: Call) -> Result<Reply, ApiError> {
    let types: Vec<&str> = call.query.all("type").collect();
    if let Some(other) = types
        .iter()
        .find(|name| !matches!(**name, "container" | "image" | "volume" | "build-cache"))
    {
        return Err(ApiError::invalid(format!("unknown object type: {other}")));
    }
    let wanted = |name: &str| types.is_empty() || types.contains(&name);
    let usage = engine::system::disk_usage(call.engine()).await?;
    let images = usage.images.iter().map(|(image, shared)| {
        let mut row = summary::image(image, call.version);
        row.containers = i64::try_from(image.containers).unwrap_or(i64::MAX);
        row.shared_size = signed(*shared);
        row
    });
    Ok(reply::ok(&DiskUsage {
        layers_size: if wanted("image") { signed(usage.layers) } else { 0 },
        images: if wanted("image") {
            images.collect()
        } else {
            Vec::new()
        },
        containers: if wanted("container") {
            usage
                .containers
                .iter()
                .map(|row| summary::container(call.engine(), row, call.version))
                .collect()
        } else {
            Vec::new()
        },
        volumes: if wanted("volume") {
            usage
                .volumes
                .iter()
                .map(|(volume, size)| summary::volume(volume, Some(*size)))
                .collect()
        } else {
            Vec::new()
        },
        build_cache: Vec::new(),
    }))
}
