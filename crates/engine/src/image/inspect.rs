//! Inspect an image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::clock::Timestamp;

use super::{ImageError, find};
use crate::Engine;

/// An image's defaults for its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `USER`.
    pub user: String,
    /// `EXPOSE`.
    pub exposed_ports: BTreeSet<String>,
    /// `ENV`.
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`.
    pub cmd: Option<Vec<String>>,
    /// `VOLUME`.
    pub volumes: BTreeSet<String>,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `LABEL`.
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    pub stop_signal: String,
}

/// Everything that is known of an image.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// `sha256:…`.
    pub id: String,
    /// `name:tag`.
    pub references: Vec<String>,
    /// `name@sha256:…`.
    pub digests: Vec<String>,
    /// The image that it was committed from, or empty.
    pub parent: String,
    /// When it was given a name last.
    pub last_tagged: Timestamp,
    /// The version of the program that made it, or empty.
    pub docker_version: String,
    /// The comment of its last layer.
    pub comment: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub author: String,
    /// Its defaults.
    pub config: ImageConfig,
    /// The architecture in Go's words.
    pub architecture: String,
    /// The architecture's variant, or empty.
    pub variant: String,
    /// The operating system.
    pub os: String,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// The diff ids of its layers, lowest first.
    pub layers: Vec<String>,
    /// The storage driver's name.
    pub driver: String,
}

/// Returns everything that is known of an image.
pub async fn inspect(engine: &Arc<Engine>, image: &str) -> Result<ImageDetails, ImageError> {
    let image = find(engine, image)?;
    let document = &image.config;
    let run = &document.config;
    let last = document.history.last();
    let comment = document
        .comment
        .clone()
        .or_else(|| last.and_then(|entry| entry.comment.clone()));
    Ok(ImageDetails {
        id: image.id.to_string(),
        references: image.repo_tags(),
        digests: image.repo_digests(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        last_tagged: image.last_tagged(),
        docker_version: document.docker_version.clone().unwrap_or_default(),
        comment: comment.unwrap_or_default(),
        created: image.created,
        author: document.author.clone().unwrap_or_default(),
        config: ImageConfig {
            user: run.user.clone(),
            exposed_ports: run.exposed_ports.keys().cloned().collect(),
            env: run.env.clone().unwrap_or_default(),
            entrypoint: run.entrypoint.clone(),
            cmd: run.cmd.clone(),
            volumes: run.volumes.keys().cloned().collect(),
            working_dir: run.working_dir.clone(),
            labels: run.labels.clone(),
            stop_signal: run.stop_signal.clone().unwrap_or_default(),
        },
        architecture: document.architecture.clone(),
        variant: document.variant.clone().unwrap_or_default(),
        os: document.os.clone(),
        size: image.size,
        layers: image
            .layers
            .iter()
            .map(|layer| layer.diff_id.to_string())
            .collect(),
        driver: engine.storage.kind().docker_name().to_owned(),
    })
}
