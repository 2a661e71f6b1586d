//! `DELETE /images/{name}`.

use api_types::image::ImageDelete;
use engine::image::{Removal, RemoveImageRequest};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn remove(call: Call) -> Result<Reply, ApiError> {
    if call.query.get("platforms").is_some() {
        return Err(ApiError::unsupported(
            "removing one platform of an image (--platform)",
        ));
    }
    let request = RemoveImageRequest {
        force: call.query.flag("force"),
        no_prune: call.query.flag("noprune"),
    };
    let removed = engine::image::remove(call.engine(), call.name(), request).await?;
    Ok(reply::ok(&to_api(removed)))
}

/// Translates what went.
pub(crate) fn to_api(removed: Vec<Removal>) -> Vec<ImageDelete> {
    let items = removed.into_iter().map(|removal| match removal {
        Removal::Untagged(untagged) => ImageDelete {
            untagged,
            ..ImageDelete::default()
        },
        Removal::Deleted(deleted) | Removal::Layer(deleted) => ImageDelete {
            deleted,
            ..ImageDelete::default()
        },
    });
    items.collect()
}
