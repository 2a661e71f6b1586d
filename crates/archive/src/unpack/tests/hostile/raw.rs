//! Archives byte by byte, as no writer makes them.

use std::io::Write;

/// A member's header with everything in it that matters, and its content.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// The size that the header tells.
    pub(super) size: usize,
    pub(super) content: Vec<u8>,
}

impl Raw {
    pub(super) fn new(kind: u8, name: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Self {
        let content = if matches!(kind, b'0' | 0 | b'7') {
            b"evil".to_vec()
        } else {
            Vec::new()
        };
        Self {
            kind,
            name: name.as_ref().to_vec(),
            link: link.as_ref().to_vec(),
            size: content.len(),
            content,
        }
    }

    /// An extension header with this content.
    pub(super) fn extension(kind: u8, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        Self {
            kind,
            name: b"extension".to_vec(),
            link: Vec::new(),
            size: content.len(),
            content,
        }
    }

    pub(super) fn with_content(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = content.as_ref().to_vec();
        self.size = self.content.len();
        self
    }

    pub(super) fn with_size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Returns the header and the padded content. POSIX.1-2024 pax, "ustar Interchange Format".
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|_| ())
    }

    /// As [`Self::bytes`], with the header changed before its sum is made.
    pub(super) fn bytes_with(&self, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut block = vec![0; 512];
        let mut put = |at: usize, most: usize, text: &[u8]| {
            let length = text.len().min(most);
            block[at..at + length].copy_from_slice(&text[..length]);
        };
        put(0, 100, &self.name);
        put(100, 8, b"0006777\0");
        put(108, 8, b"0000000\0");
        put(116, 8, b"0000000\0");
        put(124, 12, format!("{:011o}\0", self.size).as_bytes());
        put(136, 12, b"00000000001\0");
        put(156, 1, &[self.kind]);
        put(157, 100, &self.link);
        put(257, 8, b"ustar\x0000");
        put(329, 8, b"0000001\0");
        put(337, 8, b"0000003\0");
        change(&mut block);
        seal(&mut block);
        block.extend(&self.content);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }
}

/// Sets the checksum.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One PAX record; its length counts itself.
pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// Joins members to an archive with its two blocks of zeros.
pub(super) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The ways to tell a member's name.
pub(super) const DELIVERIES: [&str; 6] = ["header", "prefix", "pax", "gnu", "both", "sparse name"];

/// Writes a member whose name, and the target of a hard or symbolic link, come the way of `delivery`.
pub(super) fn deliver(member: &Raw, delivery: &str) -> Vec<u8> {
    let innocent = Raw {
        name: b"innocent".to_vec(),
        link: if member.link.is_empty() {
            Vec::new()
        } else {
            b"innocent".to_vec()
        },
        ..member.clone()
    };
    let mut records = record("path", &member.name);
    if !member.link.is_empty() {
        records.extend(record("linkpath", &member.link));
    }
    let pax = Raw::extension(b'x', &records).bytes();
    let mut gnu = Raw::extension(b'L', [&member.name[..], b"\0"].concat()).bytes();
    if !member.link.is_empty() {
        gnu.extend(Raw::extension(b'K', [&member.link[..], b"\0"].concat()).bytes());
    }
    match delivery {
        "prefix" => match member.name.iter().rposition(|&byte| byte == b'/') {
            Some(at) if at > 0 && at < 155 => {
                let rest = Raw {
                    name: member.name[at + 1..].to_vec(),
                    ..member.clone()
                };
                rest.bytes_with(|block| block[345..345 + at].copy_from_slice(&member.name[..at]))
            }
            _ => member.bytes(),
        },
        "pax" => [pax, innocent.bytes()].concat(),
        "gnu" => [gnu, innocent.bytes()].concat(),
        "both" => [pax, gnu, innocent.bytes()].concat(),
        "sparse name" => {
            let mut records = record("GNU.sparse.name", &member.name);
            records.extend(record("path", b"innocent"));
            if !member.link.is_empty() {
                records.extend(record("linkpath", &member.link));
            }
            [Raw::extension(b'x', &records).bytes(), innocent.bytes()].concat()
        }
        _ => member.bytes(),
    }
}

pub(super) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}
