//! Compression of archives, told by their first bytes and never by a name.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Largest zstd window that is accepted, as a power of two: 128 MiB, what `zstd -d` allows by default. Memory of a
/// decoder is bounded by it.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes read from the source at once.
const BUFFER: usize = 128 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, possibly of several members.
    Gzip,
    /// Zstandard, possibly of several frames.
    Zstd,
}

/// A stream is compressed with something that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} compression is not supported")]
pub struct UnsupportedCompression {
    name: &'static str,
}

impl Compression {
    /// Returns the compression that a stream beginning with `start` has; six bytes are enough.
    pub fn detect(start: &[u8]) -> Result<Self, UnsupportedCompression> {
        let unsupported = |name| Err(UnsupportedCompression { name });
        match start {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => unsupported("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => unsupported("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => unsupported("lz4"),
            _ => Ok(Self::Plain),
        }
    }
}

/// A reader with the few bytes put back that were needed to tell the compression.
type Source<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

/// The uncompressed content of a stream.
pub struct Decoder<R: Read> {
    inner: Inner<R>,
    compression: Compression,
}

enum Inner<R: Read> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Zstd(Box<zstd::Decoder<'static, Source<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader` and returns a reader of its uncompressed content.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut start = Vec::with_capacity(6);
        reader.by_ref().take(6).read_to_end(&mut start)?;
        let compression =
            Compression::detect(&start).map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        let source = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(reader));
        let inner = match compression {
            Compression::Plain => Inner::Plain(source),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { inner, compression })
    }

    /// Returns how the stream is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(source) => source.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => {
                // The decoder reports the end of its input between two frames as an ordinary end.
                let count = decoder.read(buffer)?;
                if count == 0 && !buffer.is_empty() && !decoder.get_mut().fill_buf()?.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "bytes after the last zstd frame",
                    ));
                }
                Ok(count)
            }
        }
    }
}

impl<R: Read> fmt::Debug for Decoder<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Decoder")
            .field("compression", &self.compression)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Decoder::new(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_apart() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let mut gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for (bytes, compression) in [
            (&b"hello"[..], Compression::Plain),
            (&b""[..], Compression::Plain),
            (&gzip, Compression::Gzip),
            (&zstd, Compression::Zstd),
        ] {
            assert_eq!(Decoder::new(bytes).unwrap().compression(), compression);
        }
        assert_eq!(decode(&gzip).unwrap(), b"hello");
        assert_eq!(decode(&zstd).unwrap(), b"hello");
        gzip.extend_from_within(..);
        assert_eq!(decode(&gzip).unwrap(), b"hellohello");
        assert_eq!(
            decode(&[zstd.clone(), zstd.clone()].concat()).unwrap(),
            b"hellohello"
        );
        assert!(decode(&gzip[..gzip.len() - 9]).is_err());
        assert!(decode(&zstd[..zstd.len() - 1]).is_err());
    }

    #[test]
    fn others_are_refused_by_name() {
        for (bytes, name) in [
            (&b"\xfd7zXZ\0\0"[..], "xz"),
            (b"BZh91AY", "bzip2"),
            (b"\x04\x22\x4d\x18..", "lz4"),
        ] {
            let error = decode(bytes).unwrap_err();
            assert_eq!(error.to_string(), format!("{name} compression is not supported"));
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_huge_zstd_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[0; 1 << 20]).unwrap();
        let bytes = encoder.finish().unwrap();
        assert!(decode(&bytes).is_err());
    }
}
