//! What the registry holds, and the honest answers about it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::request::Seen;

/// Returns `sha256:` and the hex digits of the hash of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut text = "sha256:".to_owned();
    for byte in hash {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A media type and the exact bytes.
type Document = (String, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Store {
    /// By repository (`None`: all) and digest.
    blobs: BTreeMap<(Option<String>, String), Vec<u8>>,
    /// By repository and digest.
    manifests: BTreeMap<(String, String), Document>,
    /// Digests by repository and tag.
    tags: BTreeMap<(String, String), String>,
    /// Bytes by upload.
    pub(super) uploads: BTreeMap<String, Vec<u8>>,
    next_upload: u64,
}

impl Store {
    pub(super) fn add_blob(&mut self, repository: Option<&str>, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let key = (repository.map(str::to_owned), digest.clone());
        self.blobs.insert(key, bytes.to_vec());
        digest
    }

    pub(super) fn add_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = digest(bytes);
        self.manifests.insert(
            (repository.to_owned(), digest.clone()),
            (media_type.to_owned(), bytes.to_vec()),
        );
        if let Some(tag) = tag {
            self.tags
                .insert((repository.to_owned(), tag.to_owned()), digest.clone());
        }
        digest
    }

    pub(super) fn any_blob(&self, digest: &str) -> Option<Vec<u8>> {
        let fits = |((_, own), _): &(&(Option<String>, String), &Vec<u8>)| own == digest;
        self.blobs.iter().find(fits).map(|(_, bytes)| bytes.clone())
    }

    pub(super) fn remove_blob(&mut self, digest: &str) {
        self.blobs.retain(|(_, own), _| own != digest);
    }

    pub(super) fn manifest(&self, repository: &str, target: &str) -> Option<Document> {
        let name = repository.to_owned();
        let digest = self
            .tags
            .get(&(name.clone(), target.to_owned()))
            .cloned()
            .unwrap_or_else(|| target.to_owned());
        self.manifests.get(&(name, digest)).cloned()
    }

    fn blob(&self, repository: &str, digest: &str) -> Option<&Vec<u8>> {
        let everywhere = (None, digest.to_owned());
        let here = (Some(repository.to_owned()), digest.to_owned());
        self.blobs.get(&everywhere).or_else(|| self.blobs.get(&here))
    }

    /// Answers a request whose body, if it has one, is not that of an upload's piece.
    pub(super) fn answer(&mut self, seen: &Seen, body: &[u8]) -> Answer {
        let path = seen.path().to_owned();
        if path == "/v2/" || path == "/v2" {
            return Answer::json(200, &serde_json::json!({}));
        }
        if path == "/v2/_catalog" {
            let mut names: Vec<_> = self.manifests.keys().map(|(name, _)| name.clone()).collect();
            names.dedup();
            return self.page(seen, "repositories", names, "/v2/_catalog");
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Answer::error(404, "UNSUPPORTED", "page not found");
        };
        if let Some((name, target)) = rest.rsplit_once("/manifests/") {
            return self.manifests(seen, name, target, body);
        }
        if let Some((name, _)) = rest.split_once("/blobs/uploads/") {
            return self.uploads(seen, name, &path, body);
        }
        if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
            return match self.blob(name, digest) {
                Some(bytes) => {
                    let mut answer = Answer::new(200)
                        .header("Content-Type", "application/octet-stream")
                        .header("Docker-Content-Digest", digest)
                        .body(bytes.clone());
                    answer.ranges = true;
                    answer
                }
                None => Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            };
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            let own = |key: &&(String, String)| key.0 == name;
            let tags: Vec<_> = self.tags.keys().filter(own).map(|(_, tag)| tag.clone()).collect();
            if !self.manifests.keys().any(|(own, _)| own == name) {
                return Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry");
            }
            return self.page(seen, "tags", tags, &path);
        }
        if let Some((name, digest)) = rest.rsplit_once("/referrers/") {
            return self.referrers(name, digest);
        }
        Answer::error(404, "UNSUPPORTED", "page not found")
    }

    fn manifests(&mut self, seen: &Seen, name: &str, target: &str, body: &[u8]) -> Answer {
        match seen.method.as_str() {
            "PUT" => {
                let media_type = seen.header("content-type").unwrap_or_default().to_owned();
                let tag = (!target.contains(':')).then_some(target);
                let digest = self.add_manifest(name, tag, &media_type, body);
                Answer::new(201)
                    .header("Docker-Content-Digest", &digest)
                    .header("Location", &format!("/v2/{name}/manifests/{digest}"))
            }
            "DELETE" => {
                let key = (name.to_owned(), target.to_owned());
                self.tags
                    .retain(|(own, _), digest| own != name || digest != target);
                match self.manifests.remove(&key) {
                    Some(_) => Answer::new(202),
                    None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
                }
            }
            _ => match self.manifest(name, target) {
                Some((media_type, bytes)) => Answer::new(200)
                    .header("Content-Type", &media_type)
                    .header("Docker-Content-Digest", &digest(&bytes))
                    .body(bytes),
                None if self.manifests.keys().any(|(own, _)| own == name) => {
                    Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown")
                }
                None => Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            },
        }
    }

    fn uploads(&mut self, seen: &Seen, name: &str, path: &str, body: &[u8]) -> Answer {
        if seen.method == "POST" {
            if let (Some(wanted), Some(from)) = (seen.query("mount"), seen.query("from"))
                && let Some(bytes) = self.blob(&from, &wanted).cloned()
            {
                self.add_blob(Some(name), &bytes);
                return Answer::new(201)
                    .header("Docker-Content-Digest", &wanted)
                    .header("Location", &format!("/v2/{name}/blobs/{wanted}"));
            }
            self.next_upload += 1;
            let location = format!("/v2/{name}/blobs/uploads/{}", self.next_upload);
            self.uploads.insert(location.clone(), Vec::new());
            return progress(202, &location, 0);
        }
        let Some(bytes) = self.uploads.get_mut(path) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        bytes.extend_from_slice(body);
        let length = bytes.len();
        match seen.method.as_str() {
            "PATCH" => progress(202, path, length),
            "DELETE" => {
                self.uploads.remove(path);
                Answer::new(204)
            }
            "PUT" => {
                let bytes = self.uploads.remove(path).unwrap_or_default();
                let wanted = seen.query("digest").unwrap_or_default();
                if digest(&bytes) != wanted {
                    return Answer::error(
                        400,
                        "DIGEST_INVALID",
                        "provided digest did not match uploaded content",
                    );
                }
                self.add_blob(Some(name), &bytes);
                Answer::new(201)
                    .header("Docker-Content-Digest", &wanted)
                    .header("Location", &format!("/v2/{name}/blobs/{wanted}"))
            }
            _ => progress(204, path, length),
        }
    }

    fn referrers(&self, name: &str, subject: &str) -> Answer {
        let mut found = Vec::new();
        for ((own, digest), (media_type, bytes)) in &self.manifests {
            let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else {
                continue;
            };
            if own == name && document["subject"]["digest"] == subject {
                found.push(serde_json::json!({
                    "mediaType": media_type, "digest": digest, "size": bytes.len(),
                    "artifactType": document["artifactType"],
                }));
            }
        }
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": found,
        });
        Answer::json(200, &index).header("Content-Type", "application/vnd.oci.image.index.v1+json")
    }

    /// Answers with one page of `names`, as `n` and `last` ask.
    fn page(&self, seen: &Seen, field: &str, names: Vec<String>, path: &str) -> Answer {
        let last = seen.query("last");
        let after = |name: &String| last.as_ref().is_none_or(|last| name > last);
        let mut left: Vec<_> = names.into_iter().filter(after).collect();
        let most = seen
            .query("n")
            .and_then(|count| count.parse().ok())
            .unwrap_or(usize::MAX);
        let more = left.len() > most;
        left.truncate(most);
        let mut answer = Answer::json(200, &serde_json::json!({ field: left }));
        if let (true, Some(last)) = (more, left.last()) {
            answer.set("Link", &format!("<{path}?last={last}&n={most}>; rel=\"next\""));
        }
        answer
    }
}

fn progress(status: u16, location: &str, length: usize) -> Answer {
    Answer::new(status)
        .header("Location", location)
        .header("Range", &format!("0-{}", length.saturating_sub(1)))
        .header(
            "Docker-Upload-UUID",
            location.rsplit('/').next().unwrap_or_default(),
        )
}
