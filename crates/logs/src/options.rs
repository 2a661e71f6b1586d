//! docker's `--log-driver` and `--log-opt`, checked with docker's texts.

use std::collections::BTreeMap;

/// A log driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// docker's JSON lines.
    JsonFile,
    /// Berth's compact format.
    Local,
    /// Nothing is kept.
    None,
}

impl Driver {
    /// Returns the driver called `name`; an empty name is `json-file`.
    pub fn parse(name: &str) -> Result<Self, OptionsError> {
        match name {
            "" | "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            _ => Err(OptionsError::UnknownDriver {
                name: name.to_owned(),
            }),
        }
    }
}

/// Checked options of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The driver.
    pub driver: Driver,
    /// The size in bytes at which a file is rotated; `None`: never (`max-size=-1`).
    pub max_size: Option<u64>,
    /// How many files are kept, the current one included; at least 1.
    pub max_file: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// Bytes that may wait for the disk before new ones are dropped (`mode=non-blocking`); `None`: writes block.
    pub buffer: Option<u64>,
}

/// Why options are refused; the texts are docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// There is no such driver.
    #[error("logger: no log driver named '{name}' is registered")]
    UnknownDriver {
        /// The name.
        name: String,
    },
    /// `json-file` has no such option.
    #[error("unknown log opt '{option}' for json-file log driver")]
    UnknownJsonFileOption {
        /// The option.
        option: String,
    },
    /// `local` has no such option.
    #[error("unknown log opt '{option}' for log driver local")]
    UnknownLocalOption {
        /// The option.
        option: String,
    },
    /// An option's value is wrong.
    #[error("{message}")]
    InvalidValue {
        /// What is wrong, in docker's words.
        message: String,
    },
}

impl base::error::Kinded for OptionsError {
    fn kind(&self) -> base::error::Kind {
        base::error::Kind::Invalid
    }
}

const DEFAULT_MAX_SIZE: u64 = 20 << 20;
const DEFAULT_MAX_FILE: u32 = 5;
const DEFAULT_BUFFER: u64 = 1 << 20;
const NON_BLOCKING: &str = "non-blocking";

impl Options {
    /// Checks `options` for the driver `name`; an empty name is `json-file`. `none` takes anything, as docker's does.
    pub fn parse(name: &str, options: &BTreeMap<String, String>) -> Result<Self, OptionsError> {
        let driver = Driver::parse(name)?;
        let get = |key: &str| options.get(key).map(String::as_str);
        let mut checked = Self {
            driver,
            max_size: Some(DEFAULT_MAX_SIZE),
            max_file: DEFAULT_MAX_FILE,
            compress: driver == Driver::Local,
            buffer: None,
        };
        if driver == Driver::None {
            return Ok(checked);
        }
        checked.buffer = buffer(get("mode"), get("max-buffer-size"))?;
        for option in options.keys() {
            let common = matches!(
                option.as_str(),
                "max-size" | "max-file" | "compress" | "mode" | "max-buffer-size"
            );
            let json = matches!(
                option.as_str(),
                "labels" | "labels-regex" | "env" | "env-regex" | "tag"
            );
            let option = option.clone();
            match driver {
                Driver::JsonFile if !common && !json => {
                    return Err(OptionsError::UnknownJsonFileOption { option });
                }
                Driver::Local if !common => return Err(OptionsError::UnknownLocalOption { option }),
                _ => {}
            }
        }
        if let Some(text) = get("max-size") {
            checked.max_size = match text {
                "-1" => None,
                _ => Some(positive_size(text)?),
            };
        }
        if let Some(text) = get("max-file") {
            checked.max_file = text.parse().map_err(|error: std::num::ParseIntError| {
                invalid(format!("parse max-file '{text}': {error}"))
            })?;
            if checked.max_file < 1 {
                return Err(invalid("max-file cannot be less than 1"));
            }
        }
        let can_compress = checked.max_file > 1 && checked.max_size.is_some();
        checked.compress &= can_compress;
        if let Some(text) = get("compress") {
            checked.compress = boolean(text)?;
            if checked.compress && !can_compress {
                return Err(invalid(
                    "compress cannot be true when max-file is less than 2 or max-size is not set",
                ));
            }
        }
        Ok(checked)
    }
}

fn buffer(mode: Option<&str>, size: Option<&str>) -> Result<Option<u64>, OptionsError> {
    let non_blocking = match mode {
        None | Some("" | "blocking") => false,
        Some(NON_BLOCKING) => true,
        Some(other) => return Err(invalid(format!("logger: logging mode not supported: {other}"))),
    };
    match size {
        Some(_) if !non_blocking => Err(invalid(format!(
            "logger: max-buffer-size option is only supported with 'mode={NON_BLOCKING}'"
        ))),
        Some(text) => base::size::parse_bytes(text)
            .map(Some)
            .map_err(|error| invalid(format!("error parsing option max-buffer-size: {error}"))),
        None => Ok(non_blocking.then_some(DEFAULT_BUFFER)),
    }
}

fn positive_size(text: &str) -> Result<u64, OptionsError> {
    match decimal_size(text) {
        Some(0) => Err(invalid("max-size must be a positive number")),
        Some(size) => Ok(size),
        None => Err(invalid(format!("invalid size: '{text}'"))),
    }
}

/// Returns the bytes that `text` names. Unlike the memory options, docker reads `max-size` in powers of 1,000
/// (go-units `FromHumanSize`).
fn decimal_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(digits);
    let power: u32 = match suffix.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let unit = 1000u64.pow(power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        let digits = fraction.get(..fraction.len().min(6))?;
        let scale = 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
        digits.parse::<u64>().ok()?.checked_mul(unit)? / scale
    };
    whole.checked_mul(unit)?.checked_add(fraction)
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
fn boolean(text: &str) -> Result<bool, OptionsError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(format!(
            "strconv.ParseBool: parsing \"{text}\": invalid syntax"
        ))),
    }
}

fn invalid(message: impl Into<String>) -> OptionsError {
    OptionsError::InvalidValue {
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, options: &[(&str, &str)]) -> Result<Options, String> {
        let options = options
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Options::parse(name, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn logs_are_bounded_by_default() {
        let options = parse("", &[]).unwrap();
        assert_eq!(
            (options.driver, options.max_size, options.max_file),
            (Driver::JsonFile, Some(20 << 20), 5)
        );
        assert!(!options.compress && options.buffer.is_none());
        assert!(parse("local", &[]).unwrap().compress);
        assert!(!parse("local", &[("max-file", "1")]).unwrap().compress);
    }

    #[test]
    fn reads_what_docker_reads() {
        let options = parse(
            "json-file",
            &[
                ("max-size", "1.5m"),
                ("max-file", "3"),
                ("compress", "true"),
                ("mode", "non-blocking"),
                ("max-buffer-size", "4m"),
                ("tag", "x"),
            ],
        )
        .unwrap();
        assert_eq!(
            (
                options.max_size,
                options.max_file,
                options.compress,
                options.buffer
            ),
            (Some(1_500_000), 3, true, Some(4 << 20))
        );
        assert_eq!(
            parse("json-file", &[("max-size", "10k")]).unwrap().max_size,
            Some(10_000)
        );
        assert_eq!(
            parse("json-file", &[("max-size", "512")]).unwrap().max_size,
            Some(512)
        );
        assert_eq!(parse("json-file", &[("max-size", "-1")]).unwrap().max_size, None);
        assert!(parse("none", &[("whatever", "1")]).is_ok());
    }

    #[test]
    fn refuses_with_dockers_texts() {
        for (driver, option, value, text) in [
            (
                "syslog",
                "",
                "",
                "logger: no log driver named 'syslog' is registered",
            ),
            (
                "json-file",
                "x",
                "1",
                "unknown log opt 'x' for json-file log driver",
            ),
            (
                "local",
                "labels",
                "1",
                "unknown log opt 'labels' for log driver local",
            ),
            ("json-file", "max-size", "0", "max-size must be a positive number"),
            ("json-file", "max-size", "1x", "invalid size: '1x'"),
            ("json-file", "max-file", "0", "max-file cannot be less than 1"),
            ("json-file", "mode", "x", "logger: logging mode not supported: x"),
            (
                "json-file",
                "max-buffer-size",
                "1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                "compress",
                "perhaps",
                "strconv.ParseBool: parsing \"perhaps\": invalid syntax",
            ),
        ] {
            let options: &[(&str, &str)] = if option.is_empty() {
                &[]
            } else {
                &[(option, value)]
            };
            assert_eq!(parse(driver, options).unwrap_err(), text);
        }
        assert_eq!(
            parse("json-file", &[("compress", "true"), ("max-file", "1")]).unwrap_err(),
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        );
    }
}
