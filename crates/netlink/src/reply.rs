//! What the kernel answers: messages in a buffer, attributes in a message. Nothing here trusts a length.

use rustix::io::Errno;

use crate::message::HEADER;

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_ACK_TLVS`.
const HAS_EXPLANATION: u16 = 0x200;
/// `NLM_F_DUMP_INTR`.
const INTERRUPTED: u16 = 0x10;
/// `NLMSGERR_ATTR_MSG`.
const EXPLANATION: u16 = 1;
/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`.
const TYPE_FLAGS: u16 = 0xc000;

/// One message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    /// Whose request it is about; of what is told to everybody, who asked for it.
    pub(crate) port: u32,
    flags: u16,
    body: &'a [u8],
}

/// What a message means for the request with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The request was done.
    Acknowledged,
    /// The request was refused.
    Refused(Errno, Option<String>),
    /// The last message of a dump.
    Done,
    /// A piece of data.
    Data,
}

impl<'a> Reply<'a> {
    /// Takes the first message off a buffer; `None` at its end, and `Err` where a length is wrong.
    pub(crate) fn take(buffer: &mut &'a [u8]) -> Option<Result<Self, Cut>> {
        if buffer.is_empty() {
            return None;
        }
        let whole = *buffer;
        let field = |at: usize| u16::from_ne_bytes([whole[at], whole[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes([whole[at], whole[at + 1], whole[at + 2], whole[at + 3]]);
        if whole.len() < HEADER {
            return Some(Err(Cut));
        }
        let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
        if length < HEADER || length > whole.len() {
            return Some(Err(Cut));
        }
        *buffer = whole.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Self {
            kind: field(4),
            flags: field(6),
            sequence: word(8),
            port: word(12),
            body: &whole[HEADER..length],
        }))
    }

    pub(crate) fn meaning(&self) -> Result<Meaning, Cut> {
        match self.kind {
            ERROR => {
                let code = self.body.first_chunk::<4>().ok_or(Cut)?;
                match i32::from_ne_bytes(*code) {
                    0 => Ok(Meaning::Acknowledged),
                    code => Ok(Meaning::Refused(
                        Errno::from_raw_os_error(code.saturating_neg()),
                        self.explanation(),
                    )),
                }
            }
            // A dump that fails says so in its last message.
            DONE => match self.body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
                Some(code) if code < 0 => Ok(Meaning::Refused(
                    Errno::from_raw_os_error(code.saturating_neg()),
                    None,
                )),
                _ => Ok(Meaning::Done),
            },
            _ => Ok(Meaning::Data),
        }
    }

    /// Tells whether the kernel's tables changed while they were dumped.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.flags & INTERRUPTED != 0
    }

    /// Returns the fixed part, and the attributes behind it.
    pub(crate) fn split<const LENGTH: usize>(&self) -> Option<(&'a [u8; LENGTH], Attributes<'a>)> {
        let fixed = self.body.first_chunk::<LENGTH>()?;
        let rest = self.body.get(LENGTH.next_multiple_of(4)..).unwrap_or_default();
        Some((fixed, Attributes { rest }))
    }

    fn explanation(&self) -> Option<String> {
        if self.flags & HAS_EXPLANATION == 0 {
            return None;
        }
        // The errno, then the header of the request (its rest is left out: NETLINK_CAP_ACK).
        let rest = self.body.get(4 + HEADER..)?;
        Attributes { rest }
            .find(|(kind, _)| *kind == EXPLANATION)
            .map(|(_, value)| text(value))
    }
}

/// A length that leads out of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

/// The attributes of a message or of an attribute: type without flags, and value. A wrong length ends them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        { self }.find(|(own, _)| *own == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !TYPE_FLAGS;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Returns a text up to its NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_length_is_an_end_or_an_error_never_a_panic() {
        for length in 0..64_u32 {
            for size in 0..40 {
                let mut bytes = vec![0; size];
                for (to, from) in bytes.iter_mut().zip(length.to_ne_bytes()) {
                    *to = from;
                }
                let mut rest = bytes.as_slice();
                while let Some(reply) = Reply::take(&mut rest) {
                    let Ok(reply) = reply else { break };
                    drop(reply.meaning());
                    if let Some((_, attributes)) = reply.split::<4>() {
                        assert!(attributes.count() < 64);
                    }
                }
                assert!(Attributes::of(&bytes).count() < 64);
            }
        }
    }

    #[test]
    fn attributes_are_read_back_as_written() {
        let mut message = crate::Message::new(9, 0, "test", &[]);
        message.u32(1, 7).text(2, "lo").nested(3, |inner| {
            inner.u8(4, 255).bytes(5, b"abc");
        });
        let mut buffer = Vec::new();
        message.append_to(&mut buffer, 77, true);
        let mut rest = buffer.as_slice();
        let reply = Reply::take(&mut rest).unwrap().unwrap();
        assert!(rest.is_empty());
        assert_eq!((reply.kind, reply.sequence), (9, 77));
        let (_, attributes) = reply.split::<0>().unwrap();
        assert_eq!(attributes.get(1).and_then(u32_of), Some(7));
        assert_eq!(attributes.get(2).map(text).as_deref(), Some("lo"));
        let inner = Attributes::of(attributes.get(3).unwrap());
        assert_eq!(inner.get(4), Some(&[255][..]));
        assert_eq!(inner.get(5), Some(&b"abc"[..]));
    }
}
