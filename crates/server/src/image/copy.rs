//! `GET /images/{name}/blobs` and `POST /images/missing`, which Docker has not: an image goes to another daemon without
//! what that has.

use api_types::image::{ImageBlob, ImageBlobs, MissingReply, MissingRequest};
use oci::Digest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

/// Most blobs of one image.
const MOST: usize = 4000;

pub(crate) async fn blobs(call: Call) -> Result<Reply, ApiError> {
    let found = engine::image::blobs(call.engine(), call.name()).await?;
    Ok(reply::ok(&ImageBlobs {
        id: found.id.to_string(),
        manifest: found.manifest.digest.to_string(),
        blobs: found
            .blobs
            .iter()
            .map(|blob| ImageBlob {
                digest: blob.digest.to_string(),
                size: blob.size,
            })
            .collect(),
    }))
}

pub(crate) async fn missing(mut call: Call) -> Result<Reply, ApiError> {
    let request: MissingRequest = call.json().await?;
    if request.blobs.len() > MOST {
        return Err(ApiError::invalid(format!("more than {MOST} blobs")));
    }
    let manifest = parse(&request.manifest)?;
    let blobs = request
        .blobs
        .iter()
        .map(|digest| parse(digest))
        .collect::<Result<_, _>>()?;
    let missing = engine::image::missing(call.engine(), manifest, blobs).await?;
    Ok(reply::ok(&MissingReply {
        missing: missing.iter().map(Digest::to_string).collect(),
    }))
}

/// Returns a digest that the store can have.
pub(crate) fn parse(text: &str) -> Result<Digest, ApiError> {
    let digest: Digest = text
        .parse()
        .map_err(|error: oci::digest::ParseDigestError| ApiError::invalid(error.to_string()))?;
    if digest.algorithm() == "sha256" {
        Ok(digest)
    } else {
        Err(ApiError::invalid(format!(
            "digest {digest} is not supported, sha256 is needed"
        )))
    }
}
