//! From a name to the manifest that is meant, checked before anything is stored.

use bytes::Bytes;
use oci::image::{Descriptor, ImageConfig, Index, Manifest};
use oci::platform::Platform;
use oci::{ChainId, Digest, Reference, media_type};
use registry::client::{Fetched, Repository, Target};

use super::layer::Plan;
use super::{PullError, Puller};
use crate::document::{MAX_CONFIG, MAX_INDEX_DEPTH, MAX_LAYERS};

/// An image in a registry, as it was when its name was looked up.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The digest of what the name means: the manifest, or an index that has it.
    pub digest: Digest,
    /// The digests that lead to the image, each named by the one before: `digest` first, the manifest's last.
    pub subjects: Vec<Digest>,
    /// The manifest.
    pub descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_bytes: Bytes,
    pub(crate) config_bytes: Bytes,
    pub(super) layers: Vec<Plan>,
}

impl Resolved {
    /// Returns the names of the unpacked layers, lowest first.
    pub fn chain(&self) -> Vec<ChainId> {
        self.layers.iter().map(|layer| layer.chain_id.clone()).collect()
    }
}

impl Puller {
    /// Looks up what `name` (with a tag or a digest) means in a repository for a platform.
    pub async fn resolve(
        &self,
        repository: &Repository,
        name: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Resolved, PullError> {
        let target = match (name.digest(), name.tag()) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, tag) => Target::Tag(tag.unwrap_or("latest").to_owned()),
        };
        let host = Platform::host();
        let mut fetched = repository.manifest(&target).await?;
        let mut subjects = vec![fetched.digest.clone()];
        while media_type::is_index(&fetched.media_type) {
            if subjects.len() > MAX_INDEX_DEPTH {
                return Err(wrong(&fetched.digest, "nests too many indexes"));
            }
            let chosen = choose(&fetched, platform.unwrap_or(&host))?;
            fetched = repository
                .manifest(&Target::Digest(chosen.digest.clone()))
                .await?;
            if fetched.media_type != chosen.media_type {
                return Err(wrong(
                    &fetched.digest,
                    "has another media type than its index says",
                ));
            }
            subjects.push(fetched.digest.clone());
        }
        let manifest = check_manifest(&fetched)?;
        let config = repository.blob_bytes(&manifest.config.digest, MAX_CONFIG).await?;
        if u64::try_from(config.len()).unwrap_or(u64::MAX) != manifest.config.size {
            return Err(wrong(
                &manifest.config.digest,
                "has another size than its descriptor says",
            ));
        }
        let parsed: ImageConfig = parse(&manifest.config.digest, &config)?;
        if let Some(wanted) = platform
            && subjects.len() == 1
            && !parsed.platform().runs_on(wanted)
        {
            return Err(PullError::OtherPlatform {
                reference: name.familiar(),
                wanted: wanted.to_string(),
                actual: parsed.platform().to_string(),
            });
        }
        let layers = plan(&manifest, &parsed, &fetched.digest)?;
        let size = u64::try_from(fetched.bytes.len()).unwrap_or(u64::MAX);
        Ok(Resolved {
            digest: subjects[0].clone(),
            descriptor: Descriptor::new(&fetched.media_type, fetched.digest, size),
            subjects,
            manifest,
            manifest_bytes: fetched.bytes,
            config_bytes: config,
            layers,
        })
    }
}

/// Returns the descriptor of the manifest for a platform.
fn choose(fetched: &Fetched, platform: &Platform) -> Result<Descriptor, PullError> {
    let index: Index = parse(&fetched.digest, &fetched.bytes)?;
    if index.layers.is_some() || index.config.is_some() {
        return Err(wrong(&fetched.digest, "is an index and a manifest at once"));
    }
    check_own_type(index.media_type.as_deref(), fetched)?;
    let is_known = |descriptor: &&Descriptor| {
        media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type)
    };
    let of_platform = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|own| own.runs_on(platform))
    };
    // One that says what it is for comes before one that does not.
    let mut known = index.manifests.iter().filter(is_known);
    let chosen = known
        .clone()
        .find(of_platform)
        .or_else(|| known.find(|descriptor| descriptor.platform.is_none()));
    chosen.cloned().ok_or_else(|| PullError::NoPlatform {
        platform: platform.to_string(),
    })
}

fn check_manifest(fetched: &Fetched) -> Result<Manifest, PullError> {
    let digest = &fetched.digest;
    let manifest: Manifest = parse(digest, &fetched.bytes)?;
    if manifest.schema_version != 2 {
        return Err(wrong(digest, "is not of schema version 2"));
    }
    if manifest.manifests.is_some() {
        return Err(wrong(digest, "is a manifest and an index at once"));
    }
    check_own_type(manifest.media_type.as_deref(), fetched)?;
    if !media_type::is_config(&manifest.config.media_type) {
        let problem = format!("is no image but \"{}\"", short(&manifest.config.media_type));
        return Err(wrong(digest, problem));
    }
    if manifest.config.size > MAX_CONFIG {
        return Err(wrong(
            digest,
            format!("has a configuration of more than {MAX_CONFIG} bytes"),
        ));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(wrong(digest, format!("has more than {MAX_LAYERS} layers")));
    }
    for layer in &manifest.layers {
        let is_foreign =
            layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable");
        if is_foreign {
            return Err(PullError::Foreign {
                layer: layer.digest.clone(),
                media_type: short(&layer.media_type),
            });
        }
        if !media_type::is_layer(&layer.media_type) {
            let problem = format!(
                "has a layer of the unsupported type \"{}\"",
                short(&layer.media_type)
            );
            return Err(wrong(digest, problem));
        }
    }
    Ok(manifest)
}

fn check_own_type(own: Option<&str>, fetched: &Fetched) -> Result<(), PullError> {
    match own {
        Some(own) if own != fetched.media_type => Err(wrong(
            &fetched.digest,
            "has another media type than the registry says",
        )),
        _ => Ok(()),
    }
}

fn plan(manifest: &Manifest, config: &ImageConfig, digest: &Digest) -> Result<Vec<Plan>, PullError> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (have, want) = (manifest.layers.len(), diff_ids.len());
        let problem = format!("has {have} layers, its configuration {want}");
        return Err(wrong(digest, problem));
    }
    let chain = ChainId::chain(diff_ids);
    let layers = manifest.layers.iter().enumerate().map(|(at, blob)| Plan {
        blob: blob.clone(),
        diff_id: diff_ids[at].clone(),
        chain_id: chain[at].clone(),
        parent: at.checked_sub(1).map(|below| chain[below].clone()),
    });
    Ok(layers.collect())
}

fn parse<T: serde::de::DeserializeOwned>(digest: &Digest, bytes: &[u8]) -> Result<T, PullError> {
    serde_json::from_slice(bytes).map_err(|error| wrong(digest, format!("cannot be read: {error}")))
}

fn wrong(digest: &Digest, problem: impl Into<String>) -> PullError {
    PullError::Content {
        digest: digest.clone(),
        problem: problem.into(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}
