//! Where signatures are found in a registry, and where those that were found are kept.
//!
//! In a registry: the tag `sha256-<hex>.sig` beside the image, or a referrer; either is an image manifest whose layers are
//! the signed documents, each with its signature in an annotation (cosign, specs/SIGNATURE_SPEC.md). Here: one file for
//! each manifest in `content/signatures/`, so that a container made later is checked again without the registry.

use std::path::PathBuf;

use base::error::{Kind, Kinded};
use base::file::{Durability, FileError};
use oci::Digest;
use oci::image::{Descriptor, Manifest};
use serde::{Deserialize, Serialize};

use super::{Evidence, Signature};
use crate::store::Store;

/// The media type of a signed document.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with its signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Most signatures of one image.
const MAX_SIGNATURES: usize = 64;
/// Longest signature in base64.
const MAX_SIGNATURE: usize = 4 << 10;
/// Largest signed document in bytes.
const MAX_PAYLOAD: u64 = 64 << 10;
/// Largest file of kept signatures in bytes: as many as there may be.
const MAX_FILE: u64 = 8 << 20;

/// Signatures could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The manifest that should hold signatures is none.
    #[error("read the signatures")]
    Parse(#[source] serde_json::Error),
    /// There are too many, or they are too large.
    #[error("the image has more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Kinded for EvidenceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Parse(_) | Self::Limit { .. } => Kind::Invalid,
            Self::File(error) => error.kind(),
        }
    }
}

/// A signature whose document is still to be fetched: at most 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLayer {
    /// The document's blob.
    pub payload: Descriptor,
    /// The signature of its bytes.
    pub signature: Vec<u8>,
}

impl SignatureLayer {
    /// Returns the signature with its document; `None` if that is not the one that was named.
    pub fn with_payload(self, payload: Vec<u8>) -> Option<Signature> {
        (Digest::sha256(&payload) == self.payload.digest).then_some(Signature {
            payload,
            signature: self.signature,
        })
    }
}

/// Returns the tag under which cosign puts the signatures of a manifest.
pub fn signature_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm(), digest.hex())
}

/// Reads the manifest with an image's signatures. What is no signature, or malformed, is left out: it proves nothing.
pub fn signature_layers(manifest: &[u8]) -> Result<Vec<SignatureLayer>, EvidenceError> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(EvidenceError::Parse)?;
    if manifest.layers.len() > MAX_SIGNATURES {
        return Err(EvidenceError::Limit {
            what: "signatures",
            limit: MAX_SIGNATURES,
        });
    }
    let read = |layer: Descriptor| {
        let text = layer.annotations.get(SIGNATURE)?;
        if layer.media_type != SIMPLE_SIGNING || text.len() > MAX_SIGNATURE || layer.size > MAX_PAYLOAD {
            return None;
        }
        let signature = base::base64::decode(text)?;
        Some(SignatureLayer {
            payload: layer,
            signature,
        })
    };
    Ok(manifest.layers.into_iter().filter_map(read).collect())
}

#[derive(Serialize, Deserialize)]
struct Kept {
    subjects: Vec<Digest>,
    signatures: Vec<KeptSignature>,
}

#[derive(Serialize, Deserialize)]
struct KeptSignature {
    payload: String,
    signature: String,
}

impl Store {
    /// Keeps what was found about the manifest `digest`, in place of what was kept before.
    pub fn keep_evidence(&self, digest: &Digest, evidence: &Evidence) -> Result<(), EvidenceError> {
        if evidence.signatures.len() > MAX_SIGNATURES * 8 {
            return Err(EvidenceError::Limit {
                what: "signatures",
                limit: MAX_SIGNATURES * 8,
            });
        }
        let kept = Kept {
            subjects: evidence.subjects.clone(),
            signatures: evidence
                .signatures
                .iter()
                .map(|signature| KeptSignature {
                    payload: base::base64::encode(&signature.payload),
                    signature: base::base64::encode(&signature.signature),
                })
                .collect(),
        };
        let directory = self.signatures();
        if let Err(error) = std::fs::DirBuilder::new().recursive(true).create(&directory) {
            return Err(FileError::new("create", &directory, error).into());
        }
        let text = serde_json::to_vec(&kept).map_err(EvidenceError::Parse)?;
        let path = directory.join(file_name(digest));
        Ok(base::file::write_atomic(&path, &text, 0o600, Durability::Power)?)
    }

    /// Returns what is kept about the manifest `digest`. What cannot be read proves nothing: it is as if it were not there.
    pub fn evidence(&self, digest: &Digest) -> Evidence {
        let mut evidence = Evidence {
            subjects: vec![digest.clone()],
            signatures: Vec::new(),
        };
        let path = self.signatures().join(file_name(digest));
        let Ok(Some(text)) = base::file::read_optional(&path, MAX_FILE) else {
            return evidence;
        };
        let Ok(kept) = serde_json::from_slice::<Kept>(&text) else {
            return evidence;
        };
        for subject in kept.subjects {
            if !evidence.subjects.contains(&subject) {
                evidence.subjects.push(subject);
            }
        }
        evidence.signatures = kept
            .signatures
            .iter()
            .filter_map(|kept| {
                Some(Signature {
                    payload: base::base64::decode(&kept.payload)?,
                    signature: base::base64::decode(&kept.signature)?,
                })
            })
            .collect();
        evidence
    }

    /// Forgets what is kept about manifests that no image has.
    pub(crate) fn sweep_evidence(&self, is_needed: impl Fn(&Digest) -> bool) {
        let Ok(list) = std::fs::read_dir(self.signatures()) else {
            return;
        };
        for item in list.flatten() {
            let name = item.file_name();
            let digest = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|name| name.replacen('-', ":", 1).parse::<Digest>().ok());
            if !digest.is_some_and(|digest| is_needed(&digest)) {
                // What stays is read by nobody.
                drop(std::fs::remove_file(item.path()));
            }
        }
    }

    fn signatures(&self) -> PathBuf {
        self.content.directory().join("signatures")
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}.json", digest.algorithm(), digest.hex())
}
