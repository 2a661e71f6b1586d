//! Public keys of token servers, from PEM files: `PUBLIC KEY` (RFC 5280, SubjectPublicKeyInfo) or `CERTIFICATE`, of
//! which only the key is used.

use std::path::{Path, PathBuf};

use base::error::{Kind, Kinded};
use base::file::FileError;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::pem::{PemObject, SectionKind};

/// The largest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("key file \"{}\" does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It holds a private key, which belongs to the token server alone.
    #[error("key file \"{}\" holds a private key, a public key or a certificate is needed", path.display())]
    Private {
        /// The file.
        path: PathBuf,
    },
    /// It holds no key that can be used.
    #[error("key file \"{}\" holds no RSA, P-256, P-384 or Ed25519 key in PEM form", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
}

impl Kinded for KeyError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Missing { .. } => Kind::NotFound,
            Self::Private { .. } => Kind::Denied,
            Self::Unknown { .. } => Kind::Invalid,
        }
    }
}

/// A key that signatures are checked with.
#[derive(Debug)]
pub(crate) struct PublicKey {
    family: Family,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl PublicKey {
    /// Returns whether `signature` over `message` is this key's, made with the JWS algorithm of that name (RFC 7518,
    /// section 3.1). The key decides which algorithms there are for it: `none` and shared secrets are none of them.
    pub(crate) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match (self.family, algorithm) {
            (Family::Rsa, "RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Family::Rsa, "RS384") => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Family::Rsa, "RS512") => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Family::P256, "ES256") => &signature::ECDSA_P256_SHA256_FIXED,
            (Family::P384, "ES384") => &signature::ECDSA_P384_SHA384_FIXED,
            (Family::Ed25519, "EdDSA") => &signature::ED25519,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

/// Reads all keys of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<PublicKey>, KeyError> {
    let Some(bytes) = base::file::read_optional(path, FILE_LIMIT)? else {
        return Err(KeyError::Missing {
            path: path.to_owned(),
        });
    };
    let unknown = || KeyError::Unknown {
        path: path.to_owned(),
    };
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (kind, der) = section.map_err(|_broken: rustls::pki_types::pem::Error| unknown())?;
        let info = match kind {
            SectionKind::PublicKey => Some(der.as_slice()),
            SectionKind::Certificate => key_of_certificate(&der),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(KeyError::Private {
                    path: path.to_owned(),
                });
            }
            _ => None,
        };
        keys.push(info.and_then(key).ok_or_else(unknown)?);
    }
    if keys.is_empty() {
        return Err(unknown());
    }
    Ok(keys)
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Reads a SubjectPublicKeyInfo: the algorithm and its parameters, then the key as a bit string.
fn key(info: &[u8]) -> Option<PublicKey> {
    let (tag, content, _) = element(info)?;
    let (inner, algorithm, rest) = element(content)?;
    let (bits, key, _) = element(rest)?;
    if tag != SEQUENCE || inner != SEQUENCE || bits != BIT_STRING {
        return None;
    }
    let (id_tag, id, parameters) = element(algorithm)?;
    if id_tag != OBJECT_ID {
        return None;
    }
    let family = match id {
        RSA => Family::Rsa,
        ED25519 => Family::Ed25519,
        EC => match element(parameters)? {
            (OBJECT_ID, P256, _) => Family::P256,
            (OBJECT_ID, P384, _) => Family::P384,
            _ => return None,
        },
        _ => return None,
    };
    // The first byte counts the unused bits at the end.
    let (0, bytes) = key.split_first()? else {
        return None;
    };
    Some(PublicKey {
        family,
        bytes: bytes.to_vec(),
    })
}

/// Returns the SubjectPublicKeyInfo of a certificate: after the optional version, the serial number, the signature's
/// algorithm, the issuer, the validity and the subject.
fn key_of_certificate(certificate: &[u8]) -> Option<&[u8]> {
    let (_, content, _) = element(certificate)?;
    let (_, mut rest, _) = element(content)?;
    if *rest.first()? == VERSION {
        rest = element(rest)?.2;
    }
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let after = element(rest)?.2;
    rest.get(..rest.len() - after.len())
}

/// Splits the first element of DER off (X.690, section 8.1): its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        rest = after;
        digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_der_is_no_key() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x02, 0x30, 0x00],
            &[0x30, 0x04, 0x30, 0x00, 0x03, 0x00],
        ] {
            assert!(key(bytes).is_none(), "{bytes:?}");
            assert!(key_of_certificate(bytes).is_none(), "{bytes:?}");
        }
    }
}
