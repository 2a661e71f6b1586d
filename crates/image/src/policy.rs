//! Which images may be used: the policy file, in the grammar of containers-policy.json(5).
//!
//! [`PolicyFile`] reads `/etc/berth/policy.json` and reads it again when it changes; [`Policy::decide`] is a pure
//! function of the policy, where an image comes from, the digests that lead to it and the signatures that are known.
//! It is asked before anything of an image is fetched or unpacked, and again whenever a container is made of it.
//!
//! It fails closed: a file that cannot be read, or has a word that Berth does not know, refuses every image and says
//! why. Only the default file may be missing, and then every image is accepted, as Docker does.
//!
//! Not from the standard: what comes from no registry has the transports `docker-archive`, `oci-archive` and `tarball`
//! when it comes in, and `containers-storage` when it is used; a name that a scope of `docker` stands for is that
//! scope's, wherever the image came from, so that no archive can bring an image under a name that needs a signature.

mod document;
mod evidence;
mod scope;
mod signature;
#[cfg(test)]
mod tests;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::error::{Kind, Kinded};
use oci::{Digest, Reference};

use document::{Document, Requirement};
pub use evidence::{EvidenceError, SignatureLayer, signature_layers, signature_tag};
pub use signature::Signature;

/// Where an image comes from: what chooses the rules.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A registry: the name that was asked for, with its tag or digest.
    Registry(&'a Reference),
    /// An archive as `docker save` writes it.
    DockerArchive,
    /// An archived OCI image layout.
    OciArchive,
    /// A root file system (`import`).
    Tarball,
    /// An image that is here and came from no registry under this name: made here, or brought in by an archive.
    Local(Option<&'a Reference>),
}

/// What is known of an image besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The digests that lead to it: its manifest's, and that of the index that named the manifest. Whoever fills this
    /// in has checked that each document has its digest, and names the next one.
    pub subjects: Vec<Digest>,
    /// Signatures that were found, checked or not.
    pub signatures: Vec<Signature>,
}

/// A policy, read and understood; or why it is not, in which case it refuses everything.
#[derive(Debug)]
pub struct Policy {
    path: PathBuf,
    rules: Rules,
}

#[derive(Debug)]
enum Rules {
    /// There is no file.
    Absent,
    /// The file cannot be used.
    Broken(String),
    Read(Document),
}

/// An image may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image \"{image}\" is refused by rule {rule} of \"{}\": {reason}", policy.display())]
pub struct Refusal {
    /// The image, or what brings it.
    pub image: String,
    /// The rule: where it stands in the policy, and its type.
    pub rule: String,
    /// The policy's file.
    pub policy: PathBuf,
    /// Why.
    pub reason: String,
}

impl Kinded for Refusal {
    fn kind(&self) -> Kind {
        Kind::Denied
    }
}

impl Policy {
    /// Reads the policy in `path`, and the keys that it names. Never fails: what cannot be read refuses everything.
    pub fn load(path: &Path, presence: Presence) -> Self {
        let rules = match base::file::read_optional(path, MAX_POLICY) {
            Ok(None) if presence == Presence::Optional => Rules::Absent,
            Ok(None) => Rules::Broken("the file is missing".to_owned()),
            Ok(Some(text)) => match Document::parse(&text) {
                Ok(document) => Rules::Read(document),
                Err(problem) => Rules::Broken(problem),
            },
            Err(error) => Rules::Broken(base::error::chain(&error).to_string()),
        };
        Self {
            path: path.to_owned(),
            rules,
        }
    }

    /// Decides whether an image may be used.
    pub fn decide(&self, source: &Source<'_>, evidence: &Evidence) -> Result<(), Refusal> {
        let refuse = |rule: &str, reason: String| Refusal {
            image: describe(source, evidence),
            rule: rule.to_owned(),
            policy: self.path.clone(),
            reason,
        };
        let document = match &self.rules {
            Rules::Absent => return Ok(()),
            Rules::Broken(problem) => {
                let reason = format!("the policy cannot be used, so every image is refused: {problem}");
                return Err(refuse("\"invalid policy\"", reason));
            }
            Rules::Read(document) => document,
        };
        let (scope, requirements) = scope::rules(document, source);
        for requirement in requirements {
            let rule = format!("{scope} ({})", requirement.kind());
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => {
                    return Err(refuse(&rule, "nothing is accepted".to_owned()));
                }
                Requirement::Signed(signed) => {
                    let Some(name) = name_of(source) else {
                        let reason = "what has no name in a registry cannot be signed".to_owned();
                        return Err(refuse(&rule, reason));
                    };
                    signature::check(signed, name, evidence).map_err(|reason| refuse(&rule, reason))?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether signatures could change what [`Self::decide`] says of a source: whether it is worth fetching them.
    pub fn needs_signatures(&self, source: &Source<'_>) -> bool {
        match &self.rules {
            Rules::Absent | Rules::Broken(_) => false,
            Rules::Read(document) => scope::rules(document, source)
                .1
                .iter()
                .any(|requirement| matches!(requirement, Requirement::Signed(_))),
        }
    }

    /// Returns whether there is a rule at all; without one nothing needs to be asked.
    pub fn is_absent(&self) -> bool {
        matches!(self.rules, Rules::Absent)
    }

    /// Returns whether a scope of the `docker` transport stands for `name`, not just the transport's or all's default.
    pub fn names(&self, name: &Reference) -> bool {
        match &self.rules {
            Rules::Read(document) => scope::explicit(document, name).is_some(),
            _ => false,
        }
    }

    /// Returns what is wrong with the policy, if it cannot be used.
    pub fn problem(&self) -> Option<&str> {
        match &self.rules {
            Rules::Broken(problem) => Some(problem),
            _ => None,
        }
    }

    fn key_files(&self) -> &[PathBuf] {
        match &self.rules {
            Rules::Read(document) => &document.key_files,
            _ => &[],
        }
    }
}

/// Whether a policy must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was named: when it is missing, everything is refused.
    Required,
    /// It is looked for in the default place.
    Optional,
}

/// Largest policy in bytes.
const MAX_POLICY: u64 = 4 << 20;

/// A policy's file, read again when it, or a key that it names, has changed.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    presence: Presence,
    read: Mutex<Option<(Vec<Stamp>, Arc<Policy>)>>,
}

impl PolicyFile {
    /// Returns the policy in `path`; nothing is read yet.
    pub fn new(path: &Path, presence: Presence) -> Self {
        Self {
            path: path.to_owned(),
            presence,
            read: Mutex::default(),
        }
    }

    /// Returns the policy as it is now.
    pub fn current(&self) -> Arc<Policy> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamps, policy)) = &*read
            && *stamps == stamps_of(&self.path, policy)
        {
            return Arc::clone(policy);
        }
        // The policy's own stamp is taken before it is read: a change in between is seen the next time.
        let before = stamp(&self.path);
        let policy = Arc::new(Policy::load(&self.path, self.presence));
        let mut stamps = stamps_of(&self.path, &policy);
        stamps[0] = before;
        *read = Some((stamps, Arc::clone(&policy)));
        policy
    }
}

/// What changes when a file does; `None` when it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps_of(path: &Path, policy: &Policy) -> Vec<Stamp> {
    let keys = policy.key_files().iter().map(|key| stamp(key));
    std::iter::once(stamp(path)).chain(keys).collect()
}

fn stamp(path: &Path) -> Stamp {
    let of = |meta: Metadata| {
        (
            meta.dev(),
            meta.ino(),
            meta.len(),
            meta.ctime(),
            meta.ctime_nsec(),
        )
    };
    std::fs::metadata(path).ok().map(of)
}

fn name_of<'a>(source: &Source<'a>) -> Option<&'a Reference> {
    match *source {
        Source::Registry(name) | Source::Local(Some(name)) => Some(name),
        Source::DockerArchive | Source::OciArchive | Source::Tarball | Source::Local(None) => None,
    }
}

fn describe(source: &Source<'_>, evidence: &Evidence) -> String {
    if let Some(name) = name_of(source) {
        return name.familiar();
    }
    match (evidence.subjects.first(), source) {
        (Some(digest), _) => digest.to_string(),
        (None, Source::Tarball) => "the imported archive".to_owned(),
        (None, _) => "the archive".to_owned(),
    }
}
