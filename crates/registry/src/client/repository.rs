//! The client and its view of one repository.

use oci::{Digest, Reference};

use super::{ClientConfig, Credentials, RegistryError};

/// Speaks to registries. Cheap to clone; clones share connections and what was learned of registries.
#[derive(Clone, Debug)]
pub struct Client {}

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
pub struct Repository {}

/// One page of a list of tags.
#[derive(Clone, Debug)]
pub struct TagsPage {
    /// The tags, in the registry's order.
    pub tags: Vec<String>,
    /// The last tag to ask from for the next page, if there is one.
    pub next: Option<String>,
}

impl Client {
    /// Returns a client. Fails if a setting is wrong; nothing is sent.
    pub fn new(config: ClientConfig) -> Result<Self, RegistryError> {
        todo!("{config:?}")
    }

    /// Returns the calls on the repository that `reference` names (its tag and digest do not count). Nothing is sent.
    pub fn repository(&self, reference: &Reference, credentials: Credentials, access: Access) -> Repository {
        todo!("{reference} {credentials:?} {access:?}")
    }
}

impl Repository {
    /// Returns the same repository, with tokens that allow mounting blobs from `paths` too.
    pub fn mounting_from(&self, paths: &[String]) -> Self {
        todo!("{paths:?}")
    }

    /// Returns all tags, at most 100,000, following pages.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        todo!()
    }

    /// Returns up to `count` tags after `last`.
    pub async fn tags_page(&self, count: u32, last: Option<&str>) -> Result<TagsPage, RegistryError> {
        todo!("{count} {last:?}")
    }

    /// Returns the manifests that refer to `digest`, of one artifact type or all; by the referrers API or, on
    /// registries without it, by the tag that stands for it.
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<oci::image::Descriptor>, RegistryError> {
        todo!("{digest} {artifact_type:?}")
    }
}
