//! API versions: the prefix `/v1.43`, and what is spoken.

use std::fmt;
use std::str::FromStr;

/// A version of the Docker API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// The newest version that is spoken, and what a path without a version means.
    pub(crate) const CURRENT: Self = Self::new(1, 50);
    /// The oldest version that is spoken.
    pub(crate) const OLDEST: Self = Self::new(1, 24);

    /// Returns version `major.minor`.
    pub(crate) const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Returns version 1 of minor version `minor`.
    pub(crate) const fn v1(minor: u16) -> Self {
        Self::new(1, minor)
    }

    /// Returns Docker's words if this version is not spoken.
    pub(crate) fn check(self) -> Result<(), UnsupportedVersion> {
        if self < Self::OLDEST {
            return Err(UnsupportedVersion::TooOld { version: self });
        }
        if self > Self::CURRENT {
            return Err(UnsupportedVersion::TooNew { version: self });
        }
        Ok(())
    }
}

/// A version that is not spoken; the texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnsupportedVersion {
    #[error(
        "client version {version} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
        ApiVersion::OLDEST
    )]
    TooOld { version: ApiVersion },
    #[error(
        "client version {version} is too new. Maximum supported API version is {}",
        ApiVersion::CURRENT
    )]
    TooNew { version: ApiVersion },
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A text that is not a version.
#[derive(Debug)]
pub(crate) struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let digits = |part: &str| -> Result<u16, NotAVersion> {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NotAVersion);
            }
            // A number too large for a version is a version that is too new.
            Ok(part.parse().unwrap_or(u16::MAX))
        };
        let (major, minor) = text.split_once('.').ok_or(NotAVersion)?;
        Ok(Self::new(digits(major)?, digits(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_1_24_to_1_50() {
        for (text, spoken) in [
            ("1.23", false),
            ("1.24", true),
            ("1.50", true),
            ("1.51", false),
            ("0.9", false),
            ("2.0", false),
        ] {
            let version: ApiVersion = text.parse().unwrap();
            assert_eq!(version.check().is_ok(), spoken, "{text}");
        }
        for text in ["", "1", "1.", ".1", "1.2.3", "v1.2", "-1.2", "1.+2"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
        assert!("1.99999999999".parse::<ApiVersion>().unwrap().check().is_err());
    }

    #[test]
    fn texts_are_dockers() {
        assert_eq!(
            ApiVersion::v1(23).check().unwrap_err().to_string(),
            "client version 1.23 is too old. Minimum supported API version is 1.24, \
             please upgrade your client to a newer version"
        );
        assert_eq!(
            ApiVersion::v1(99).check().unwrap_err().to_string(),
            "client version 1.99 is too new. Maximum supported API version is 1.50"
        );
    }
}
