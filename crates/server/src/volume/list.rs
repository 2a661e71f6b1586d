//! `GET /volumes`.

use api_types::volume::VolumeList;
use engine::volume::VolumeListRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::summary;

pub(crate) async fn list(call: Call) -> Result<Reply, ApiError> {
    let request = VolumeListRequest {
        filters: call.query.filters()?,
    };
    let volumes = engine::volume::list(call.engine(), request).await?;
    let volumes = volumes
        .iter()
        .map(|volume| summary::volume(volume, None))
        .collect();
    Ok(reply::ok(&VolumeList {
        volumes,
        warnings: None,
    }))
}
