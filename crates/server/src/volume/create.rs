//! `POST /volumes/create`.

use api_types::volume::VolumeCreateRequest;
use engine::volume::VolumeRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::summary;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let VolumeCreateRequest {
        name,
        driver,
        driver_opts,
        labels,
        cluster_volume_spec,
    } = call.json().await?;
    if cluster_volume_spec.is_some() {
        return Err(ApiError::unsupported("ClusterVolumeSpec"));
    }
    let request = VolumeRequest {
        name,
        driver,
        options: driver_opts,
        labels,
    };
    let volume = engine::volume::create(call.engine(), request).await?;
    Ok(reply::json(StatusCode::CREATED, &summary::volume(&volume, None)))
}
