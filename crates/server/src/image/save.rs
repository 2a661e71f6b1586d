//! `GET /images/{name}/get` and `GET /images/get`.

use engine::image::SaveOptions;
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
    // Berth's own: for a receiver that has the other blobs.
    let only = match call.query.get("blobs") {
        Some(list) => Some(
            list.split(',')
                .map(super::copy::parse)
                .collect::<Result<_, _>>()?,
        ),
        None => None,
    };
    let archive = engine::image::save(call.engine(), SaveOptions { names, only }).await?;
    Ok(reply::stream(
        "application/x-tar",
        ReaderStream::with_capacity(archive, 64 << 10),
    ))
}
