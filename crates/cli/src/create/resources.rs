//! Values of resource flags: weights, rates, limits, id maps, offsets.

use std::collections::BTreeMap;

use api_types::host_config::{DeviceMapping, IdMap, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};

use crate::failure::Failure;

/// Reads `DEVICE:WEIGHT`.
pub(crate) fn parse_weight_device(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = text
        .split_once(':')
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    match weight.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => Ok(WeightDevice {
            path: path.to_owned(),
            weight,
        }),
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

/// Wants `DEVICE:WEIGHT`.
pub(crate) fn check_weight_device(text: &str) -> Result<(), String> {
    parse_weight_device(text).map(drop)
}

/// Reads `DEVICE:SIZE`.
pub(crate) fn parse_rate_bytes(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and_rate(text)?;
    let rate = base::size::parse_bytes(rate).map_err(|_reason: base::size::ParseSizeError| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// Wants `DEVICE:SIZE`.
pub(crate) fn check_rate_bytes(text: &str) -> Result<(), String> {
    parse_rate_bytes(text).map(drop)
}

/// Reads `DEVICE:NUMBER`.
pub(crate) fn parse_rate_operations(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and_rate(text)?;
    let rate = rate.parse().map_err(|_reason: std::num::ParseIntError| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// Wants `DEVICE:NUMBER`.
pub(crate) fn check_rate_operations(text: &str) -> Result<(), String> {
    parse_rate_operations(text).map(drop)
}

fn device_and_rate(text: &str) -> Result<(&str, &str), String> {
    let (path, rate) = text
        .split_once(':')
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, rate))
}

/// Reads `NAME=SOFT[:HARD]`.
pub(crate) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: &[&str] = &[
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_reason: std::num::ParseIntError| {
            format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")
        })
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard >= 0 && soft == -1 {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
        ));
    }
    if hard >= 0 && soft > hard {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

/// Wants `NAME=SOFT[:HARD]`.
pub(crate) fn check_ulimit(text: &str) -> Result<(), String> {
    parse_ulimit(text).map(drop)
}

/// Reads `HOST[:CONTAINER][:PERMISSIONS]`.
pub(crate) fn parse_device(text: &str) -> Result<DeviceMapping, Failure> {
    let bad_format = || Failure::invalid(format!("berth: bad format for path: {text}"));
    let is_mode =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| b"rwm".contains(&byte));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match *parts.as_slice() {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => return Err(bad_format()),
    };
    if !host.starts_with('/') {
        if host.contains('/') && host.contains('=') {
            return Err(Failure::invalid(format!(
                "--device {text} is not supported yet: CDI comes with the devices issue"
            )));
        }
        return Err(bad_format());
    }
    if !container.starts_with('/') {
        return Err(Failure::invalid(format!(
            "berth: {container} is not an absolute path"
        )));
    }
    if !is_mode(mode) {
        return Err(Failure::invalid(format!("berth: bad mode specified: {mode}")));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// Reads a restart policy.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, Failure> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if count.is_some() && name.is_empty() {
        return Err(Failure::invalid(
            "berth: invalid restart policy format: no policy provided before colon",
        ));
    }
    let count = match count {
        Some(count) => count.parse().map_err(|_reason: std::num::ParseIntError| {
            Failure::invalid("berth: invalid restart policy format: maximum retry count must be an integer")
        })?,
        None => 0,
    };
    Ok(RestartPolicy {
        name: name.to_owned(),
        maximum_retry_count: count,
    })
}

/// Reads `CONTAINER:HOST[:SIZE]`.
pub(crate) fn parse_id_map(text: &str) -> Result<IdMap, String> {
    let wrong =
        |_: std::num::ParseIntError| format!("invalid id map '{text}': container:host:size is needed");
    let parts: Vec<&str> = text.split(':').collect();
    let (container, host, size) = match *parts.as_slice() {
        [container, host] => (container, host, "1"),
        [container, host, size] => (container, host, size),
        _ => return Err(format!("invalid id map '{text}': container:host:size is needed")),
    };
    let map = IdMap {
        container_id: container.parse().map_err(wrong)?,
        host_id: host.parse().map_err(wrong)?,
        size: size.parse().map_err(wrong)?,
    };
    let fits = |first: u32| first.checked_add(map.size).is_some();
    if map.size == 0 || !fits(map.container_id) || !fits(map.host_id) {
        return Err(format!(
            "invalid id map '{text}': the range is empty or too large"
        ));
    }
    Ok(map)
}

/// Wants `CONTAINER:HOST[:SIZE]`.
pub(crate) fn check_id_map(text: &str) -> Result<(), String> {
    parse_id_map(text).map(drop)
}

/// Reads `CLOCK=DURATION` as the clock and nanoseconds; a bare number is seconds.
pub(crate) fn parse_time_offset(text: &str) -> Result<(String, i64), String> {
    let wrong = || {
        format!(
            "invalid time offset '{text}': boottime=DURATION or monotonic=DURATION is needed, such as boottime=-36h"
        )
    };
    let (clock, offset) = text.split_once('=').ok_or_else(wrong)?;
    if !["boottime", "monotonic"].contains(&clock) {
        return Err(wrong());
    }
    let nanos = match offset.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000_000_000),
        // Fractions too, as /proc/uptime writes them.
        Err(_) => crate::format::time::parse_go_duration(offset)
            .or_else(|| crate::format::time::parse_go_duration(&format!("{offset}s"))),
    };
    Ok((clock.to_owned(), nanos.ok_or_else(wrong)?))
}

/// Wants `CLOCK=DURATION`.
pub(crate) fn check_time_offset(text: &str) -> Result<(), String> {
    parse_time_offset(text).map(drop)
}

/// Reads bits per second, such as `8mbit` or `500000`, in units of a thousand; `none` is without limit, which is -1.
pub(crate) fn parse_net_rate(text: &str) -> Result<i64, String> {
    if text == "none" {
        return Ok(-1);
    }
    let wrong = || format!("invalid rate '{text}': a number with bit, kbit, mbit or gbit is needed, or none");
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let number: i64 = number
        .parse()
        .map_err(|_reason: std::num::ParseIntError| wrong())?;
    let rate = number.checked_mul(factor).ok_or_else(wrong)?;
    // Less than this is no rate at which anything arrives.
    if rate < 8_000 {
        return Err(format!(
            "invalid rate '{text}': at least 8kbit is needed, or none"
        ));
    }
    Ok(rate)
}

/// Reads `BYTES[/TIME]`, such as `10g/24h` or `500m/day`, as bytes and seconds; `none` is without limit, which is -1.
pub(crate) fn parse_net_budget(text: &str) -> Result<(i64, i64), String> {
    if text == "none" {
        return Ok((-1, 0));
    }
    let wrong =
        || format!("invalid budget '{text}': BYTES or BYTES/TIME is needed, such as 10g/24h, or none");
    let (bytes, time) = match text.split_once('/') {
        Some((bytes, time)) => (bytes, Some(time)),
        None => (text, None),
    };
    let bytes = base::size::parse_bytes(bytes)
        .ok()
        .and_then(|bytes| i64::try_from(bytes).ok());
    let bytes = bytes.filter(|bytes| *bytes > 0).ok_or_else(wrong)?;
    let seconds = match time {
        None => 0,
        Some("minute") => 60,
        Some("hour") => 3600,
        Some("day") => 24 * 3600,
        Some("week") => 7 * 24 * 3600,
        Some(time) => {
            let nanos = crate::format::time::parse_go_duration(time).ok_or_else(wrong)?;
            if nanos < 1_000_000_000 || nanos % 1_000_000_000 != 0 {
                return Err(format!(
                    "invalid budget '{text}': a time of whole seconds is needed"
                ));
            }
            nanos / 1_000_000_000
        }
    };
    Ok((bytes, seconds))
}

/// Wants a budget.
pub(crate) fn check_net_budget(text: &str) -> Result<(), String> {
    parse_net_budget(text).map(drop)
}

/// Wants a rate.
pub(crate) fn check_net_rate(text: &str) -> Result<(), String> {
    parse_net_rate(text).map(drop)
}

/// Reads `KEY=VALUE` pairs; a bare key has an empty value.
pub(crate) fn pairs(texts: &[&str]) -> BTreeMap<String, String> {
    let split = texts
        .iter()
        .map(|text| text.split_once('=').unwrap_or((text, "")));
    split
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_of_bytes() {
        for (text, bytes, seconds) in [
            ("10g/24h", 10 << 30, 86_400),
            ("500m/day", 500 << 20, 86_400),
            ("1k/minute", 1024, 60),
            ("7b/1h30m", 7, 5400),
            ("2t/week", 2 << 40, 604_800),
            ("4096", 4096, 0),
            ("none", -1, 0),
        ] {
            assert_eq!(parse_net_budget(text), Ok((bytes, seconds)), "{text}");
        }
        for text in [
            "", "0", "10g/", "/1h", "10g/0s", "10g/1.5s", "10g/10ms", "-1g/1h", "10g/-1h", "10x", "none/1h",
        ] {
            assert!(parse_net_budget(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_in_bits() {
        for (text, rate) in [
            ("8mbit", 8_000_000),
            ("500KBIT", 500_000),
            ("9000", 9_000),
            ("1gbit", 1_000_000_000),
            ("none", -1),
        ] {
            assert_eq!(parse_net_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "",
            "8",
            "mbit",
            "-8mbit",
            "8mb",
            "1.5mbit",
            "99999999999999999999gbit",
            "9999999999999gbit",
        ] {
            assert!(parse_net_rate(text).is_err(), "{text}");
        }
    }
}
