//! A file of names and bcrypt hashes, as `htpasswd -B` writes it. A changed file is read again.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::error::{Kind, Kinded};
use base::file::FileError;
use base64::Engine as _;
use http::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::{challenge, credentials};
use crate::server::fault::{Code, Fault};

/// The largest file that is read.
const FILE_LIMIT: u64 = 4 << 20;

/// The longest password: bcrypt looks at the first 72 bytes, so a longer one would be weaker than it seems.
const PASSWORD_LIMIT: usize = 72;

/// How many checked passwords are remembered. A check takes tens of milliseconds, and each request has one.
const REMEMBERED: usize = 1024;

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("password file \"{}\" does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A line is not a name and a bcrypt hash.
    #[error("password file \"{}\", line {line}: not \"name:hash\" with a bcrypt hash (htpasswd -B)", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
    /// No random numbers were to be had.
    #[error("make a key for remembered passwords")]
    Random,
}

impl Kinded for HtpasswdError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Missing { .. } => Kind::NotFound,
            Self::Line { .. } => Kind::Invalid,
            Self::Random => Kind::Internal,
        }
    }
}

/// A password file.
pub(crate) struct Htpasswd {
    path: PathBuf,
    state: Mutex<State>,
    /// Makes what is remembered useless to whoever reads this process's memory.
    key: hmac::Key,
    /// Checks at a time: each takes a processor.
    checks: Semaphore,
    /// What unknown names are checked against, so that they take as long as known ones.
    nobody: Arc<str>,
}

struct State {
    /// The file's modification time, size and inode.
    version: (i64, i64, u64, u64),
    hashes: HashMap<String, Arc<str>>,
    remembered: HashSet<Vec<u8>>,
}

impl Htpasswd {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, HtpasswdError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_unspecified: ring::error::Unspecified| HtpasswdError::Random)?;
        let state = read(path)?;
        // As costly as what is in the file.
        let cost = state
            .hashes
            .values()
            .filter_map(|hash| cost(hash))
            .max()
            .unwrap_or(10);
        let nobody = bcrypt::hash("", cost).map_err(|_failed: bcrypt::BcryptError| HtpasswdError::Random)?;
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(state),
            key,
            checks: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            nobody: nobody.into(),
        })
    }

    /// Returns the name in the header if its password is right.
    pub(crate) async fn check(&self, header: Option<&HeaderValue>) -> Result<String, Fault> {
        let refused = || challenge("Basic realm=\"Berth registry\", charset=\"UTF-8\"");
        let Some((name, password)) = credentials(header, "basic").and_then(decode) else {
            return Err(refused());
        };
        if password.len() > PASSWORD_LIMIT {
            return Err(refused());
        }
        let (hash, is_known) = match self.hash_of(&name)? {
            Some(hash) => (hash, true),
            None => (Arc::clone(&self.nobody), false),
        };
        let mark = self.mark(&name, &password, &hash);
        if is_known && self.lock().remembered.contains(&mark) {
            return Ok(name);
        }
        let Ok(_slot) = self.checks.acquire().await else {
            return Err(refused());
        };
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
        match checked.await {
            Ok(Ok(true)) if is_known => {}
            Ok(_) => return Err(refused()),
            Err(_panicked) => return Err(Fault::new(Code::Unknown)),
        }
        let mut state = self.lock();
        if state.remembered.len() >= REMEMBERED {
            state.remembered.clear();
        }
        state.remembered.insert(mark);
        Ok(name)
    }

    /// Returns the hash of a name, after reading the file again if it has changed.
    fn hash_of(&self, name: &str) -> Result<Option<Arc<str>>, Fault> {
        let mut state = self.lock();
        // A file that is gone or broken keeps what was read last: an editor may just be writing it.
        if version(&self.path).is_ok_and(|version| version != state.version)
            && let Ok(read) = read(&self.path)
        {
            *state = read;
        }
        Ok(state.hashes.get(name).cloned())
    }

    fn mark(&self, name: &str, password: &str, hash: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password, hash] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(path: &Path) -> std::io::Result<(i64, i64, u64, u64)> {
    let file = std::fs::metadata(path)?;
    Ok((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
}

fn read(path: &Path) -> Result<State, HtpasswdError> {
    let version = version(path).unwrap_or_default();
    let Some(bytes) = base::file::read_optional(path, FILE_LIMIT)? else {
        return Err(HtpasswdError::Missing {
            path: path.to_owned(),
        });
    };
    let mut hashes = HashMap::new();
    for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, hash)) if !name.is_empty() && cost(hash).is_some() => {
                hashes.insert(name.to_owned(), hash.into());
            }
            _ => {
                return Err(HtpasswdError::Line {
                    path: path.to_owned(),
                    line: index + 1,
                });
            }
        }
    }
    Ok(State {
        version,
        hashes,
        remembered: HashSet::new(),
    })
}

/// Returns the cost of a bcrypt hash, `$2y$10$` and 53 characters; `None` if it is none.
fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2y$", "$2a$", "$2b$", "$2x$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix))?;
    let (cost, salt) = rest.split_once('$')?;
    let cost: u32 = cost.parse().ok()?;
    ((4..=31).contains(&cost) && salt.len() == 53).then_some(cost)
}

fn decode(text: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> HeaderValue {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        HeaderValue::from_str(&format!("Basic {encoded}")).unwrap()
    }

    #[tokio::test]
    async fn names_and_passwords() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        let line = |name: &str, password: &str| format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap());
        let write = |text: &str| {
            base::file::write_atomic(&path, text.as_bytes(), 0o600, base::file::Durability::Crash).unwrap();
        };
        write(&format!("# people\n{}", line("ann", "secret")));
        let file = Htpasswd::open(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(file.check(Some(&basic("ann:secret"))).await.unwrap(), "ann");
        }
        let long = format!("ann:{}", "x".repeat(100));
        for wrong in ["ann:Secret", "ann:", "bob:secret", ":", "ann", long.as_str()] {
            let fault = file.check(Some(&basic(wrong))).await.unwrap_err();
            assert_eq!(fault.status.as_u16(), 401, "{wrong}");
        }
        assert!(file.check(None).await.is_err());
        assert!(
            file.check(Some(&HeaderValue::from_static("Bearer x")))
                .await
                .is_err()
        );
        assert!(
            file.check(Some(&HeaderValue::from_static("Basic !")))
                .await
                .is_err()
        );
        // Who is taken out of the file is out at once.
        write(&line("bob", "other"));
        assert!(file.check(Some(&basic("ann:secret"))).await.is_err());
        assert_eq!(file.check(Some(&basic("bob:other"))).await.unwrap(), "bob");
        // A broken file does not let anybody in or out.
        write("carl:{SHA}abc\n");
        assert!(file.check(Some(&basic("bob:other"))).await.is_ok());
        assert!(matches!(
            Htpasswd::open(&path),
            Err(HtpasswdError::Line { line: 1, .. })
        ));
    }
}
