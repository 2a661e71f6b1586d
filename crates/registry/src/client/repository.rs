//! One repository, on its registry and the mirrors of that.

use std::sync::Arc;

use http::StatusCode;
use oci::Reference;

use super::RegistryError;
use super::auth::Authenticator;
use super::endpoint::{Endpoint, Want};
use super::transport::Answer;

/// What is to be done with a repository: the rights that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
    /// Reading, writing and removing.
    Delete,
}

/// One repository of one registry, with credentials. Cheap to clone; clones share their tokens.
#[derive(Clone, Debug)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reference: Reference,
    mirrors: Vec<Endpoint>,
    registry: Endpoint,
}

impl Repository {
    pub(crate) fn new(reference: Reference, mirrors: Vec<Endpoint>, registry: Endpoint) -> Self {
        Self {
            inner: Arc::new(Inner {
                reference,
                mirrors,
                registry,
            }),
        }
    }

    /// Returns the same repository, with tokens that allow mounting blobs from the repositories `paths` too.
    pub fn mounting_from(&self, paths: &[String]) -> Self {
        let registry = self.registry();
        let mut scopes = registry.auth.scopes().to_vec();
        scopes.extend(paths.iter().map(|path| format!("repository:{path}:pull")));
        scopes.dedup();
        let auth = Authenticator::new(registry.auth.credentials().clone(), scopes);
        Self::new(self.inner.reference.clone(), Vec::new(), registry.with(auth))
    }

    /// Returns the repository's path on its registry: `library/debian`.
    pub fn path(&self) -> &str {
        self.inner.reference.path()
    }

    /// Returns the name that this repository was asked for by.
    pub fn reference(&self) -> &Reference {
        &self.inner.reference
    }

    /// Returns the registry itself.
    pub(crate) fn registry(&self) -> &Endpoint {
        &self.inner.registry
    }

    /// Returns the mirrors to ask first.
    pub(crate) fn mirrors(&self) -> &[Endpoint] {
        &self.inner.mirrors
    }

    /// Returns the first good answer to a reading request: of a mirror, or else of the registry, whose error counts.
    pub(crate) async fn read<'a>(
        &self,
        want: impl Fn() -> Want<'a>,
        good: &[StatusCode],
    ) -> Result<Answer, RegistryError> {
        for mirror in self.mirrors() {
            match mirror.expect(want(), good).await {
                Ok(answer) => return Ok(answer),
                Err(error) => note_mirror(mirror, &error),
            }
        }
        self.registry().expect(want(), good).await
    }
}

/// Writes down that a mirror was of no use; the next one or the registry is asked.
pub(crate) fn note_mirror(mirror: &Endpoint, error: &RegistryError) {
    tracing::warn!(mirror = mirror.authority(), error = %base::error::chain(error), "mirror not used");
}
