//! Durations for people, and times as flags spell them.

use std::time::Duration;

use base::clock::Timestamp;

/// Returns a duration as docker's tables show it: `3 seconds`, `About an hour`, `2 weeks`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Rounded, as go-units does.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (seconds @ 2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes @ 2..60, _) => format!("{minutes} minutes"),
        (_, _, ..=1) => "About an hour".to_owned(),
        (_, _, hours @ 2..48) => format!("{hours} hours"),
        (_, _, hours @ 48..336) => format!("{} days", hours / 24),
        (_, _, hours @ 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, hours @ 1440..17520) => format!("{} months", hours / 24 / 30),
        (seconds, ..) => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Returns how long ago a time was; empty for never.
pub(crate) fn ago(unix_seconds: i64) -> String {
    if unix_seconds <= 0 {
        return String::new();
    }
    let since = Timestamp::now().since(Timestamp::from_unix(unix_seconds, 0));
    format!("{} ago", human(since))
}

/// Returns a moment of the API (RFC 3339 in UTC) as Go's `time.Time` prints itself.
pub(crate) fn as_go_writes(moment: &str) -> String {
    let Some((date, time)) = moment.strip_suffix('Z').and_then(|moment| moment.split_once('T')) else {
        return moment.to_owned();
    };
    let time = match time.split_once('.') {
        Some(_) => time.trim_end_matches('0').trim_end_matches('.'),
        None => time,
    };
    format!("{date} {time} +0000 UTC")
}

/// Returns a time as docker's `CreatedAt` shows it, in UTC: `2026-11-21 10:07:22 +0000 UTC`.
pub(crate) fn created_at(unix_seconds: i64) -> String {
    let text = Timestamp::from_unix(unix_seconds, 0).to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} +0000 UTC"),
        _ => text,
    }
}

/// Returns the duration that Go's notation (`1h30m`, `-1.5s`, `250ms`) names, in nanoseconds.
pub(crate) fn parse_go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(rest.len());
        let whole: i128 = if digits == 0 {
            0
        } else {
            rest[..digits].parse().ok()?
        };
        rest = &rest[digits..];
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(after.len());
            fraction = &after[..digits];
            rest = &after[digits..];
        }
        if digits == 0 && fraction.is_empty() {
            return None;
        }
        let units: [(&str, i128); 8] = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ];
        let (unit, nanos) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(whole.checked_mul(nanos)?)?;
        let mut scale = nanos;
        for digit in fraction.bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Returns the Unix time that `--since` and `--until` name, as `SECONDS.NANOSECONDS`: an RFC 3339 time (also a date alone or
/// without a zone, which is then UTC), Unix seconds, or a duration before `now`.
pub(crate) fn parse_moment(text: &str, now: Timestamp) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let is_seconds = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if is_seconds(seconds) && is_seconds(fraction) && seconds.len() <= 18 && fraction.len() <= 9 {
        return Ok(format!("{seconds}.{fraction:0<9}"));
    }
    if let Some(nanos) = parse_go_duration(text) {
        let moment = now.unix_nanos().saturating_sub(nanos).max(0);
        return Ok(format!(
            "{}.{:09}",
            moment / 1_000_000_000,
            moment % 1_000_000_000
        ));
    }
    let candidates = match text.len() {
        10 => vec![format!("{text}T00:00:00Z")],
        13 => vec![format!("{text}:00:00Z")],
        16 => vec![format!("{text}:00Z")],
        _ => vec![text.to_owned(), format!("{text}Z")],
    };
    let parsed = candidates.iter().find_map(|text| text.parse::<Timestamp>().ok());
    match parsed {
        Some(moment) => {
            let nanos = moment.unix_nanos();
            Ok(format!(
                "{}.{:09}",
                nanos.div_euclid(1_000_000_000),
                nanos.rem_euclid(1_000_000_000)
            ))
        }
        None => Err(format!("failed to parse value as time or duration: \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        let hour = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (hour, "About an hour"),
            (5400, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (13 * 24 * hour, "13 days"),
            (14 * 24 * hour, "2 weeks"),
            (59 * 24 * hour, "8 weeks"),
            (60 * 24 * hour, "2 months"),
            (729 * 24 * hour, "24 months"),
            (730 * 24 * hour, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn gos_durations() {
        for (text, nanos) in [
            ("42m", 42 * 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("250ms", 250_000_000),
            (".5s", 500_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_go_duration(text), Some(nanos), "{text}");
        }
        for text in ["", "-", "5", "m", "1x", "1h30", ".s", "99999999999999h"] {
            assert_eq!(parse_go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn moments() {
        let now = Timestamp::from_unix(10_000, 0);
        let parse = |text: &str| parse_moment(text, now);
        assert_eq!(parse("1h").unwrap(), "6400.000000000");
        assert_eq!(parse("1136073845.5").unwrap(), "1136073845.500000000");
        assert_eq!(parse("1970-01-01T00:01:00Z").unwrap(), "60.000000000");
        assert_eq!(parse("1970-01-02").unwrap(), "86400.000000000");
        assert_eq!(parse("1970-01-01T00:01:00").unwrap(), "60.000000000");
        assert_eq!(parse("").unwrap(), "");
        assert!(parse("yesterday").is_err());
        assert_eq!(created_at(0), "1970-01-01 00:00:00 +0000 UTC");
    }
}
