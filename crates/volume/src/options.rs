//! Options of the local driver: `type`, `device`, `o`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a volume's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// In this directory.
    Directory(PathBuf),
    /// In this directory of the host, which is the user's own (`o=bind`).
    Bind {
        /// The directory.
        path: PathBuf,
        /// Whether it is read-only.
        read_only: bool,
    },
    /// In memory, for as long as a container uses it (`type=tmpfs`).
    Tmpfs {
        /// Mount options.
        options: Vec<String>,
    },
}

/// Reads docker's options; `directory` is the volume's own. The error says which option cannot be kept.
pub(crate) fn backing(options: &BTreeMap<String, String>, directory: PathBuf) -> Result<Backing, String> {
    if let Some(unknown) = options
        .keys()
        .find(|key| !matches!(key.as_str(), "type" | "device" | "o"))
    {
        return Err(format!("invalid option: \"{}\"", shown(unknown)));
    }
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, device) = (get("type"), get("device"));
    let flags: Vec<&str> = get("o").split(',').filter(|flag| !flag.is_empty()).collect();
    let is_bind = flags.iter().any(|flag| matches!(*flag, "bind" | "rbind"));
    match kind {
        "" if options.is_empty() => Ok(Backing::Directory(directory)),
        "" | "none" | "bind" if is_bind => {
            if !device.starts_with('/') {
                return Err(format!(
                    "device \"{}\" of a bind volume is not an absolute path",
                    shown(device)
                ));
            }
            let known = |flag: &&str| matches!(*flag, "bind" | "rbind" | "ro" | "rw");
            if let Some(flag) = flags.iter().find(|flag| !known(flag)) {
                return Err(format!(
                    "option \"{}\" of a bind volume is not supported",
                    shown(flag)
                ));
            }
            Ok(Backing::Bind {
                path: device.into(),
                read_only: flags.contains(&"ro"),
            })
        }
        "tmpfs" => {
            let known = |flag: &&str| {
                ["size=", "mode=", "uid=", "gid=", "nr_inodes="]
                    .iter()
                    .any(|prefix| flag.starts_with(prefix))
                    || matches!(
                        *flag,
                        "ro" | "rw" | "noexec" | "exec" | "nosuid" | "suid" | "nodev" | "noatime"
                    )
            };
            if let Some(flag) = flags.iter().find(|flag| !known(flag)) {
                return Err(format!(
                    "option \"{}\" of a tmpfs volume is not supported",
                    shown(flag)
                ));
            }
            Ok(Backing::Tmpfs {
                options: flags.into_iter().map(str::to_owned).collect(),
            })
        }
        kind => Err(format!(
            "volume type \"{}\" is not supported: only plain volumes, o=bind and type=tmpfs are",
            shown(kind)
        )),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Backing, String> {
        let options = options
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        backing(&options, "/d".into())
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        assert_eq!(read(&[]).unwrap(), Backing::Directory("/d".into()));
        assert_eq!(
            read(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]).unwrap(),
            Backing::Bind {
                path: "/srv".into(),
                read_only: true
            }
        );
        assert_eq!(
            read(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]).unwrap(),
            Backing::Tmpfs {
                options: vec!["size=1m".to_owned()]
            }
        );
        for options in [
            &[("type", "nfs"), ("o", "addr=1.2.3.4")][..],
            &[("o", "bind"), ("device", "relative")],
            &[("type", "tmpfs"), ("o", "what")],
            &[("size", "1g")],
            &[("type", "ext4"), ("device", "/dev/sda1")],
        ] {
            assert!(read(options).is_err(), "{options:?}");
        }
    }
}
