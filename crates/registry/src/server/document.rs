//! What a manifest says, as far as a registry must know: what it needs, and what it is about.
//!
//! Four kinds are taken: manifests and indexes, of OCI and of Docker's schema 2. A document that could be read as two
//! of them is refused (CVE-2021-41190), as are schema 1 and everything else.

use std::collections::BTreeMap;

use db::{Child, ManifestRow};
use oci::Digest;
use oci::media_type::{
    DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, is_index, is_manifest,
};
use serde::Deserialize;
use serde_json::json;

use super::fault::{Code, Fault};

/// The largest manifest (the specification, "Pushing Manifests": at least this much should be taken).
pub(crate) const MANIFEST_LIMIT: usize = 4 << 20;

/// How many blobs or manifests one may name.
const CHILDREN_LIMIT: usize = 10_000;

/// A manifest that was read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// What is recorded of it.
    pub(crate) row: ManifestRow,
    /// What it names, with the sizes that it says.
    pub(crate) children: Vec<(Child, Digest, u64)>,
}

impl Document {
    /// Returns what it names, as the database wants it.
    pub(crate) fn children(&self) -> Vec<Child> {
        self.children.iter().map(|(child, _, _)| child.clone()).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    subject: Option<RawDescriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "fsLayers")]
    schema_one: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: Digest,
    size: u64,
}

/// Reads a manifest that was sent as `content_type`.
pub(crate) fn read(content_type: Option<&str>, bytes: &[u8], digest: &Digest) -> Result<Document, Fault> {
    let invalid = |reason: String| Fault::because(Code::ManifestInvalid, reason);
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    let content_type = content_type
        .map(|text| text.split(';').next().unwrap_or_default().trim())
        .filter(|text| !text.is_empty());
    let media_type = match (content_type, raw.media_type.as_deref()) {
        (Some(sent), Some(own)) if sent != own => {
            return Err(invalid(format!(
                "it is sent as \"{sent}\" and says that it is \"{own}\""
            )));
        }
        (Some(sent), _) => sent.to_owned(),
        (None, Some(own)) => own.to_owned(),
        (None, None) => return Err(invalid("no media type is given".to_owned())),
    };
    if raw.schema_one.is_some() || raw.schema_version != 2 {
        return Err(invalid(format!(
            "schema version {} is not supported",
            if raw.schema_one.is_some() {
                1
            } else {
                raw.schema_version
            }
        )));
    }
    let both = || invalid("it is a manifest and an index at once".to_owned());
    let mut children = Vec::new();
    let artifact_type = if is_manifest(&media_type) {
        if raw.manifests.is_some() {
            return Err(both());
        }
        let Some(config) = raw.config else {
            return Err(invalid("\"config\" is missing".to_owned()));
        };
        let kind = raw.artifact_type.filter(|kind| !kind.is_empty());
        let kind = kind.unwrap_or_else(|| config.media_type.clone());
        for descriptor in std::iter::once(config).chain(raw.layers.unwrap_or_default()) {
            children.push(child(descriptor, false)?);
        }
        Some(kind)
    } else if is_index(&media_type) {
        if raw.config.is_some() || raw.layers.is_some() {
            return Err(both());
        }
        let Some(manifests) = raw.manifests else {
            return Err(invalid("\"manifests\" is missing".to_owned()));
        };
        for descriptor in manifests {
            children.push(child(descriptor, true)?);
        }
        raw.artifact_type.filter(|kind| !kind.is_empty())
    } else {
        return Err(invalid(format!(
            "media type \"{media_type}\" is not supported, these are: {OCI_MANIFEST}, {OCI_INDEX}, \
             {DOCKER_MANIFEST}, {DOCKER_MANIFEST_LIST}"
        )));
    };
    if children.len() > CHILDREN_LIMIT {
        return Err(invalid(format!("it names more than {CHILDREN_LIMIT} blobs")));
    }
    let annotations = raw.annotations.filter(|annotations| !annotations.is_empty());
    Ok(Document {
        row: ManifestRow {
            digest: digest.to_string(),
            media_type,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            subject: raw.subject.map(|subject| subject.digest.to_string()),
            artifact_type,
            annotations: annotations.map(|annotations| json!(annotations).to_string()),
        },
        children,
    })
}

fn child(descriptor: RawDescriptor, is_manifest: bool) -> Result<(Child, Digest, u64), Fault> {
    let RawDescriptor {
        media_type,
        digest,
        size,
    } = descriptor;
    // Layers that must not be distributed lie elsewhere; nobody is made to push them.
    let is_foreign = media_type.contains(".nondistributable.") || media_type.contains(".foreign.");
    if digest.algorithm() != "sha256" {
        return Err(Fault::because(
            Code::ManifestInvalid,
            format!("digest {digest} is not supported, sha256 is needed"),
        ));
    }
    let child = Child {
        digest: digest.to_string(),
        is_manifest,
        is_required: !is_foreign,
    };
    Ok((child, digest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(content_type: Option<&str>, value: &serde_json::Value) -> Result<Document, String> {
        let bytes = value.to_string();
        read(content_type, bytes.as_bytes(), &Digest::sha256(bytes.as_bytes()))
            .map_err(|fault| format!("{fault:?}"))
    }

    fn descriptor(media_type: &str) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": Digest::sha256(b"x"), "size": 1 })
    }

    #[test]
    fn what_a_manifest_needs() {
        let image = json!({
            "schemaVersion": 2, "config": descriptor("application/x.config"),
            "layers": [
                descriptor("application/vnd.oci.image.layer.v1.tar"),
                descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            ],
            "subject": descriptor(OCI_MANIFEST), "annotations": { "a": "b" }
        });
        let document = read_json(Some(OCI_MANIFEST), &image).unwrap();
        let needed: Vec<bool> = document
            .children()
            .iter()
            .map(|child| child.is_required)
            .collect();
        assert_eq!(needed, [true, true, false]);
        assert_eq!(
            document.row.artifact_type.as_deref(),
            Some("application/x.config")
        );
        assert_eq!(document.row.annotations.as_deref(), Some(r#"{"a":"b"}"#));
        assert!(document.row.subject.is_some());
        let index =
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST)] });
        assert!(read_json(None, &index).unwrap().children()[0].is_manifest);
    }

    #[test]
    fn im_02_one_reading_only() {
        let config = descriptor("c");
        let image = json!({ "schemaVersion": 2, "config": config, "layers": [] });
        let with = |key: &str, value: serde_json::Value| {
            let mut image = image.clone();
            image[key] = value;
            image
        };
        for (what, content_type, document) in [
            ("both", OCI_MANIFEST, with("manifests", json!([]))),
            ("index with layers", OCI_INDEX, with("manifests", json!([]))),
            (
                "another type",
                OCI_MANIFEST,
                with("mediaType", json!(DOCKER_MANIFEST)),
            ),
            ("schema 1", OCI_MANIFEST, with("schemaVersion", json!(1))),
            ("schema 1 layers", OCI_MANIFEST, with("fsLayers", json!([]))),
            (
                "no config",
                OCI_MANIFEST,
                json!({ "schemaVersion": 2, "layers": [] }),
            ),
            ("no manifests", OCI_INDEX, json!({ "schemaVersion": 2 })),
            ("unknown type", "application/json", image.clone()),
            (
                "negative size",
                OCI_MANIFEST,
                with(
                    "layers",
                    json!([{ "mediaType": "x", "digest": Digest::sha256(b""), "size": -1 }]),
                ),
            ),
            (
                "path as digest",
                OCI_MANIFEST,
                with(
                    "layers",
                    json!([{ "mediaType": "x", "digest": "sha256:../../x", "size": 1 }]),
                ),
            ),
            (
                "sha512",
                OCI_MANIFEST,
                with(
                    "layers",
                    json!([{ "mediaType": "x", "digest": format!("sha512:{}", "0".repeat(128)), "size": 1 }]),
                ),
            ),
            ("a list", OCI_MANIFEST, json!([])),
        ] {
            assert!(read_json(Some(content_type), &document).is_err(), "{what}");
        }
        assert!(read_json(None, &image).is_err(), "no type at all");
        let twice = br#"{"schemaVersion":2,"schemaVersion":2,"config":{}}"#;
        assert!(read(Some(OCI_MANIFEST), twice, &Digest::sha256(twice)).is_err());
    }
}
