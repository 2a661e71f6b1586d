//! `import`: a tar of a file system becomes an image of one layer.

use std::io::Read;
use std::sync::Arc;

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use oci::Reference;
use oci::image::{History, ImageConfig, RunConfig};
use oci::platform::Platform;

use crate::change::{self, ChangeError};
use crate::create::{CreateError, NewImage};
use crate::store::{Image, Store};

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The name to give; without one the image dangles.
    pub name: Option<Reference>,
    /// Dockerfile instructions (`CMD ["sh"]`) that alter the configuration.
    pub changes: Vec<String>,
    /// The image's comment; Docker's default is `Imported from -`.
    pub message: String,
    /// The platform to record; the host's by default.
    pub platform: Option<Platform>,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A change is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The image could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl Kinded for ImportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Change(error) => error.kind(),
            Self::Create(error) => error.kind(),
        }
    }
}

impl Store {
    /// Makes an image of one layer out of a tar stream (plain, gzip or zstd).
    pub fn import(&self, tar: impl Read, options: &ImportOptions) -> Result<Arc<Image>, ImportError> {
        let mut run = RunConfig::default();
        change::apply(&mut run, &options.changes)?;
        let layer = self.add_layer(tar)?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let created = Timestamp::now().to_string();
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            created: Some(created.clone()),
            comment: Some(options.message.clone()).filter(|message| !message.is_empty()),
            config: run,
            history: vec![History {
                created: Some(created),
                comment: Some(options.message.clone()).filter(|message| !message.is_empty()),
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        Ok(self.create(NewImage {
            config,
            layers: vec![layer],
            names: options.name.iter().cloned().collect(),
        })?)
    }
}
