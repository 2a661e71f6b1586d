//! `POST /images/load`.

use api_types::stream::Progress;
use bytes::Bytes;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn load(call: Call) -> Result<Reply, ApiError> {
    if call.query.get("platform").is_some() {
        return Err(ApiError::unsupported(
            "loading one platform of an archive (--platform)",
        ));
    }
    let engine = call.engine().clone();
    let loaded = engine::image::load(&engine, call.into_reader()).await?;
    let mut body = Vec::new();
    for image in loaded {
        let lines = if image.references.is_empty() {
            vec![format!("Loaded image ID: {}\n", image.id)]
        } else {
            image
                .references
                .iter()
                .map(|name| format!("Loaded image: {name}\n"))
                .collect()
        };
        for stream in lines {
            let line = serde_json::to_vec(&Progress {
                stream,
                ..Progress::default()
            });
            body.extend(line.map_err(|error| ApiError::new(base::error::Kind::Internal, error.to_string()))?);
            body.extend_from_slice(b"\r\n");
        }
    }
    Ok(reply::typed(
        StatusCode::OK,
        "application/json",
        reply::full(Bytes::from(body)),
    ))
}
