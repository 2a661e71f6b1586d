//! Wall-clock time as Docker writes it, and the boot id that tells one boot from another.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in wall-clock time with nanoseconds; prints and parses as RFC 3339 in UTC, as Docker does.
///
/// The zero value is Go's zero time, `0001-01-01T00:00:00Z`, which Docker's API uses for "never".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch; `i128::MIN` stands for "never".
    nanos: i128,
}

impl Timestamp {
    /// "Never": Go's zero time.
    pub const NEVER: Self = Self { nanos: i128::MIN };

    /// Returns the present time.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            nanos: i128::try_from(since.as_nanos()).unwrap_or_default(),
        }
    }

    /// Returns the time that lies `seconds` and `nanos` after the Unix epoch.
    pub fn from_unix(seconds: i64, nanos: u32) -> Self {
        Self {
            nanos: i128::from(seconds) * 1_000_000_000 + i128::from(nanos),
        }
    }

    /// Returns whether this is [`Self::NEVER`].
    pub fn is_never(self) -> bool {
        self.nanos == i128::MIN
    }

    /// Returns whole seconds since the Unix epoch (0 for "never").
    pub fn unix_seconds(self) -> i64 {
        if self.is_never() {
            0
        } else {
            i64::try_from(self.nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
        }
    }

    /// Returns nanoseconds since the Unix epoch (0 for "never").
    pub fn unix_nanos(self) -> i64 {
        if self.is_never() {
            0
        } else {
            i64::try_from(self.nanos).unwrap_or(i64::MAX)
        }
    }

    /// Returns the time since `earlier`; zero if `earlier` is later or never.
    pub fn since(self, earlier: Self) -> Duration {
        if self.is_never() || earlier.is_never() || earlier.nanos >= self.nanos {
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::try_from(self.nanos - earlier.nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// Writes nine digits of nanoseconds, as Docker's json-file log does; `Z` for UTC.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return formatter.write_str("0001-01-01T00:00:00Z");
        }
        let seconds = self.nanos.div_euclid(1_000_000_000);
        let nanos = self.nanos.rem_euclid(1_000_000_000);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let second_of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why a text is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an RFC 3339 time")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        parse(text).ok_or_else(|| ParseTimestampError {
            text: text.chars().take(80).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i128> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !separators.iter().all(|&(at, byte)| bytes.get(at) == Some(&byte)) {
        return None;
    }
    if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0i128;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == start {
            return None;
        }
        let digits: String = text[start..at].chars().take(9).collect();
        nanos = format!("{digits:0<9}").parse().ok()?;
    }
    let offset = match &bytes[at..] {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(at + 1..at + 3)? * 60 + number(at + 4..at + 6)?;
            if *sign == b'+' {
                minutes * 60
            } else {
                -minutes * 60
            }
        }
        _ => return None,
    };
    if (year, month, day, hour, minute, second, nanos) == (1, 1, 1, 0, 0, 0, 0) {
        return Some(Timestamp::NEVER);
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp {
        nanos: seconds * 1_000_000_000 + nanos,
    })
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Days since 1970-01-01 to a proleptic Gregorian date (Howard Hinnant's algorithm).
fn civil_from_days(days: i128) -> (i128, i128, i128) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i128::from(month <= 2), month, day)
}

/// A proleptic Gregorian date to days since 1970-01-01.
fn days_from_civil(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns the id of this boot, from `/proc/sys/kernel/random/boot_id` (random(4)).
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_back() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00.000000000Z", 0),
            ("2026-11-21T10:07:22.123456789Z", 1_795_255_642),
            ("2000-02-29T23:59:59.000000001Z", 951_868_799),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.unix_seconds(), seconds, "{text}");
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn offsets_and_short_fractions() {
        let time: Timestamp = "2026-11-21T12:07:22.5+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-21T10:07:22.500000000Z");
    }

    #[test]
    fn never_is_gos_zero_time() {
        assert_eq!(Timestamp::NEVER.to_string(), "0001-01-01T00:00:00Z");
        assert!("0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap().is_never());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-11-21T10:07:22",
            "2026-11-21T10:07:22.Z",
            "é026-11-21T",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
