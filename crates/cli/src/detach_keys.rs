//! The keys that leave a container's terminal without ending the container.

/// What is used when nobody says otherwise.
const DEFAULT: &[u8] = &[16, 17];

/// Finds the detach keys in what is typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of the keys came last.
    matched: usize,
}

/// What to do after a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes, then leave.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// Reads docker's spelling: characters and `ctrl-X`, separated by commas; empty is ctrl-p, ctrl-q.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self {
                keys: DEFAULT.to_vec(),
                matched: 0,
            });
        }
        let keys = text.split(',').map(|key| {
            let code = match key.as_bytes() {
                [byte] => Some(*byte),
                [b'c', b't', b'r', b'l', b'-', letter] => control(*letter),
                _ => None,
            };
            code.ok_or_else(|| format!("invalid detach keys ({text}): unknown character: '{key}'"))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            matched: 0,
        })
    }

    /// Takes what was typed; keys that may be the beginning of the sequence are held back until that is known.
    pub(crate) fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut send = Vec::with_capacity(bytes.len() + self.matched);
        for &byte in bytes {
            if byte != self.keys[self.matched] {
                send.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Typed::Detach(send);
                }
            } else {
                send.push(byte);
            }
        }
        Typed::Send(send)
    }
}

fn control(letter: u8) -> Option<u8> {
    match letter {
        b'a'..=b'z' => Some(letter - b'a' + 1),
        b'@' => Some(0),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_keys_leave() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.typed(b"ab\x10"), Typed::Send(b"ab".to_vec()));
        assert_eq!(keys.typed(b"c"), Typed::Send(b"\x10c".to_vec()));
        assert_eq!(keys.typed(b"\x10\x10"), Typed::Send(b"\x10".to_vec()));
        assert_eq!(keys.typed(b"\x11rest"), Typed::Detach(Vec::new()));
    }

    #[test]
    fn other_keys_as_docker_spells_them() {
        let mut keys = DetachKeys::parse("ctrl-a,x,ctrl-[").unwrap();
        assert_eq!(keys.typed(b"1\x01x\x1b"), Typed::Detach(b"1".to_vec()));
        for text in ["ctrl-", "ctrl-A", "ab", "a,,b", ","] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }
}
