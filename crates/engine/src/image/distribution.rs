//! Distribution: what the registry of an image has under its name, without pulling it.

use std::sync::Arc;

use oci::image::{Descriptor, ImageConfig, Index, Manifest};
use oci::media_type;
use oci::platform::Platform;
use registry::client::{Access, Credentials, Target};

use super::ImageError;
use super::import::parse_reference;
use super::pull::remote;
use crate::Engine;

/// What a registry has.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// The manifest or the index.
    pub descriptor: Descriptor,
    /// The platforms that it is for.
    pub platforms: Vec<Platform>,
}

/// Largest configuration in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// Asks the registry that `name` names.
pub async fn distribution(
    engine: &Arc<Engine>,
    name: &str,
    credentials: Credentials,
) -> Result<Distribution, ImageError> {
    let reference = parse_reference(name)?;
    let client = engine.registries.client().map_err(remote)?;
    let repository = client.repository(&reference, credentials, Access::Pull);
    let target = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Target::Digest(digest.clone()),
        (None, tag) => Target::Tag(tag.unwrap_or("latest").to_owned()),
    };
    let fetched = repository.manifest(&target).await.map_err(remote)?;
    let size = u64::try_from(fetched.bytes.len()).unwrap_or(u64::MAX);
    let descriptor = Descriptor::new(&fetched.media_type, fetched.digest, size);
    let invalid = |error: serde_json::Error| ImageError::Invalid {
        text: format!("invalid manifest of {}: {error}", reference.familiar()),
    };
    let platforms = if media_type::is_index(&fetched.media_type) {
        let index: Index = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
        index
            .manifests
            .into_iter()
            .filter_map(|one| one.platform)
            .collect()
    } else {
        let manifest: Manifest = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
        if media_type::is_config(&manifest.config.media_type) {
            let config = repository
                .blob_bytes(&manifest.config.digest, MAX_CONFIG)
                .await
                .map_err(remote)?;
            let config: ImageConfig = serde_json::from_slice(&config).map_err(invalid)?;
            vec![config.platform()]
        } else {
            Vec::new()
        }
    };
    Ok(Distribution {
        descriptor,
        platforms,
    })
}
