//! `GET /images/{name}/get` and `GET /images/get`.

use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn save(call: Call) -> Result<Reply, ApiError> {
    if call.query.get("platform").is_some() {
        return Err(ApiError::unsupported(
            "saving one platform of an image (--platform)",
        ));
    }
    let mut names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
    names.extend(call.parameters.iter().cloned());
    if names.is_empty() {
        return Err(ApiError::invalid("no image was named"));
    }
    let archive = engine::image::save(call.engine(), names).await?;
    Ok(reply::stream(
        "application/x-tar",
        ReaderStream::with_capacity(archive, 64 << 10),
    ))
}
