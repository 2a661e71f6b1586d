//! Content digests (`algorithm:hex`), the chain ids of layers, and adapters that hash what flows through them.
//!
//! Format: OCI image specification 1.1, "Digests". A [`Digest`] can only be made by parsing or hashing, so its text
//! is safe as a file name: no slash, no dot, no upper case.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use base::error::{Kind, Kinded};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest \"{text}\"")]
pub struct ParseDigestError {
    text: String,
}

impl Kinded for ParseDigestError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// A content digest: `sha256:` and 64, or `sha512:` and 128 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Returns the SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_sha256(&Sha256::digest(bytes))
    }

    fn from_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", base::id::hex(hash)))
    }

    /// Returns the digest whose SHA-256 hex digits are `hex`.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, ParseDigestError> {
        format!("sha256:{hex}").parse()
    }

    /// Returns `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// Returns the hex digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// Returns the first twelve hex digits, as Docker prints image ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let digits = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => hex,
            Some(("sha512", hex)) if hex.len() == 128 => hex,
            _ => "",
        };
        if !digits.is_empty()
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseDigestError {
                text: text.chars().take(160).collect(),
            })
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of a stack of layers: the first layer's diff id, then `sha256(parent + " " + diff id)` for each more.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(Digest);

impl ChainId {
    /// Returns the chain id of the layer with `diff_id` upon `parent`.
    pub fn next(parent: Option<&Self>, diff_id: &Digest) -> Self {
        match parent {
            None => Self(diff_id.clone()),
            Some(parent) => Self(Digest::sha256(format!("{parent} {diff_id}").as_bytes())),
        }
    }

    /// Returns the chain ids of all layers of an image, lowest first.
    pub fn chain(diff_ids: &[Digest]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chain.push(Self::next(chain.last(), diff_id));
        }
        chain
    }

    /// Returns the digest behind the id.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Passes bytes on to a writer and hashes those that it took.
#[derive(Debug)]
pub struct HashWriter<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> HashWriter<W> {
    /// Returns an adapter before `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Returns the inner writer.
    pub fn inner(&self) -> &W {
        &self.inner
    }

    /// Hashes bytes that are there already, as if they had been written.
    pub fn skip(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }

    /// Goes on with another writer; what was hashed stays hashed.
    pub fn with_inner<V>(self, inner: V) -> HashWriter<V> {
        HashWriter {
            inner,
            hash: self.hash,
            bytes: self.bytes,
        }
    }

    /// Returns the inner writer, the digest and the number of bytes.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_sha256(&self.hash.finalize()), self.bytes)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on from a reader and hashes them.
#[derive(Debug)]
pub struct HashReader<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R> HashReader<R> {
    /// Returns an adapter behind `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Returns the number of bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the inner reader, the digest of what was read and the number of bytes.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, Digest::from_sha256(&self.hash.finalize()), self.bytes)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_parsed_strictly() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::sha256(b""));
        assert_eq!(digest.algorithm(), "sha256");
        assert_eq!(digest.short(), "e3b0c44298fc");
        let hex = digest.hex();
        assert!(format!("sha512:{hex}{hex}").parse::<Digest>().is_ok());
        for text in [
            "".to_owned(),
            hex.to_owned(),
            EMPTY.to_uppercase(),
            EMPTY[..70].to_owned(),
            format!("{EMPTY}0"),
            format!("sha512:{hex}"),
            format!("md5:{}", "0".repeat(32)),
            format!("sha256:../{}", "a".repeat(61)),
            format!("sha256:{}", "g".repeat(64)),
            format!("sha256:{}", "é".repeat(32)),
            format!("sha256::{}", "a".repeat(63)),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let (first, second) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let chain = ChainId::chain(&[first.clone(), second.clone()]);
        assert_eq!(chain[0].digest(), &first);
        assert_eq!(
            chain[1].digest(),
            &Digest::sha256(format!("{first} {second}").as_bytes())
        );
    }

    #[test]
    fn adapters_hash_what_passes() {
        let mut writer = HashWriter::new(Vec::new());
        writer.write_all(b"hello").unwrap();
        let (bytes, digest, count) = writer.finish();
        assert_eq!((bytes.as_slice(), count), (&b"hello"[..], 5));
        let mut reader = HashReader::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish().1, digest);
    }
}
