//! Base64 (RFC 4648) for headers and configuration files: small texts, whole in memory.
//!
//! The crate `base64` does the work. What is here is the leniency that Docker's clients need when they are read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

/// Returns `bytes` in the standard alphabet, padded (section 4): `Authorization: Basic`, `auths` of `config.json`.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns `bytes` in the URL-safe alphabet, padded (section 5): Docker's `X-Registry-Auth`.
pub fn encode_url_safe(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Reads either alphabet, padded or not; `None` if the text is neither, or has bits where there should be none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    STANDARD_NO_PAD
        .decode(digits.replace('-', "+").replace('_', "/"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        assert_eq!(
            (encode(&[0xfb, 0xff]), encode_url_safe(&[0xfb, 0xff])),
            ("+/8=".into(), "-_8=".into())
        );
        for bytes in (0..=255).map(|byte| [byte, 255 - byte, byte]) {
            assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
            assert_eq!(decode(&encode_url_safe(&bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in [
            "A", "====", "Zh==", "Zg=", "Zg===", "Z g=", "Zm9v\n", "é", "Zg==Zg==",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
