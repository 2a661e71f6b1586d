//! `POST /images/{name}/tag`.

use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn tag(call: Call) -> Result<Reply, ApiError> {
    let Some(name) = call.query.get("repo") else {
        return Err(ApiError::invalid(
            "invalid reference format: repository name must not be empty",
        ));
    };
    let reference = match call.query.get("tag") {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    engine::image::tag(call.engine(), call.name(), &reference).await?;
    Ok(reply::empty(StatusCode::CREATED))
}
