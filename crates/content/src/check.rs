//! Whether blobs are still what they are called, and setting aside those that are not.

use std::io;
use std::path::PathBuf;

use base::file::FileError;
use oci::Digest;
use oci::digest::HashReader;

use crate::blob::{BlobError, Content, names, remove_file};

impl Content {
    /// Returns the digests of all blobs that are there, sound or not.
    pub fn list(&self) -> Result<Vec<Digest>, FileError> {
        let names = names(&self.blobs())?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::from_sha256_hex(name).ok())
            .collect())
    }

    /// Reads a blob to its end; returns what is wrong with it, or `None` if it has its digest.
    pub fn problem(&self, digest: &Digest) -> Option<String> {
        let file = match self.open_blob(digest) {
            Ok(file) => file,
            Err(BlobError::Missing { .. }) => return Some("is missing".to_owned()),
            Err(error) => return Some(base::error::chain(&error).to_string()),
        };
        let mut reader = HashReader::new(file);
        match io::copy(&mut reader, &mut io::sink()) {
            Err(error) => Some(format!("cannot be read: {error}")),
            Ok(size) => {
                let (_, actual, _) = reader.finish();
                (actual != *digest).then(|| format!("has {size} bytes with the digest {actual}"))
            }
        }
    }

    /// Moves a damaged blob out of the way, so that it can be had again; what was set aside before under this name goes.
    pub fn set_aside(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.blob_path(digest)?;
        let aside = self.aside()?.join(digest.hex());
        match std::fs::rename(&path, &aside) {
            Ok(()) => Ok(base::file::sync_parent(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Something that is no file has the name.
            Err(_) => Ok(remove_file(&path)?),
        }
    }

    /// Removes what was set aside of blobs that are here again.
    pub fn release_set_aside(&self) -> Result<(), FileError> {
        let aside = self.aside()?;
        for name in names(&aside)? {
            let is_back = Digest::from_sha256_hex(&name).is_ok_and(|digest| self.has_blob(&digest));
            if is_back {
                remove_file(&aside.join(name))?;
            }
        }
        Ok(())
    }

    fn aside(&self) -> Result<PathBuf, FileError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.directory().join("aside");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| FileError::new("create", &path, error))?;
        Ok(path)
    }
}
