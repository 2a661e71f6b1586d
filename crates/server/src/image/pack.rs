//! `POST /images/pack`, which Docker has not: an image out of programs of this host.

use api_types::container::IdReply;
use api_types::image::ImagePackRequest;
use engine::image::PackRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn pack(mut call: Call) -> Result<Reply, ApiError> {
    let ImagePackRequest {
        reference,
        programs,
        changes,
    } = call.json().await?;
    if let Some(program) = programs.iter().find(|program| !program.starts_with('/')) {
        return Err(ApiError::invalid(format!(
            "invalid program \"{program}\": the path must be absolute"
        )));
    }
    let request = PackRequest {
        reference,
        programs: programs.into_iter().map(Into::into).collect(),
        changes,
    };
    let id = engine::image::pack(call.engine(), request).await?;
    Ok(reply::json(StatusCode::CREATED, &IdReply { id }))
}
