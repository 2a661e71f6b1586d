//! Push: an image, or every tag of a repository, to the registry in its name.

use std::sync::Arc;

use base::error::Kind;
pub use image::PushState;
use image::{Image, PushEvent};
use oci::{Digest, Reference};
use registry::client::{Access, Credentials, Repository};
use tokio::sync::mpsc;

use super::ImageError;
use super::pull::{cancelled, parse_name, remote};
use crate::Engine;

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The name, possibly with a tag or a digest.
    pub name: String,
    /// The tag; empty: that of the name, and every tag of the repository if it has none.
    pub tag: String,
    /// What the registry is shown.
    pub credentials: Credentials,
}

/// What happens while an image is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushProgress {
    /// It begins.
    Repository {
        /// The full name of the repository.
        name: String,
    },
    /// Something happened to a layer.
    Layer {
        /// The first digits of its diff id.
        id: String,
        /// What it is about now.
        state: PushState,
    },
    /// A tag is in the registry.
    Tag {
        /// The tag, or the digest where there is none.
        tag: String,
        /// The manifest's digest.
        digest: Digest,
        /// The manifest's size in bytes.
        size: u64,
    },
}

/// Pushes an image. Everything is told through `report`; when its receiver is dropped, or this future, the push ends.
pub async fn push(
    engine: &Arc<Engine>,
    request: PushRequest,
    report: mpsc::Sender<PushProgress>,
) -> Result<(), ImageError> {
    let name = parse_name(&request.name, &request.tag)?;
    let client = engine.registries.client().map_err(remote)?;
    let repository = client.repository(&name, request.credentials, Access::Push);
    let begun = PushProgress::Repository {
        name: name.repository(),
    };
    send(&report, begun).await?;
    for (image, target) in images(engine, &name)? {
        one(engine, &repository, &image, &target, &report).await?;
    }
    Ok(())
}

/// Returns what is to be pushed, in the order of the tags.
fn images(engine: &Engine, name: &Reference) -> Result<Vec<(Arc<Image>, Reference)>, ImageError> {
    let all = engine.images.list();
    let mut found: Vec<(Arc<Image>, Reference)> = Vec::new();
    for image in &all {
        let tags = image.tags.iter().map(|tag| &tag.reference);
        let tags = tags.filter(|tag| tag.repository() == name.repository());
        found.extend(tags.map(|tag| (Arc::clone(image), tag.clone())));
    }
    if found.is_empty() {
        return Err(ImageError::Remote {
            kind: Kind::NotFound,
            text: format!(
                "An image does not exist locally with the tag: {}",
                name.familiar_name()
            ),
        });
    }
    if name.tag().is_some() || name.digest().is_some() {
        found.retain(|(image, tag)| match name.digest() {
            Some(digest) => image.manifest.digest == *digest,
            None => tag == name,
        });
        found.truncate(1);
        for (_, target) in &mut found {
            *target = name.clone();
        }
        if found.is_empty() {
            return Err(ImageError::Remote {
                kind: Kind::NotFound,
                text: format!("tag does not exist: {}", name.familiar()),
            });
        }
    }
    found.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(found)
}

async fn one(
    engine: &Arc<Engine>,
    repository: &Repository,
    image: &Arc<Image>,
    target: &Reference,
    report: &mpsc::Sender<PushProgress>,
) -> Result<(), ImageError> {
    let (sender, receiver) = mpsc::channel(64);
    let pushing = async {
        let sender = sender;
        engine
            .images
            .push(image, target, repository, &sender)
            .await
            .map_err(remote)
    };
    // When the reader is gone, so is the push.
    let both = async { tokio::join!(pushing, pass_on(receiver, report)) };
    let (pushed, passed) = tokio::select! {
        () = report.closed() => return Err(cancelled()),
        both = both => both,
    };
    let pushed = pushed?;
    passed?;
    super::tell(engine, "push", &target.familiar(), Some(&target.familiar_name()));
    let done = PushProgress::Tag {
        tag: target
            .tag()
            .map_or_else(|| pushed.digest.to_string(), str::to_owned),
        digest: pushed.digest,
        size: pushed.size,
    };
    send(report, done).await
}

async fn pass_on(
    mut receiver: mpsc::Receiver<PushEvent>,
    report: &mpsc::Sender<PushProgress>,
) -> Result<(), ImageError> {
    while let Some(PushEvent { layer, state }) = receiver.recv().await {
        let id = layer.short().to_owned();
        send(report, PushProgress::Layer { id, state }).await?;
    }
    Ok(())
}

async fn send(report: &mpsc::Sender<PushProgress>, progress: PushProgress) -> Result<(), ImageError> {
    report.send(progress).await.map_err(|_gone| cancelled())
}
