//! Signals by name and number, as docker reads them; and detach keys.

/// Names of signal(7) on Linux, by number from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// SIGTERM.
pub(crate) const TERM: i32 = 15;
/// SIGKILL.
pub(crate) const KILL: i32 = 9;

/// Returns the number that `text` means: a number, or a name with or without `SIG`, also `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<i32> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    if let Some(index) = NAMES.iter().position(|known| *known == alias) {
        return i32::try_from(index + 1).ok();
    }
    let number = match alias {
        "RTMIN" => 34,
        "RTMAX" => 64,
        other => {
            if let Some(offset) = other.strip_prefix("RTMIN+") {
                34 + offset.parse::<i32>().ok()?
            } else {
                64 - other.strip_prefix("RTMAX-")?.parse::<i32>().ok()?
            }
        }
    };
    (34..=64).contains(&number).then_some(number)
}

/// Returns the bytes of detach keys as docker writes them (`ctrl-p,ctrl-q`, `a`, `ctrl-[`); `None` if they mean nothing.
pub(crate) fn detach_keys(text: &str) -> Option<Vec<u8>> {
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-") {
            None => match key.as_bytes() {
                [byte] => Some(*byte),
                _ => None,
            },
            Some(control) => match control.as_bytes() {
                [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => Some(letter.to_ascii_lowercase() - b'a' + 1),
                [b'@'] => Some(0),
                [byte @ b'['..=b'_'] => Some(byte - b'@'),
                _ => None,
            },
        })
        .collect()
}

/// docker's default detach keys: ctrl-p ctrl-q.
pub(crate) const DETACH_KEYS: [u8; 2] = [16, 17];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_signals() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("sigterm", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGIOT", Some(6)),
            ("0", None),
            ("65", None),
            ("RTMIN+40", None),
            ("what", None),
            ("", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }

    #[test]
    fn reads_detach_keys() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), DETACH_KEYS);
        assert_eq!(detach_keys("a,ctrl-[,ctrl-@").unwrap(), [b'a', 27, 0]);
        for text in ["", "ctrl-", "ab", "ctrl-1", "ctrl-é"] {
            assert_eq!(detach_keys(text), None, "{text}");
        }
    }
}
