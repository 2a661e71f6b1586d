//! Signals by name or number, as kill(1) reads them.

use crate::error::CommandError;

const NAMES: [(&str, i32); 32] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Returns the number of a signal: `9`, `KILL`, `SIGKILL`, `RTMIN+3`, `RTMAX-1`.
pub(crate) fn parse(text: &str) -> Result<i32, CommandError> {
    let error = || CommandError::new(format!("unknown signal \"{text:.40}\""));
    if let Ok(number) = text.parse::<i32>() {
        return Some(number)
            .filter(|number| (0..=64).contains(number))
            .ok_or_else(error);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str| match rest {
        "" => Ok(0),
        rest => rest
            .trim_start_matches(['+', '-'])
            .parse::<i32>()
            .map_err(|_no_number| error()),
    };
    // glibc keeps 32 and 33 for itself.
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        34 + offset(rest)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        64 - offset(rest)?
    } else {
        return Err(error());
    };
    Some(number)
        .filter(|number| (34..=64).contains(number))
        .ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigwinch", 28),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "-1", "65", "NOPE", "RTMIN+99", "RTMIN+x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
