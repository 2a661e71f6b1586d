//! The policy: asked before an image is fetched, before an archive becomes images, and whenever a container is created.

use std::path::Path;

use base::error::{Kind, Kinded};
use image::Image;
use image::policy::{
    Evidence, PolicyFile, Presence, Refusal, Signature, Source, signature_layers, signature_tag,
};
use image::pull::Resolved;
use oci::{Digest, Reference};
use registry::client::{Repository, Target};

use crate::image::ImageError;
use crate::{Engine, EngineConfig};

/// Where the policy is looked for when nobody says; it need not exist.
const DEFAULT: &str = "/etc/berth/policy.json";
/// What cosign calls the manifests of signatures that refer to an image.
const SIGNATURES: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Most referrers that are looked at.
const MAX_REFERRERS: usize = 16;
/// Largest signed document in bytes.
const MAX_PAYLOAD: u64 = 64 << 10;

/// Returns the policy of a daemon.
pub(crate) fn open(config: &EngineConfig) -> PolicyFile {
    let file = match &config.policy {
        Some(path) => PolicyFile::new(path, Presence::Required),
        None => PolicyFile::new(Path::new(DEFAULT), Presence::Optional),
    };
    if let Some(problem) = file.current().problem() {
        tracing::error!(problem, "the policy cannot be used: every image is refused");
    }
    file
}

/// Checks an image that was found in a registry, and keeps the signatures by which it passed.
pub(crate) async fn check_pull(
    engine: &Engine,
    repository: &Repository,
    name: &Reference,
    resolved: &Resolved,
) -> Result<(), ImageError> {
    let policy = engine.policy.current();
    let source = Source::Registry(name);
    let mut evidence = Evidence {
        subjects: resolved.subjects.clone(),
        signatures: Vec::new(),
    };
    let needs_signatures = policy.needs_signatures(&source);
    if needs_signatures {
        for subject in &resolved.subjects {
            evidence.signatures.extend(signatures(repository, subject).await?);
        }
    }
    policy.decide(&source, &evidence).map_err(crate::image::remote)?;
    if needs_signatures {
        engine
            .images
            .keep_evidence(&resolved.descriptor.digest, &evidence)
            .map_err(|error| crate::image::step("keep the image's signatures", error))?;
    }
    Ok(())
}

/// Checks an archive, by its kind alone.
pub(crate) fn check_archive(engine: &Engine, source: &Source<'_>) -> Result<(), Refusal> {
    engine.policy.current().decide(source, &Evidence::default())
}

/// Checks an image that is here and was asked for as `asked`: by the rule for that name; by id, one of its names must pass.
pub(crate) fn check_use(engine: &Engine, image: &Image, asked: &str) -> Result<(), Refusal> {
    let policy = engine.policy.current();
    if policy.is_absent() {
        return Ok(());
    }
    let evidence = engine.images.evidence(&image.manifest.digest);
    let decide = |name: &Reference| {
        let came_from = |digest: &Reference| digest.repository() == name.repository();
        let source = if image.digests.iter().any(came_from) {
            Source::Registry(name)
        } else {
            Source::Local(Some(name))
        };
        policy.decide(&source, &evidence)
    };
    let names = || image.tags.iter().map(|tag| &tag.reference).chain(&image.digests);
    if let Ok(name) = Reference::parse(asked)
        && names().any(|own| own.repository() == name.repository())
    {
        return decide(&name.with_default_tag());
    }
    let mut refusal = None;
    for name in names() {
        match decide(name) {
            Ok(()) => return Ok(()),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) => Err(refusal),
        None => policy.decide(&Source::Local(None), &evidence),
    }
}

/// Returns the signatures that a registry has of one manifest or index.
async fn signatures(repository: &Repository, subject: &Digest) -> Result<Vec<Signature>, ImageError> {
    let mut manifests = vec![Target::Tag(signature_tag(subject))];
    match repository.referrers(subject, Some(SIGNATURES)).await {
        Ok(referrers) => manifests.extend(
            referrers
                .into_iter()
                .take(MAX_REFERRERS)
                .map(|referrer| Target::Digest(referrer.digest)),
        ),
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(crate::image::remote(error)),
    }
    let mut signatures = Vec::new();
    for target in manifests {
        let manifest = match repository.manifest(&target).await {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => return Err(crate::image::remote(error)),
        };
        for layer in signature_layers(&manifest.bytes).map_err(crate::image::remote)? {
            let payload = repository.blob_bytes(&layer.payload.digest, MAX_PAYLOAD).await;
            match payload {
                Ok(payload) => signatures.extend(layer.with_payload(payload.to_vec())),
                // One that is malformed or gone proves nothing; another may.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Invalid) => {}
                Err(error) => return Err(crate::image::remote(error)),
            }
        }
    }
    Ok(signatures)
}
