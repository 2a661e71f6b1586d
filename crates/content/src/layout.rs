//! The directory itself: made where it is missing, and checked to be what it should.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::error::{Kind, Kinded};
use base::file::{Durability, FileError, read_optional, write_atomic};

use crate::blob::Content;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is something else.
    #[error("\"{}\" is not an OCI image layout of version 1", path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Kinded for OpenError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Content {
    /// Opens the store in `directory`, which is made if it is not there.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        prepare(directory)?;
        Ok(Self::new(directory))
    }
}

/// Makes the directories and files of an empty layout where they are missing.
fn prepare(directory: &Path) -> Result<(), OpenError> {
    // Other tools have no directory of this name.
    let is_foreign = !directory.join("ingest").is_dir();
    for path in [
        directory.join("blobs").join("sha256"),
        directory.join("ingest"),
        directory.join("leases"),
    ] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| FileError::new("create", &path, error))?;
    }
    let path = directory.join("oci-layout");
    let found = match read_optional(&path, 4096) {
        // Something else is in its place.
        Err(error) if error.io().kind() == std::io::ErrorKind::InvalidData => Some(Vec::new()),
        found => found?,
    };
    match found {
        None => write_atomic(&path, LAYOUT, 0o600, Durability::Power)?,
        Some(text) => {
            let value: Result<serde_json::Value, _> = serde_json::from_slice(&text);
            let version = value
                .as_ref()
                .ok()
                .and_then(|value| value.get("imageLayoutVersion")?.as_str());
            if version.is_some_and(|version| version.starts_with("1.")) {
                return Ok(());
            }
            // A damaged file in a directory of ours is written again; another version elsewhere is somebody else's.
            if is_foreign {
                return Err(OpenError::NotALayout {
                    path: directory.to_owned(),
                });
            }
            write_atomic(&path, LAYOUT, 0o600, Durability::Power)?;
        }
    }
    Ok(())
}
