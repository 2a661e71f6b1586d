//! Base64 (RFC 4648) for headers and configuration files: small texts, whole in memory.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns `bytes` in the standard alphabet, padded (section 4): `Authorization: Basic`, `auths` of `config.json`.
pub fn encode(bytes: &[u8]) -> String {
    encode_with(STANDARD, bytes)
}

/// Returns `bytes` in the URL-safe alphabet, padded (section 5): Docker's `X-Registry-Auth`.
pub fn encode_url_safe(bytes: &[u8]) -> String {
    encode_with(URL_SAFE, bytes)
}

/// Reads either alphabet, padded or not; `None` if the text is neither, or has bits where there should be none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || digits.len() % 4 == 1 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        bits = (bits << 6 | u32::from(value(digit)?)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff).to_le_bytes()[0]);
        }
    }
    (bits & ((1 << count) - 1) == 0).then_some(bytes)
}

fn encode_with(alphabet: &[u8; 64], bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).copied().unwrap_or_default();
        let digits = [
            byte(0) >> 2,
            (byte(0) & 3) << 4 | byte(1) >> 4,
            (byte(1) & 15) << 2 | byte(2) >> 6,
            byte(2) & 63,
        ];
        for (at, digit) in digits.into_iter().enumerate() {
            text.push(if at <= chunk.len() {
                char::from(alphabet[usize::from(digit)])
            } else {
                '='
            });
        }
    }
    text
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
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
