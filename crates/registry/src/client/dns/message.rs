//! DNS messages (RFC 1035, section 4; RFC 3596): one question out, addresses in.
//!
//! Answers are hostile: every length is checked, a compressed name follows at most [`MAX_JUMPS`] pointers, and only
//! records that belong to the question (through at most [`MAX_ALIASES`] aliases) count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAX_JUMPS: usize = 32;
const MAX_ALIASES: usize = 16;
const MAX_RECORDS: usize = 256;
const HEADER: usize = 12;
const CLASS_INTERNET: u16 = 1;
const TYPE_CNAME: u16 = 5;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The addresses; none if the name has none or does not exist.
    Addresses(Vec<IpAddr>),
    /// The answer did not fit: ask by TCP.
    Truncated,
    /// The server could not or would not say.
    Failed(u8),
}

/// Returns a recursive question; `None` if `name` cannot stand in a message.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion desired, one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() - HEADER > 255 {
        return None;
    }
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    Some(message)
}

/// Reads an answer to the question (`id`, `name`, `kind`); `None` if it is not one.
pub(super) fn reply(message: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let mut reader = Reader { message, at: 0 };
    let own_id = reader.u16()?;
    let flags = reader.u16()?;
    let questions = reader.u16()?;
    let answers = usize::from(reader.u16()?);
    reader.skip(4)?;
    if own_id != id || flags & 0x8000 == 0 || questions != 1 {
        return None;
    }
    let same = reader.name()?.eq_ignore_ascii_case(name);
    if !same || reader.u16()? != kind.number() || reader.u16()? != CLASS_INTERNET {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Reply::Truncated);
    }
    match u8::try_from(flags & 15).unwrap_or(15) {
        // 3: there is no such name.
        0 | 3 => {}
        code => return Some(Reply::Failed(code)),
    }
    let mut addresses: Vec<(String, IpAddr)> = Vec::new();
    let mut aliases: Vec<(String, String)> = Vec::new();
    for _ in 0..answers.min(MAX_RECORDS) {
        let owner = reader.name()?;
        let record = reader.u16()?;
        let class = reader.u16()?;
        reader.skip(4)?;
        let length = usize::from(reader.u16()?);
        let start = reader.at;
        let data = message.get(start..start.checked_add(length)?)?;
        if class == CLASS_INTERNET && record == kind.number() {
            addresses.push((owner, address(data)?));
        } else if class == CLASS_INTERNET && record == TYPE_CNAME {
            aliases.push((owner, reader.name()?));
        }
        reader.at = start + length;
    }
    let mut wanted = name.to_ascii_lowercase();
    for _ in 0..MAX_ALIASES {
        let own = addresses.iter().filter(|(owner, _)| *owner == wanted);
        let found: Vec<_> = own.map(|(_, address)| *address).collect();
        if !found.is_empty() {
            return Some(Reply::Addresses(found));
        }
        match aliases.iter().find(|(owner, _)| *owner == wanted) {
            Some((_, target)) => wanted.clone_from(target),
            None => break,
        }
    }
    Some(Reply::Addresses(Vec::new()))
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        _ => None,
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self
            .at
            .checked_add(count)
            .filter(|&at| at <= self.message.len())?;
        Some(())
    }

    /// Reads a name, in lower case, following pointers, and stands after it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut jumps = 0;
        let mut end = None;
        loop {
            let length = self.u8()?;
            match length {
                0 => break,
                1..=63 => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    for _ in 0..length {
                        name.push(char::from(self.u8()?).to_ascii_lowercase());
                    }
                    if name.len() > 255 {
                        return None;
                    }
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.u8()?);
                    jumps += 1;
                    if jumps > MAX_JUMPS {
                        return None;
                    }
                    end.get_or_insert(self.at);
                    self.at = target;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(self.at);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question` with records of (owner, type, data).
    pub(in super::super) fn answer(question: &[u8], flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (owner, kind, data) in records {
            message.extend_from_slice(owner);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 9]);
            message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn aliases_and_pointers_are_followed() {
        let question = question(7, "a.example", Kind::A).unwrap();
        let own: &[u8] = &[0xc0, 12];
        let alias: &[u8] = b"\x01B\xc0\x0e";
        let good = answer(
            &question,
            0x8180,
            &[
                (own, 5, alias),
                (alias, 1, &[10, 0, 0, 1]),
                (b"\x01x\0", 1, &[6, 6, 6, 6]),
            ],
        );
        let expected = Reply::Addresses(vec![Ipv4Addr::new(10, 0, 0, 1).into()]);
        assert_eq!(reply(&good, 7, "A.Example", Kind::A), Some(expected));
        assert_eq!(reply(&good, 8, "a.example", Kind::A), None);
        assert_eq!(reply(&good, 7, "b.example", Kind::A), None);
        assert_eq!(reply(&good, 7, "a.example", Kind::Aaaa), None);
        assert_eq!(reply(&question, 7, "a.example", Kind::A), None);
        let of = |flags| reply(&answer(&question, flags, &[]), 7, "a.example", Kind::A);
        assert_eq!(of(0x8383), Some(Reply::Truncated));
        assert_eq!(of(0x8183), Some(Reply::Addresses(Vec::new())));
        assert_eq!(of(0x8182), Some(Reply::Failed(2)));
        let circle = answer(
            &question,
            0x8180,
            &[(own, 5, own), (&[0xc0, 0xff], 1, &[1, 2, 3, 4])],
        );
        assert_eq!(reply(&circle, 7, "a.example", Kind::A), None);
        let knot = answer(&question, 0x8180, &[(own, 5, own)]);
        assert_eq!(
            reply(&knot, 7, "a.example", Kind::A),
            Some(Reply::Addresses(Vec::new()))
        );
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for name in ["", "a..b", &"a".repeat(64), &"a.".repeat(130)] {
            assert_eq!(super::question(1, name, Kind::A), None);
        }
    }

    proptest! {
        #[test]
        fn damaged_answers_do_not_panic(at in 0usize..64, byte: u8, cut in 0usize..80) {
            let question = super::question(7, "a.example", Kind::A).unwrap();
            let mut message = answer(&question, 0x8180, &[(&[0xc0, 12], 5, b"\x01B\xc0\x0e"), (b"\x01B\xc0\x0e", 1, &[1, 2, 3, 4])]);
            if let Some(place) = message.get_mut(at) { *place = byte; }
            message.truncate(cut);
            reply(&message, 7, "a.example", Kind::A);
        }

        #[test]
        fn noise_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            reply(&bytes, 7, "a.example", Kind::A);
        }
    }
}
