//! Which device nodes may be used.
//!
//! A list of rules is first folded into the one form that both versions can hold: a default and exceptions from it.
//! The fold starts closed, so that an empty list or a list without a first "deny all" opens nothing by itself.

use crate::device_program::device_program;
use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::{DeviceAccess, DeviceKind, DeviceRule};

impl Cgroup {
    pub(crate) fn apply_devices(&self, rules: &[DeviceRule]) -> Result<(), LimitError> {
        const LIMIT: &str = "devices";
        let list = DeviceList::fold(rules)?;
        match self.layout().version_of(Controller::Devices) {
            None => Err(LimitError::NoController {
                limit: LIMIT,
                controller: Controller::Devices,
            }),
            Some(Version::V1) => self.apply_devices_v1(&list),
            Some(Version::V2) => self.apply_devices_v2(&list),
        }
    }

    fn apply_devices_v1(&self, list: &DeviceList) -> Result<(), LimitError> {
        let files = self.limit_files(Controller::Devices, "devices")?;
        let (reset, except) = if list.open {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        // In a nested engine "allow all" may be refused although it changes nothing.
        if list.open && list.exceptions.is_empty() && files.get("devices.list")?.trim() == "a *:* rwm" {
            return Ok(());
        }
        files.set(reset, "a")?;
        files.set_each(except, list.exceptions.iter().map(|exception| exception.to_v1()))
    }

    fn apply_devices_v2(&self, list: &DeviceList) -> Result<(), LimitError> {
        let fail = |error: sys::SyscallError| LimitError::DeviceProgram {
            path: self.path().to_owned(),
            source: error.into(),
        };
        let directory = self.unified().ok_or(LimitError::NoController {
            limit: "devices",
            controller: Controller::Devices,
        })?;
        let old = sys::bpf::query_device_programs(directory).map_err(fail)?;
        let program = sys::bpf::load_device_program(&device_program(list)).map_err(fail)?;
        // The new program is added before the old ones go: an access needs the consent of all, so nothing opens between.
        sys::bpf::attach_device_program(directory, std::os::fd::AsFd::as_fd(&program)).map_err(fail)?;
        for program in old {
            sys::bpf::detach_device_program(directory, std::os::fd::AsFd::as_fd(&program)).map_err(fail)?;
        }
        Ok(())
    }
}

/// A default and exceptions from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceList {
    /// Whether what no exception names is open.
    pub(crate) open: bool,
    /// What is otherwise; each with a kind, a major and a minor of its own.
    pub(crate) exceptions: Vec<Exception>,
}

/// One exception; never of [`DeviceKind::All`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) is_block: bool,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: DeviceAccess,
}

impl DeviceList {
    /// Applies the rules in order to a closed list.
    pub(crate) fn fold(rules: &[DeviceRule]) -> Result<Self, LimitError> {
        let mut list = Self {
            open: false,
            exceptions: Vec::new(),
        };
        for rule in rules {
            let is_everything = rule.kind == DeviceKind::All
                && rule.major.is_none()
                && rule.minor.is_none()
                && rule.access == DeviceAccess::ALL;
            if is_everything {
                list.open = rule.allow;
                list.exceptions.clear();
                continue;
            }
            let kinds: &[bool] = match rule.kind {
                DeviceKind::All => &[false, true],
                DeviceKind::Character => &[false],
                DeviceKind::Block => &[true],
            };
            for &is_block in kinds {
                let exception = Exception {
                    is_block,
                    major: rule.major,
                    minor: rule.minor,
                    access: rule.access,
                };
                if rule.allow == list.open {
                    list.take(exception)?;
                } else {
                    list.put(exception);
                }
            }
        }
        Ok(list)
    }

    /// Adds an exception.
    fn put(&mut self, new: Exception) {
        let known = self
            .exceptions
            .iter_mut()
            .find(|known| (known.is_block, known.major, known.minor) == (new.is_block, new.major, new.minor));
        match known {
            Some(known) => {
                known.access.read |= new.access.read;
                known.access.write |= new.access.write;
                known.access.mknod |= new.access.mknod;
            }
            None => self.exceptions.push(new),
        }
    }

    /// Takes exceptions back. Part of a wider exception cannot be taken: v1 has no form for it.
    fn take(&mut self, rule: Exception) -> Result<(), LimitError> {
        for known in &mut self.exceptions {
            let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
            let covers = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
            let same_access = known.access.read && rule.access.read
                || known.access.write && rule.access.write
                || known.access.mknod && rule.access.mknod;
            if known.is_block != rule.is_block
                || !meets(rule.major, known.major)
                || !meets(rule.minor, known.minor)
                || !same_access
            {
                continue;
            }
            if !covers(rule.major, known.major) || !covers(rule.minor, known.minor) {
                return Err(LimitError::Value {
                    limit: "devices",
                    reason: format!(
                        "the rule for \"{}\" takes back a part of an earlier rule for \"{}\"",
                        rule.to_v1(),
                        known.to_v1()
                    ),
                });
            }
            known.access.read &= !rule.access.read;
            known.access.write &= !rule.access.write;
            known.access.mknod &= !rule.access.mknod;
        }
        self.exceptions
            .retain(|known| known.access != DeviceAccess::default());
        Ok(())
    }
}

impl Exception {
    /// Returns the form of v1's files: `c 1:3 rwm`.
    fn to_v1(self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let mut access = String::new();
        for (letter, is_set) in [
            ('r', self.access.read),
            ('w', self.access.write),
            ('m', self.access.mknod),
        ] {
            if is_set {
                access.push(letter);
            }
        }
        format!(
            "{} {}:{} {access}",
            if self.is_block { 'b' } else { 'c' },
            number(self.major),
            number(self.minor)
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rule(text: &str) -> DeviceRule {
        let mut parts = text.split([' ', ':']);
        let allow = parts.next() == Some("+");
        let kind = match parts.next() {
            Some("a") => DeviceKind::All,
            Some("b") => DeviceKind::Block,
            _ => DeviceKind::Character,
        };
        let mut number = || parts.next().and_then(|number| number.parse().ok());
        let (major, minor) = (number(), number());
        let access = DeviceAccess::parse(parts.next().unwrap()).unwrap();
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access,
        }
    }

    fn fold(rules: &[&str]) -> (bool, Vec<String>) {
        let rules: Vec<DeviceRule> = rules.iter().map(|text| rule(text)).collect();
        let list = DeviceList::fold(&rules).unwrap();
        (
            list.open,
            list.exceptions
                .iter()
                .map(|exception| exception.to_v1())
                .collect(),
        )
    }

    #[test]
    fn ghsa_g54h_a_list_without_deny_all_is_closed() {
        assert_eq!(fold(&[]), (false, vec![]));
        assert_eq!(fold(&["+ c 1:3 rwm"]), (false, vec!["c 1:3 rwm".to_owned()]));
    }

    #[test]
    fn later_rules_win() {
        let closed = [
            "+ a *:* rwm",
            "- a *:* rwm",
            "+ c 1:3 r",
            "+ c 1:3 w",
            "+ a 7:* rwm",
        ];
        let expected = ["c 1:3 rw", "c 7:* rwm", "b 7:* rwm"].map(str::to_owned).to_vec();
        assert_eq!(fold(&closed), (false, expected));
        assert_eq!(
            fold(&["- a *:* rwm", "+ a *:* rwm", "- b 8:0 w"]),
            (true, vec!["b 8:0 w".to_owned()])
        );
        assert_eq!(
            fold(&["+ c 1:3 rwm", "+ c 1:5 rwm", "- c 1:* wm"]),
            (false, vec!["c 1:3 r".to_owned(), "c 1:5 r".to_owned()])
        );
    }

    #[test]
    fn a_part_of_an_earlier_rule_cannot_be_taken_back() {
        let rules = [rule("+ c 1:* rwm"), rule("- c 1:3 w")];
        assert!(DeviceList::fold(&rules).is_err());
    }
}
