//! `--security-opt`.

use crate::check::{InvalidError, shown};

/// What the options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Which system calls are filtered.
    pub seccomp: Seccomp,
    /// Whether `no_new_privs` is set; `None`: the daemon's default.
    pub no_new_privileges: Option<bool>,
    /// Whether the container's cgroup is writable for it.
    pub writable_cgroups: bool,
    /// Whether nothing of /proc and /sys is masked or read-only.
    pub unconfined_system_paths: bool,
}

/// Which system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// As the daemon is configured.
    #[default]
    Default,
    /// By Berth's built-in profile.
    Builtin,
    /// None.
    Unconfined,
    /// By this profile, as JSON.
    Profile(String),
}

/// Reads the options; one that cannot be kept is an error, never a weaker container.
pub fn parse(options: &[String]) -> Result<Security, InvalidError> {
    let mut security = Security::default();
    for option in options {
        // docker takes `key=value` and, for old clients, `key:value`.
        let (key, value) = match option.split_once(['=', ':']) {
            Some((key, value)) => (key, value),
            None => (option.as_str(), ""),
        };
        match (key, value) {
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin" | "") => security.seccomp = Seccomp::Builtin,
            ("seccomp", profile) => security.seccomp = Seccomp::Profile(profile.to_owned()),
            ("no-new-privileges", "" | "true") => security.no_new_privileges = Some(true),
            ("no-new-privileges", "false") => security.no_new_privileges = Some(false),
            ("writable-cgroups", "" | "true") => security.writable_cgroups = true,
            ("writable-cgroups", "false") => security.writable_cgroups = false,
            ("systempaths", "unconfined") => security.unconfined_system_paths = true,
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", profile) => {
                return Err(InvalidError::new(format!(
                    "AppArmor profile \"{}\" cannot be applied: this version of Berth does not load AppArmor profiles; \
                     use apparmor=unconfined",
                    shown(profile)
                )));
            }
            ("label", label) => {
                return Err(InvalidError::new(format!(
                    "SELinux label \"{}\" cannot be applied: this version of Berth does not set SELinux labels",
                    shown(label)
                )));
            }
            _ => {
                return Err(InvalidError::new(format!(
                    "invalid --security-opt: \"{}\"",
                    shown(option)
                )));
            }
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let one = |text: &str| parse(&[text.to_owned()]);
        assert_eq!(one("no-new-privileges").unwrap().no_new_privileges, Some(true));
        assert_eq!(
            one("no-new-privileges:false").unwrap().no_new_privileges,
            Some(false)
        );
        assert_eq!(one("seccomp=unconfined").unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(
            one("seccomp={\"a\":1}").unwrap().seccomp,
            Seccomp::Profile("{\"a\":1}".to_owned())
        );
        for text in ["apparmor=docker-default", "label=type:x", "what=ever", ""] {
            assert!(one(text).is_err(), "{text}");
        }
    }
}
