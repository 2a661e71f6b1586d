//! `GET /images/json`.

use engine::image::ImageListRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::summary;

pub(crate) async fn list(call: Call) -> Result<Reply, ApiError> {
    let mut filters = call.query.filters()?;
    // The form of before API 1.25.
    if let Some(name) = call.query.get("filter") {
        filters
            .entry("reference".to_owned())
            .or_default()
            .push(name.to_owned());
    }
    let images = engine::image::list(
        call.engine(),
        ImageListRequest {
            all: call.query.flag("all"),
            filters,
        },
    )
    .await?;
    let rows: Vec<_> = images
        .iter()
        .map(|image| summary::image(image, call.version))
        .collect();
    Ok(reply::ok(&rows))
}
