//! Pull: an image from a registry.

use std::sync::Arc;

use base::error::{Kind, Kinded};
use image::pull::{LayerState, PullEvent, Resolved};
use oci::platform::Platform;
use oci::{Digest, Reference};
use registry::client::{Access, Credentials, Repository};
use tokio::sync::mpsc;

use super::ImageError;
use crate::Engine;

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The name, possibly with a tag or a digest.
    pub name: String,
    /// The tag or the digest; empty: that of the name, and every tag if it has none.
    pub tag: String,
    /// `os[/arch[/variant]]`; `None`: this machine's.
    pub platform: Option<String>,
    /// What the registry is shown.
    pub credentials: Credentials,
}

/// What happens while an image is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullProgress {
    /// The image was found.
    Found {
        /// Its repository on the registry.
        path: String,
        /// The tag or the digest.
        target: String,
    },
    /// Something happened to a layer.
    Layer {
        /// The first digits of its blob's digest.
        id: String,
        /// What it is about now.
        state: LayerState,
    },
    /// The image is here.
    Digest(Digest),
    /// All is done.
    Done {
        /// The name as it was asked for, short.
        name: String,
        /// Whether anything is new.
        is_new: bool,
    },
}

/// Pulls an image, or all images of a repository. Everything is told through `report`; when its receiver is dropped,
/// or this future, the pull ends, and the next one goes on from what has come.
pub async fn pull(
    engine: &Arc<Engine>,
    request: PullRequest,
    report: mpsc::Sender<PullProgress>,
) -> Result<(), ImageError> {
    let name = parse_name(&request.name, &request.tag)?;
    let platform = request.platform.as_deref().filter(|text| !text.is_empty());
    let platform: Option<Platform> = platform.map(|text| text.parse()).transpose().map_err(
        |error: oci::platform::ParsePlatformError| ImageError::Invalid {
            text: error.to_string(),
        },
    )?;
    let client = engine.registries.client().map_err(remote)?;
    let repository = client.repository(&name, request.credentials, Access::Pull);
    let mut is_new = false;
    if name.tag().is_some() || name.digest().is_some() {
        is_new = one(engine, &repository, &name, platform.as_ref(), &report).await?;
    } else {
        for tag in repository.tags().await.map_err(remote)? {
            // What is not a tag to us could not be named here.
            let Ok(tagged) = name.with_tag(&tag) else {
                continue;
            };
            is_new |= one(engine, &repository, &tagged, platform.as_ref(), &report).await?;
        }
    }
    let done = PullProgress::Done {
        name: name.familiar(),
        is_new,
    };
    send(&report, done).await
}

/// Reads the name as docker's API has it: in one piece, or with the tag or digest apart.
pub(crate) fn parse_name(name: &str, tag: &str) -> Result<Reference, ImageError> {
    let invalid = |error: &dyn std::error::Error| ImageError::Invalid {
        text: base::error::chain(error).to_string(),
    };
    // `pull -a` of old clients.
    let name = name.strip_suffix(':').unwrap_or(name);
    let name = Reference::parse(name).map_err(|error| invalid(&error))?;
    if tag.is_empty() {
        return Ok(name);
    }
    match tag.parse::<Digest>() {
        Ok(digest) => Ok(name.with_digest(&digest)),
        Err(_not_a_digest) => name.with_tag(tag).map_err(|error| invalid(&error)),
    }
}

async fn one(
    engine: &Arc<Engine>,
    repository: &Repository,
    name: &Reference,
    platform: Option<&Platform>,
    report: &mpsc::Sender<PullProgress>,
) -> Result<bool, ImageError> {
    let resolving = engine.puller.resolve(repository, name, platform);
    let resolved = tokio::select! {
        () = report.closed() => return Err(cancelled()),
        resolved = resolving => resolved.map_err(remote)?,
    };
    // Before anything of it is fetched.
    crate::policy::check_pull(engine, repository, name, &resolved).await?;
    let target = name
        .digest()
        .map(Digest::as_str)
        .or(name.tag())
        .unwrap_or("latest");
    send(
        report,
        PullProgress::Found {
            path: name.path().to_owned(),
            target: target.to_owned(),
        },
    )
    .await?;
    let (sender, receiver) = mpsc::channel(64);
    let fetching = async {
        let sender = sender;
        engine.puller.fetch(repository, &resolved, name, &sender).await
    };
    // When the reader is gone, so is the receiver, which ends the fetch.
    let (pulled, passed) = tokio::join!(fetching, pass_on(receiver, report));
    if pulled.is_err() {
        // Layers that were shown before it failed; their blobs are kept for the next try.
        discard_layers(engine, &resolved).await;
    }
    let pulled = pulled.map_err(remote)?;
    passed?;
    engine.sync_layers_later();
    super::tell(engine, "pull", &name.familiar(), Some(&name.familiar_name()));
    send(report, PullProgress::Digest(resolved.digest.clone())).await?;
    Ok(pulled.is_new)
}

/// Removes the unpacked layers of an image that did not come about, but for those that others have.
async fn discard_layers(engine: &Arc<Engine>, resolved: &Resolved) {
    let kept: std::collections::BTreeSet<oci::ChainId> = engine
        .images
        .list()
        .iter()
        .flat_map(|image| image.chain())
        .collect();
    let layers = resolved.chain().into_iter().rev();
    let layers = layers.filter(|layer| !kept.contains(layer)).collect();
    let worker = Arc::clone(engine);
    drop(
        super::blocking("remove layers", move || {
            super::remove_layers(&worker, layers);
            Ok(())
        })
        .await,
    );
}

async fn pass_on(
    mut receiver: mpsc::Receiver<PullEvent>,
    report: &mpsc::Sender<PullProgress>,
) -> Result<(), ImageError> {
    while let Some(PullEvent { layer, state }) = receiver.recv().await {
        let id = layer.short().to_owned();
        send(report, PullProgress::Layer { id, state }).await?;
    }
    Ok(())
}

async fn send(report: &mpsc::Sender<PullProgress>, progress: PullProgress) -> Result<(), ImageError> {
    report.send(progress).await.map_err(|_gone| cancelled())
}

pub(crate) fn cancelled() -> ImageError {
    ImageError::Remote {
        text: "context canceled".to_owned(),
        kind: Kind::Cancelled,
    }
}

/// Returns the error of a registry, or of what it sent, in its own words.
pub(crate) fn remote<E: Kinded>(error: E) -> ImageError {
    ImageError::Remote {
        kind: match error.kind() {
            // dockerd answers 500 when a registry wants to know who asks: it is not our caller who may not.
            Kind::Denied => Kind::Internal,
            kind => kind,
        },
        text: base::error::chain(&error).to_string(),
    }
}
