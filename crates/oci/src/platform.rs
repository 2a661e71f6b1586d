//! Platforms: which operating system and processor an image is for, in Go's words (`linux`, `amd64`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor: `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor's variant: `v7`, `v8`, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }

    /// Returns whether an image for `self` runs on `host`: same system and processor, and no variant that differs.
    pub fn runs_on(&self, host: &Self) -> bool {
        let same_variant = match (&self.variant, &host.variant) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.os == host.os && self.architecture == host.architecture && same_variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a platform: os[/arch[/variant]] is needed")]
pub struct ParsePlatformError {
    text: String,
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        let is_word = |part: &String| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if parts.len() > 3 || !parts.iter().all(is_word) {
            return Err(ParsePlatformError {
                text: text.chars().take(80).collect(),
            });
        }
        let host = Self::host();
        let architecture = |name: &str| match name {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        Ok(match parts.as_slice() {
            [single] if single == "linux" => host,
            [single] => Self {
                architecture: architecture(single),
                ..host
            },
            [os, arch] => Self {
                os: os.clone(),
                architecture: architecture(arch),
                variant: None,
            },
            [os, arch, variant, ..] => Self {
                os: os.clone(),
                architecture: architecture(arch),
                variant: Some(variant.clone()),
            },
            [] => host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().architecture, "amd64");
        for text in ["", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
