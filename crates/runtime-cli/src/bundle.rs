//! Reading a bundle: a directory with `config.json` and the root file system it names.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::error::{CommandError, Context};

/// The greatest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// A bundle that was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// Its document.
    pub(crate) spec: Spec,
    /// The root file system, absolute.
    pub(crate) rootfs: PathBuf,
}

impl Bundle {
    /// Reads the bundle in `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, CommandError> {
        let path = std::path::absolute(path).context(|| format!("find \"{}\"", path.display()))?;
        let file = path.join("config.json");
        let document = base::file::read_optional(&file, MAX_DOCUMENT)
            .plain()?
            .ok_or_else(|| {
                CommandError::new(format!("JSON specification file {} not found", file.display()))
            })?;
        let spec: Spec =
            serde_json::from_slice(&document).context(|| format!("read \"{}\"", file.display()))?;
        let version = spec.version();
        if !version.starts_with("1.") {
            return Err(CommandError::new(format!(
                "unsupported OCI version \"{version:.40}\""
            )));
        }
        if spec.process().is_none() {
            return Err(CommandError::new("process property must not be empty"));
        }
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| CommandError::new("root must be specified"))?;
        let rootfs = path.join(root.path());
        if !rootfs.is_dir() {
            return Err(CommandError::new(format!(
                "invalid rootfs: \"{}\" is not a directory",
                rootfs.display()
            )));
        }
        Ok(Self { path, spec, rootfs })
    }
}
