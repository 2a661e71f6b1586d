//! Lists: tags, and the manifests that refer to another.

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};
use oci::image::{Descriptor, Index};
use oci::{Digest, media_type};
use serde::Deserialize;

use super::endpoint::Want;
use super::manifest::MAX_MANIFEST;
use super::origin::{Origin, encode, join};
use super::transport::Answer;
use super::{RegistryError, Repository, Target, header};

/// Most tags of one repository, and most manifests that refer to one.
const MAX_ENTRIES: usize = 100_000;
const MAX_PAGES: usize = 1_000;
/// Largest page, in bytes.
pub(crate) const MAX_PAGE: u64 = 8 << 20;
/// Tags that are asked for at once.
const PAGE: u32 = 1_000;

/// One page of a list of tags.
#[derive(Clone, Debug)]
pub struct TagsPage {
    /// The tags, in the registry's order, without what is no tag.
    pub tags: Vec<String>,
    /// Where the next page is, if there is one: for [`Repository::tags_page`] only.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct TagsDocument {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Returns all tags, at most 100,000, following pages.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut page = self.tags_page(PAGE, None).await?;
        for _ in 0..MAX_PAGES {
            tags.append(&mut page.tags);
            if tags.len() > MAX_ENTRIES {
                break;
            }
            match page.next {
                None => return Ok(tags),
                Some(next) => page = self.tags_page(PAGE, Some(&next)).await?,
            }
        }
        Err(RegistryError::TooLarge {
            url: self.tags_path(),
            what: "list of tags",
            limit: format!("{MAX_ENTRIES} tags in {MAX_PAGES} pages"),
        })
    }

    /// Returns the first page of up to `count` tags, or the page at `next`, which the page before told.
    pub async fn tags_page(&self, count: u32, next: Option<&str>) -> Result<TagsPage, RegistryError> {
        let query = next.map_or_else(|| format!("n={count}"), str::to_owned);
        let path = format!("{}?{query}", self.tags_path());
        let want = || Want::get(&path);
        let answer = self.registry().expect(want(), &[StatusCode::OK]).await;
        // A list without a repository is nothing but a repository that is not there.
        let mut answer =
            answer.map_err(|error| self.in_dockers_words(error, &Target::Tag("latest".to_owned())))?;
        let bytes = answer.bytes(MAX_PAGE, "list of tags").await?;
        let document: TagsDocument = serde_json::from_slice(&bytes).map_err(|error| {
            answer
                .failed()
                .protocol(format!("the list of tags is not understood: {error}"))
        })?;
        let mut tags = document.tags.unwrap_or_default();
        tags.retain(|tag| self.reference().with_tag(tag).is_ok());
        Ok(TagsPage {
            next: next_query(&answer)?.filter(|found| Some(found.as_str()) != next),
            tags,
        })
    }

    /// Returns the manifests that refer to `digest`, of one artifact type or all; by the referrers API or, on
    /// registries without it, by the tag that stands for it (OCI distribution 1.1, "Listing Referrers").
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let base = format!("/v2/{}/referrers/{digest}", self.path());
        let mut path = match artifact_type {
            Some(kind) => format!("{base}?artifactType={}", encode(kind)),
            None => base.clone(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        let mut found = Vec::new();
        for page in 0..MAX_PAGES {
            let want = Want {
                headers: headers.clone(),
                ..Want::get(&path)
            };
            let mut answer = match self.registry().expect(want, &[StatusCode::OK]).await {
                Ok(answer) => answer,
                Err(error) if page == 0 && matches!(error.status(), Some(400 | 404 | 405)) => {
                    found = self.referrers_by_tag(digest).await?;
                    break;
                }
                Err(error) => return Err(error),
            };
            let bytes = answer.bytes(MAX_MANIFEST, "list of referrers").await?;
            let index: Index = serde_json::from_slice(&bytes).map_err(|error| {
                answer
                    .failed()
                    .protocol(format!("the list of referrers is not understood: {error}"))
            })?;
            found.extend(index.manifests);
            match next_query(&answer)? {
                Some(query) if found.len() <= MAX_ENTRIES => path = format!("{base}?{query}"),
                Some(_) => {
                    return Err(RegistryError::TooLarge {
                        url: path,
                        what: "list of referrers",
                        limit: format!("{MAX_ENTRIES} manifests"),
                    });
                }
                None => break,
            }
        }
        // A registry need not filter.
        found.retain(|descriptor| {
            artifact_type.is_none_or(|kind| descriptor.artifact_type.as_deref() == Some(kind))
        });
        Ok(found)
    }

    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = format!("{}-{}", digest.algorithm(), digest.hex());
        let tag = tag.chars().take(128).collect();
        let fetched = match self.manifest(&Target::Tag(tag)).await {
            Ok(fetched) => fetched,
            Err(error) if error.status() == Some(404) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Whatever else somebody has tagged so is no list of referrers.
        if !media_type::is_index(&fetched.media_type) {
            return Ok(Vec::new());
        }
        let index: Result<Index, _> = serde_json::from_slice(&fetched.bytes);
        Ok(index.map(|index| index.manifests).unwrap_or_default())
    }

    fn tags_path(&self) -> String {
        format!("/v2/{}/tags/list", self.path())
    }
}

/// Returns the query of the next page. Only the query counts: a link to another host or path is a lie.
pub(crate) fn next_query(answer: &Answer) -> Result<Option<String>, RegistryError> {
    let Some(link) = header::next_link(&answer.headers) else {
        return Ok(None);
    };
    let target = join(&answer.uri, &link);
    let same = target
        .as_ref()
        .filter(|target| Origin::of(target) == Origin::of(&answer.uri) && target.path() == answer.uri.path());
    match same.and_then(|target| target.query()) {
        Some(query) => Ok(Some(query.to_owned())),
        None => Err(answer
            .failed()
            .protocol("the link to the next page leads elsewhere")),
    }
}
