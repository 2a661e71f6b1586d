//! Ids as types: a container's id cannot be passed where an exec's is wanted.
//!
//! Container, exec and network ids are 256 random bits as 64 lower-case hex digits, as Docker writes them.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an id: 64 lower-case hex digits are needed")]
pub struct ParseIdError {
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns a new random id; fails only if the kernel has no randomness.
            pub fn generate() -> io::Result<Self> {
                random_hex::<32>().map(Self)
            }

            /// Returns all 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the first 12 digits, as Docker prints ids.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if text.len() == 64 && text.bytes().all(is_hex) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseIdError { text: text.chars().take(80).collect() })
                }
            }
        }
    };
}

id! {
    /// The id of a container.
    ContainerId
}
id! {
    /// The id of one exec session.
    ExecId
}
id! {
    /// The id of a network.
    NetworkId
}

/// Returns `N` random bytes as `2 * N` lower-case hex digits.
pub fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0u8; N];
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    Ok(hex(&bytes))
}

/// Returns `bytes` as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_parse_and_differ() {
        let first = ContainerId::generate().unwrap();
        let second = ContainerId::generate().unwrap();
        assert_ne!(first, second);
        assert_eq!(first.as_str().parse::<ContainerId>().unwrap(), first);
        assert_eq!(first.short().len(), 12);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"../".repeat(22)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }
}
