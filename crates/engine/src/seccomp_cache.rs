//! Compiled seccomp filters, one file for each profile and set of capabilities.
//!
//! `<data root>/seccomp/<digest of what went in>.bpf`, in the form that a task names. Compiling takes about a
//! millisecond, so it is done once for each combination, and for the usual one before the first start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base::error::{Kind, Kinded};
use base::file::{Durability, FileError, write_atomic};
use seccomp::{Arch, CompileError, Facts, FilterFlags, KernelVersion, LoadError, Profile, ResolveError};

/// A filter could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The profile cannot be read.
    #[error("read the seccomp profile")]
    Load(#[from] LoadError),
    /// The profile cannot be decided for this container.
    #[error("resolve the seccomp profile")]
    Resolve(#[from] ResolveError),
    /// The profile cannot be compiled.
    #[error("compile the seccomp profile")]
    Compile(#[from] CompileError),
    /// The filter cannot be kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// A profile asks for something that the file of a filter cannot say.
    #[error("seccomp profile {what} is not supported by this version of Berth")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

impl Kinded for FilterError {
    fn kind(&self) -> Kind {
        match self {
            Self::Load(_) | Self::Resolve(_) | Self::Compile(_) => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::File(error) => error.kind(),
        }
    }
}

/// A filter in a file.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    /// The file.
    pub(crate) path: PathBuf,
    /// What the file cannot say.
    pub(crate) flags: FilterFlags,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct FilterCache {
    directory: PathBuf,
    kernel: KernelVersion,
    /// The daemon's profile, as a document; `None`: the built-in one.
    default: Option<String>,
    known: Mutex<HashMap<String, Cached>>,
}

impl FilterCache {
    /// Makes the directory; `default` is a profile's file instead of the built-in one.
    pub(crate) fn open(data_root: &Path, kernel: &str, default: Option<&Path>) -> Result<Self, FilterError> {
        let directory = data_root.join("seccomp");
        crate::files::make_directory(&directory, 0o700)?;
        let default = match default {
            None => None,
            Some(path) => {
                // Read once through the loader, which refuses what is no profile.
                Profile::load(path)?;
                let bytes = base::file::read_optional(path, 4 << 20)?.unwrap_or_default();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        let kernel = kernel.parse().unwrap_or(KernelVersion { major: 5, minor: 0 });
        Ok(Self {
            directory,
            kernel,
            default,
            known: Mutex::default(),
        })
    }

    /// Returns the file of the daemon's own profile for a container with these capabilities.
    pub(crate) fn default_filter(&self, capabilities: &[String]) -> Result<Cached, FilterError> {
        self.filter(self.default.as_deref(), capabilities)
    }

    /// Returns the file of a profile (`None`: the built-in one) for a container with these capabilities.
    pub(crate) fn filter(
        &self,
        document: Option<&str>,
        capabilities: &[String],
    ) -> Result<Cached, FilterError> {
        let mut key = format!("1\n{}.{}\n", self.kernel.major, self.kernel.minor);
        for capability in capabilities {
            key.push_str(capability);
            key.push('\n');
        }
        // The built-in profile changes with the program's version.
        key.push_str(document.unwrap_or(concat!("builtin ", env!("CARGO_PKG_VERSION"))));
        let key = oci::Digest::sha256(key.as_bytes()).hex().to_owned();
        // Held until the filter is there: starts at the same time would each compile it, and put it at the same place.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = known.get(&key) {
            return Ok(cached.clone());
        }
        // The built-in profile has none.
        let mut flags = FilterFlags::default();
        let path = self.directory.join(format!("{key}.bpf"));
        if document.is_some() || !path.exists() {
            let profile = match document {
                Some(document) => Profile::parse(document.as_bytes())?,
                None => Profile::docker_default(),
            };
            let policy = profile.resolve(&Facts {
                capabilities,
                arch: Arch::NATIVE,
                kernel: self.kernel,
            })?;
            if policy.listener.is_some() {
                return Err(FilterError::Unsupported { what: "listenerPath" });
            }
            let filter = seccomp::compile(&policy)?;
            if filter.flags().has(FilterFlags::NEW_LISTENER) {
                return Err(FilterError::Unsupported {
                    what: "action SCMP_ACT_NOTIFY",
                });
            }
            flags = filter.flags();
            write_atomic(&path, &filter.to_bytes(), 0o600, Durability::Crash)?;
        }
        let cached = Cached { path, flags };
        known.insert(key, cached.clone());
        Ok(cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_same_time_share_a_filter() {
        let directory = std::env::temp_dir().join(format!("berth-filters-many-{}", std::process::id()));
        for round in 0..20 {
            let cache = FilterCache::open(&directory, "6.18.0", None).unwrap();
            let capabilities = [format!("CAP_{round}")];
            std::thread::scope(|scope| {
                let starts: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| cache.default_filter(&capabilities).map(|cached| cached.path)))
                    .collect();
                for start in starts {
                    assert!(start.join().unwrap().unwrap().exists());
                }
            });
        }
        crate::files::remove_tree(&directory).unwrap();
    }

    #[test]
    fn flags_come_along_and_listeners_are_refused() {
        let directory = std::env::temp_dir().join(format!("berth-filters-{}", std::process::id()));
        let cache = FilterCache::open(&directory, "6.18.0", None).unwrap();
        assert!(cache.default_filter(&[]).unwrap().flags.names().is_empty());
        let logging =
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": []}"#;
        for _ in 0..2 {
            let cached = cache.filter(Some(logging), &[]).unwrap();
            assert_eq!(cached.flags.names(), ["SECCOMP_FILTER_FLAG_LOG"]);
        }
        let notifying = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#;
        let error = cache.filter(Some(notifying), &[]).unwrap_err();
        assert!(error.to_string().contains("SCMP_ACT_NOTIFY"), "{error}");
        assert_eq!(error.kind(), Kind::Unsupported);
        crate::files::remove_tree(&directory).unwrap();
    }
}
