//! What values of flags must look like; the texts are those that docker's users know.

/// Reads an integer as Go's `strconv.ParseInt` with base 0 does, as far as people use it: decimal, hexadecimal, octal.
pub(crate) fn parse_integer(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let syntax = || format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(syntax());
    }
    let range = |_| format!("strconv.ParseInt: parsing \"{text}\": value out of range");
    let value = i128::from_str_radix(digits, radix).map_err(range)?;
    i64::try_from(if negative { -value } else { value }).map_err(|_reason: std::num::TryFromIntError| {
        format!("strconv.ParseInt: parsing \"{text}\": value out of range")
    })
}

/// Wants an integer.
pub(crate) fn integer(text: &str) -> Result<(), String> {
    parse_integer(text).map(drop)
}

/// Wants an integer from 0 to 65,535.
pub(crate) fn uint16(text: &str) -> Result<(), String> {
    let unsigned = |error: String| error.replace("ParseInt", "ParseUint");
    match parse_integer(text).map_err(unsigned)? {
        0..=0xffff => Ok(()),
        ..0 => Err(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax")),
        _ => Err(format!(
            "strconv.ParseUint: parsing \"{text}\": value out of range"
        )),
    }
}

/// Wants a size such as `64m`.
pub(crate) fn size(text: &str) -> Result<(), String> {
    base::size::parse_bytes(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Wants a size or -1.
pub(crate) fn size_or_unlimited(text: &str) -> Result<(), String> {
    if text == "-1" { Ok(()) } else { size(text) }
}

/// Reads a number of CPUs as billionths, such as `1.5` or `3/2`.
pub(crate) fn parse_cpus(text: &str) -> Result<i64, String> {
    let rational = || format!("failed to parse {text} as a rational number");
    let fine = || "value is too precise".to_owned();
    if let Some((above, below)) = text.split_once('/') {
        let above: i128 = above
            .parse()
            .map_err(|_reason: std::num::ParseIntError| rational())?;
        let below: i128 = below
            .parse()
            .map_err(|_reason: std::num::ParseIntError| rational())?;
        let scaled = above.checked_mul(1_000_000_000).ok_or_else(rational)?;
        if below <= 0 {
            return Err(rational());
        }
        if scaled % below != 0 {
            return Err(fine());
        }
        return i64::try_from(scaled / below).map_err(|_reason: std::num::TryFromIntError| rational());
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || !all_digits(whole)
        || !all_digits(fraction)
        || whole.len() > 9
    {
        return Err(rational());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(fine());
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole
            .parse()
            .map_err(|_reason: std::num::ParseIntError| rational())?
    };
    let billionths: i64 = format!("{fraction:0<9}")
        .parse()
        .map_err(|_reason: std::num::ParseIntError| rational())?;
    let cpus = whole * 1_000_000_000 + billionths;
    Ok(if negative { -cpus } else { cpus })
}

/// Wants a number of CPUs.
pub(crate) fn cpus(text: &str) -> Result<(), String> {
    parse_cpus(text).map(drop)
}

/// Wants `NAME` or `NAME=VALUE`.
pub(crate) fn environment(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// Wants `NAME` or `NAME=VALUE`.
pub(crate) fn label(text: &str) -> Result<(), String> {
    let name = text.split('=').next().unwrap_or_default();
    if name.trim().is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if name.contains(char::is_whitespace) {
        return Err(format!("label '{text}' contains whitespaces"));
    }
    Ok(())
}

/// Wants the name of a stream.
pub(crate) fn stream(text: &str) -> Result<(), String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// Wants a sysctl that belongs to a namespace.
pub(crate) fn sysctl(text: &str) -> Result<(), String> {
    const NAMES: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    const PREFIXES: &[&str] = &["net.", "fs.mqueue."];
    let is_known =
        |name: &str| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if text.split_once('=').is_some_and(|(name, _)| is_known(name)) {
        return Ok(());
    }
    Err(format!("sysctl '{text}' is not allowed"))
}

/// Wants a rule such as `c 1:3 rwm`.
pub(crate) fn device_rule(text: &str) -> Result<(), String> {
    let wrong = || Err(format!("invalid device cgroup format '{text}'"));
    let mut words = text.split(' ');
    let (Some("a" | "b" | "c"), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return wrong();
    };
    let number =
        |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let access_ok = (1..=3).contains(&access.len()) && access.bytes().all(|byte| b"rwm".contains(&byte));
    match numbers.split_once(':') {
        Some((major, minor)) if number(major) && number(minor) && access_ok => Ok(()),
        _ => wrong(),
    }
}

/// Wants `KEY=VALUE`.
pub(crate) fn filter(text: &str) -> Result<(), String> {
    if text.contains('=') {
        Ok(())
    } else {
        Err("invalid argument: filter must be in the form of KEY=VALUE".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_exact() {
        for (text, billionths) in [
            ("1.5", 1_500_000_000),
            ("0.333", 333_000_000),
            (".5", 500_000_000),
            ("2", 2_000_000_000),
            ("3/2", 1_500_000_000),
            ("-1", -1_000_000_000),
        ] {
            assert_eq!(parse_cpus(text), Ok(billionths), "{text}");
        }
        assert_eq!(parse_cpus("0.0000000001"), Err("value is too precise".to_owned()));
        for text in ["", ".", "x", "1.x", "1/0", "1e3", "99999999999999999999"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_in_gos_notations() {
        for (text, value) in [("5", 5), ("-3", -3), ("0x10", 16), ("010", 8), ("0", 0)] {
            assert_eq!(parse_integer(text), Ok(value), "{text}");
        }
        for text in ["", "x", "-", "0x", "09", "99999999999999999999", "1_0"] {
            assert!(parse_integer(text).is_err(), "{text}");
        }
        assert!(uint16("65535").is_ok());
        assert!(uint16("65536").is_err());
        assert!(uint16("-1").is_err());
    }

    #[test]
    fn device_rules_and_sysctls() {
        for rule in ["c 1:3 rwm", "b *:* r", "a 7:* mw"] {
            assert!(device_rule(rule).is_ok(), "{rule}");
        }
        for rule in [
            "",
            "c 1:3",
            "d 1:3 r",
            "c 1 r",
            "c 1:3 rwmx",
            "c  1:3 r",
            "c 1:3 r r",
            "c 1:3 x",
        ] {
            assert!(device_rule(rule).is_err(), "{rule}");
        }
        assert!(sysctl("net.ipv4.ip_forward=1").is_ok());
        assert!(sysctl("kernel.shmmax=5").is_ok());
        assert!(sysctl("kernel.hostname=x").is_err());
        assert!(sysctl("net.x").is_err());
    }
}
