//! Devices: the nodes in /dev and the cgroup's rules for them.

use serde_json::{Value, json};

use crate::check::{InvalidError, shown};

/// What kind of device a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// A device node of the host that the container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The path inside.
    pub path: String,
    /// What it is.
    pub kind: DeviceType,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner on the host.
    pub uid: u32,
    /// Its group on the host.
    pub gid: u32,
    /// Of `rwm`.
    pub access: String,
}

impl Device {
    fn letter(&self) -> &'static str {
        match self.kind {
            DeviceType::Character => "c",
            DeviceType::Block => "b",
        }
    }

    /// Returns the OCI node.
    pub(crate) fn node(&self) -> Value {
        json!({
            "path": self.path,
            "type": self.letter(),
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode & 0o7777,
            "uid": self.uid,
            "gid": self.gid,
        })
    }

    /// Returns the OCI cgroup rule.
    pub(crate) fn rule(&self) -> Value {
        rule(self.letter(), Some(self.major), Some(self.minor), &self.access)
    }
}

/// Returns docker's default rules: nothing, but making nodes, and the usual harmless ones. Without docker's 5:1: a
/// container's /dev/console is one of its terminals, and that number is the machine's own console (RT-12).
pub(crate) fn default_rules() -> Vec<Value> {
    vec![
        json!({"allow": false, "access": "rwm"}),
        rule("c", None, None, "m"),
        rule("b", None, None, "m"),
        rule("c", Some(1), Some(3), "rwm"),
        rule("c", Some(1), Some(5), "rwm"),
        rule("c", Some(1), Some(7), "rwm"),
        rule("c", Some(1), Some(8), "rwm"),
        rule("c", Some(1), Some(9), "rwm"),
        rule("c", Some(5), Some(0), "rwm"),
        rule("c", Some(5), Some(2), "rwm"),
        rule("c", Some(136), None, "rwm"),
    ]
}

/// Returns the rule that allows everything.
pub(crate) fn allow_all() -> Value {
    json!({"allow": true, "access": "rwm"})
}

/// Reads `--device-cgroup-rule`: `c 42:* rmw`.
pub(crate) fn parse_rule(text: &str) -> Result<Value, InvalidError> {
    let invalid = || InvalidError::new(format!("invalid device cgroup rule format: '{}'", shown(text)));
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_error: std::num::ParseIntError| invalid()),
    };
    if !matches!(kind, "a" | "b" | "c") || !is_access(access) {
        return Err(invalid());
    }
    Ok(rule(kind, number(major)?, number(minor)?, access))
}

/// Returns whether `text` is a non-empty set of `r`, `w`, `m`.
pub(crate) fn is_access(text: &str) -> bool {
    let once = |letter| text.matches(letter).count() <= 1;
    !text.is_empty()
        && text
            .chars()
            .all(|letter| matches!(letter, 'r' | 'w' | 'm') && once(letter))
}

fn rule(kind: &str, major: Option<u32>, minor: Option<u32>, access: &str) -> Value {
    let mut rule = json!({"allow": true, "type": kind, "access": access});
    if let Some(major) = major {
        rule["major"] = major.into();
    }
    if let Some(minor) = minor {
        rule["minor"] = minor.into();
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rules() {
        assert_eq!(
            parse_rule("c 42:* rmw").unwrap(),
            json!({"allow": true, "type": "c", "major": 42, "access": "rmw"})
        );
        for text in [
            "",
            "c 42 rwm",
            "x 1:1 r",
            "c 1:1 rr",
            "c 1:1 x",
            "c -1:1 r",
            "c 1:1 r w",
        ] {
            assert!(parse_rule(text).is_err(), "{text}");
        }
    }
}
