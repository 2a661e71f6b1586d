//! One request: a header, a fixed part, and attributes.
//!
//! ```text
//! nlmsghdr: length u32 | type u16 | flags u16 | sequence u32 | port u32      (host byte order; netlink(7))
//! fixed part of the type (ifinfomsg, nfgenmsg, …), padded to 4
//! nlattr:   length u16 | type u16 | value, padded to 4                        (again and again; nested ones inside)
//! ```

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`.
const ACK: u16 = 0x04;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Length of `struct nlmsghdr` in bytes.
pub(crate) const HEADER: usize = 16;

/// Something that the kernel shall do.
#[derive(Clone, Debug)]
pub struct Message {
    doing: String,
    bytes: Vec<u8>,
    overflow: bool,
}

impl Message {
    pub(crate) fn new(kind: u16, flags: u16, doing: impl Into<String>, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        let mut message = Self {
            doing: doing.into(),
            bytes,
            overflow: false,
        };
        message.pad();
        message
    }

    /// Returns what the message asks for, as an error would begin.
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// Returns whether an attribute was too long for its length field.
    pub(crate) fn overflows(&self) -> bool {
        self.overflow || u32::try_from(self.bytes.len()).is_err()
    }

    /// Returns its size, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the message to a buffer that is sent, numbered, and with or without a wish for an answer.
    pub(crate) fn append_to(&self, buffer: &mut Vec<u8>, sequence: u32, acknowledge: bool) {
        let start = buffer.len();
        buffer.extend(&self.bytes);
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        if acknowledge {
            let flags = u16::from_ne_bytes([buffer[start + 6], buffer[start + 7]]) | ACK;
            buffer[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        buffer[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Adds an attribute.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or_else(|_too_long| {
            self.overflow = true;
            u16::MAX
        });
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a text with the NUL that the kernel expects.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds an attribute made of attributes.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.container(kind | NESTED, fill)
    }

    /// As `nested` without the flag, for those old attributes whose readers compare the whole type.
    pub(crate) fn container(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_too_long) => self.overflow = true,
        }
        self
    }

    /// Adds bytes that are no attribute, as the header of a veth's peer.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
