//! Signatures as cosign makes them: a small document about an image, and a signature over its bytes.
//!
//! Format: sigstore/cosign, specs/SIGNATURE_SPEC.md ("simple signing" payload of containers-signature(5)). Keys are
//! ECDSA on P-256 with SHA-256, and Ed25519, as `cosign generate-key-pair` and OpenSSL write their public halves:
//! PEM of a SubjectPublicKeyInfo (RFC 5280, RFC 5480, RFC 8410).

use std::fmt;

use oci::{Digest, Reference};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde::Deserialize;

use super::Evidence;

/// A signature that was found, of whatever worth.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The document that was signed.
    pub payload: Vec<u8>,
    /// The signature of its bytes.
    pub signature: Vec<u8>,
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature({} bytes)", self.payload.len())
    }
}

/// What a signature must be.
#[derive(Debug)]
pub(super) struct Signed {
    /// By any of these.
    pub(super) keys: Vec<PublicKey>,
    /// For this name.
    pub(super) identity: Identity,
}

/// How the signed name and the image's own must agree.
#[derive(Debug)]
pub(super) enum Identity {
    /// Both are the same, with tag or digest.
    MatchExact,
    /// As that; a name with a digest needs the repository only.
    MatchRepoDigestOrExact,
    /// The repositories are the same.
    MatchRepository,
    /// The signed name is this one.
    ExactReference(Reference),
    /// The signed name's repository is this one.
    ExactRepository(String),
    /// As `MatchRepoDigestOrExact`, when the image's name has begun with something else.
    Remap { prefix: String, signed_prefix: String },
}

/// A key that verifies.
pub(super) struct PublicKey {
    kind: KeyKind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum KeyKind {
    EcdsaP256,
    Ed25519,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({:?})", self.kind)
    }
}

/// What comes before the point of a P-256 key: `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }`.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What comes before an Ed25519 key: `SEQUENCE { SEQUENCE { id-Ed25519 }, BIT STRING }`.
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

impl PublicKey {
    /// Reads one public key; `name` says which, for the error.
    pub(super) fn from_pem(pem: &[u8], name: &str) -> Result<Self, String> {
        let text = std::str::from_utf8(pem).map_err(|_binary| format!("{name} is not PEM"))?;
        let inside = text
            .trim()
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(END))
            .ok_or_else(|| format!("{name} is not one public key in PEM"))?;
        let encoded: String = inside.split_ascii_whitespace().collect();
        let der = base::base64::decode(&encoded).ok_or_else(|| format!("{name} is not PEM"))?;
        let key = |kind, bytes: &[u8]| Self {
            kind,
            bytes: bytes.to_vec(),
        };
        match (der.strip_prefix(&P256_PREFIX), der.strip_prefix(&ED25519_PREFIX)) {
            (Some(point), _) if point.len() == 65 && point[0] == 4 => Ok(key(KeyKind::EcdsaP256, point)),
            (_, Some(point)) if point.len() == 32 => Ok(key(KeyKind::Ed25519, point)),
            _ => Err(format!("{name} is neither an ECDSA P-256 nor an Ed25519 key")),
        }
    }

    fn verifies(&self, signature: &Signature) -> bool {
        let algorithm: &'static dyn ring::signature::VerificationAlgorithm = match self.kind {
            KeyKind::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            KeyKind::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(&signature.payload, &signature.signature)
            .is_ok()
    }
}

/// The document that is signed. A field that means something must not be passed over, so there may be no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    /// Anything.
    #[serde(default, rename = "optional")]
    _optional: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: SignedIdentity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedIdentity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: Digest,
}

/// What payloads of this kind call themselves.
const PAYLOAD_TYPES: [&str; 2] = [
    "cosign container image signature",
    "https://sigstore.dev/cosign/sign/v1",
];

/// Finds one signature that makes the image what is required; says why there is none.
pub(super) fn check(signed: &Signed, name: &Reference, evidence: &Evidence) -> Result<(), String> {
    let mut reason = "it has no signature".to_owned();
    for signature in &evidence.signatures {
        match check_one(signed, name, &evidence.subjects, signature) {
            Ok(()) => return Ok(()),
            Err(problem) => reason = problem,
        }
    }
    Err(reason)
}

fn check_one(
    signed: &Signed,
    name: &Reference,
    subjects: &[Digest],
    signature: &Signature,
) -> Result<(), String> {
    // Nothing of the payload is read before somebody who is trusted has signed it.
    if !signed.keys.iter().any(|key| key.verifies(signature)) {
        return Err("none of its signatures is by a key of the rule".to_owned());
    }
    let payload: Payload = serde_json::from_slice(&signature.payload)
        .map_err(|error| format!("the signed document cannot be read: {error}"))?;
    let critical = payload.critical;
    if !PAYLOAD_TYPES.contains(&critical.kind.as_str()) {
        return Err("the signed document is not about an image".to_owned());
    }
    let digest = critical.image.docker_manifest_digest;
    if !subjects.contains(&digest) {
        return Err(format!("the signature is for {digest}"));
    }
    let text = critical.identity.docker_reference;
    let printed: String = text.chars().take(300).flat_map(char::escape_debug).collect();
    let own = Reference::parse(&text).map_err(|error| format!("the signed name \"{printed}\": {error}"))?;
    if signed.identity.accepts(name, &own) {
        Ok(())
    } else {
        Err(format!("the signature is for the name \"{printed}\""))
    }
}

impl Identity {
    /// Returns whether an image with the name `image` may be one that was signed as `signed`.
    fn accepts(&self, image: &Reference, signed: &Reference) -> bool {
        match self {
            Self::MatchExact => exact(&image.to_string(), image, signed),
            Self::MatchRepoDigestOrExact => digest_or_exact(&image.repository(), image, signed),
            Self::MatchRepository => image.repository() == signed.repository(),
            Self::ExactReference(wanted) => wanted == signed,
            Self::ExactRepository(wanted) => *wanted == signed.repository(),
            Self::Remap {
                prefix,
                signed_prefix,
            } => {
                let repository = image.repository();
                let rest = repository
                    .strip_prefix(prefix.as_str())
                    .filter(|rest| rest.is_empty() || rest.starts_with('/'));
                let mapped = match rest {
                    Some(rest) => format!("{signed_prefix}{rest}"),
                    None => repository,
                };
                digest_or_exact(&mapped, image, signed)
            }
        }
    }
}

fn exact(name: &str, image: &Reference, signed: &Reference) -> bool {
    (image.tag().is_some() || image.digest().is_some()) && name == signed.to_string()
}

/// A name with a digest is already bound to its content; one with a tag must be signed with that tag.
fn digest_or_exact(repository: &str, image: &Reference, signed: &Reference) -> bool {
    if image.digest().is_some() {
        return repository == signed.repository();
    }
    match image.tag() {
        Some(tag) => exact(&format!("{repository}:{tag}"), image, signed),
        None => false,
    }
}
