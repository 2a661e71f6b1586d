//! Sizes in bytes as people type them: `64m`, `1.5g`, `512`, `20MiB`.
//!
//! Docker reads every suffix of a size option as a power of 1,024 and prints image sizes as powers of 1,000
//! (go-units `RAMInBytes` and `HumanSize`).

use std::fmt;

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: '{text}'")]
pub struct ParseSizeError {
    text: String,
}

/// Returns the bytes that `text` names; suffixes b, k, m, g, t, p with or without `b` or `ib` are powers of 1,024.
pub fn parse_bytes(text: &str) -> Result<u64, ParseSizeError> {
    let error = || ParseSizeError {
        text: text.chars().take(80).collect(),
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(digits);
    let shift = match suffix.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(error()),
    };
    let unit = 1u64 << shift;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(error);
    }
    let number: f64 = number
        .parse()
        .map_err(|_text: std::num::ParseFloatError| error())?;
    // Everything beyond 2^53 bytes written as a fraction is rounded; nobody limits a container that finely.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the units are powers of two and exact in an f64"
    )]
    let bytes = number * unit as f64;
    if !bytes.is_finite() || !(0.0..9.2e18).contains(&bytes) {
        return Err(error());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    let bytes = bytes as u64;
    Ok(bytes)
}

/// Prints bytes as Docker's tables do: four significant digits, powers of 1,000 (`4.27MB`).
#[derive(Clone, Copy, Debug)]
pub struct HumanSize(
    /// The size in bytes.
    pub u64,
);

impl fmt::Display for HumanSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        significant(formatter, self.0, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 4)
    }
}

/// Prints bytes as Docker's lists of images do: three significant digits, powers of 1,000 (`4.27MB`, `133kB`).
#[derive(Clone, Copy, Debug)]
pub struct ShortSize(
    /// The size in bytes.
    pub u64,
);

impl fmt::Display for ShortSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        significant(formatter, self.0, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
    }
}

/// Prints bytes as `docker stats` does: four significant digits, powers of 1,024 (`1.944MiB`).
#[derive(Clone, Copy, Debug)]
pub struct BinarySize(
    /// The size in bytes.
    pub u64,
);

impl fmt::Display for BinarySize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        significant(
            formatter,
            self.0,
            1024.0,
            &["B", "KiB", "MiB", "GiB", "TiB", "PiB"],
            4,
        )
    }
}

/// Prints like C's `%.4g` followed by the unit.
fn significant(
    formatter: &mut fmt::Formatter<'_>,
    bytes: u64,
    base: f64,
    units: &[&str],
    digits: usize,
) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "a table shows four digits")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let mut text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    write!(formatter, "{text}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_docker_parses() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("20MiB", 20 << 20),
            ("1kb", 1024),
            ("2 G", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1e400", "99999999999p", "nan"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_as_docker_does() {
        assert_eq!(HumanSize(4_270_000).to_string(), "4.27MB");
        assert_eq!(ShortSize(1_982_348).to_string(), "1.98MB");
        assert_eq!(ShortSize(133_499).to_string(), "133kB");
        assert_eq!(HumanSize(0).to_string(), "0B");
        assert_eq!(HumanSize(999).to_string(), "999B");
        assert_eq!(BinarySize(2_038_431).to_string(), "1.944MiB");
    }
}
