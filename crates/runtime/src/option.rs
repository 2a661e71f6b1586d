//! Mount options as fstab and the OCI document write them.

use sys::mount::{Attributes, Depth, Propagation};

use crate::error::{CreateError, Result};

/// The options of one mount, sorted by who acts on them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountOptions {
    /// Attributes of this mount.
    pub(crate) set: Attributes,
    pub(crate) clear: Attributes,
    /// Attributes of this mount and all below it (`rro`, …).
    pub(crate) set_all: Attributes,
    pub(crate) clear_all: Attributes,
    pub(crate) propagation: Option<(Propagation, Depth)>,
    pub(crate) bind: Option<Depth>,
    pub(crate) idmap: Option<IdmapOption>,
    /// Whether a tmpfs begins with the content of the directory below it.
    pub(crate) copy_up: bool,
    /// What is left for the file system itself: key and value.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// What the options say about shifting ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdmapOption {
    /// `noidmap`: never.
    Never,
    /// `idmap`: this mount.
    One,
    /// `ridmap`: this mount and all below it.
    Recursive,
}

/// Every attribute by name: its bits, and whether the name clears them.
const ATTRIBUTES: [(&str, Attributes, bool); 18] = [
    ("ro", Attributes::RDONLY, false),
    ("rw", Attributes::RDONLY, true),
    ("nosuid", Attributes::NOSUID, false),
    ("suid", Attributes::NOSUID, true),
    ("nodev", Attributes::NODEV, false),
    ("dev", Attributes::NODEV, true),
    ("noexec", Attributes::NOEXEC, false),
    ("exec", Attributes::NOEXEC, true),
    ("noatime", Attributes::NOATIME, false),
    ("atime", Attributes::NOATIME, true),
    ("strictatime", Attributes::STRICTATIME, false),
    ("nostrictatime", Attributes::STRICTATIME, true),
    ("nodiratime", Attributes::NODIRATIME, false),
    ("diratime", Attributes::NODIRATIME, true),
    ("nosymfollow", Attributes::NOSYMFOLLOW, false),
    ("symfollow", Attributes::NOSYMFOLLOW, true),
    // Relative access times are the absence of the other two modes.
    ("relatime", Attributes::empty(), false),
    ("norelatime", Attributes::empty(), true),
];

impl MountOptions {
    pub(crate) fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        if let Some(&(_, attribute, clears)) = ATTRIBUTES.iter().find(|(name, ..)| *name == option) {
            apply(&mut self.set, &mut self.clear, attribute, clears);
            return Ok(());
        }
        let recursive = option.strip_prefix('r');
        if let Some(&(_, attribute, clears)) = ATTRIBUTES.iter().find(|(name, ..)| Some(*name) == recursive) {
            apply(&mut self.set_all, &mut self.clear_all, attribute, clears);
            return Ok(());
        }
        match option {
            "defaults" | "async" | "loud" | "nolazytime" | "nomand" | "" => {}
            "bind" => self.bind = self.bind.or(Some(Depth::One)),
            "rbind" => self.bind = Some(Depth::Recursive),
            "private" => self.propagation = Some((Propagation::Private, Depth::One)),
            "rprivate" => self.propagation = Some((Propagation::Private, Depth::Recursive)),
            "slave" => self.propagation = Some((Propagation::Slave, Depth::One)),
            "rslave" => self.propagation = Some((Propagation::Slave, Depth::Recursive)),
            "shared" => self.propagation = Some((Propagation::Shared, Depth::One)),
            "rshared" => self.propagation = Some((Propagation::Shared, Depth::Recursive)),
            "unbindable" => self.propagation = Some((Propagation::Unbindable, Depth::One)),
            "runbindable" => self.propagation = Some((Propagation::Unbindable, Depth::Recursive)),
            "idmap" => self.idmap = Some(IdmapOption::One),
            "ridmap" => self.idmap = Some(IdmapOption::Recursive),
            "noidmap" => self.idmap = Some(IdmapOption::Never),
            "tmpcopyup" => self.copy_up = true,
            "remount" | "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                return Err(CreateError::unsupported(&format!(
                    "the mount option \"{option}\""
                )));
            }
            _ => match option.split_once('=') {
                Some((key, value)) => self.data.push((key.to_owned(), Some(value.to_owned()))),
                None => self.data.push((option.to_owned(), None)),
            },
        }
        Ok(())
    }

    /// Returns what `fsmount` takes: all attributes of the new mount.
    pub(crate) fn new_mount_attributes(&self) -> Attributes {
        self.set | self.set_all
    }
}

fn apply(set: &mut Attributes, clear: &mut Attributes, attribute: Attributes, clears: bool) {
    let (to, from) = if clears { (clear, set) } else { (set, clear) };
    *to |= attribute;
    from.0 &= !attribute.0;
    // The three modes of access times share a field: one is set by clearing the whole field first.
    if !clears && Attributes::ATIME.0 & attribute.0 != 0 {
        to.0 = to.0 & !Attributes::ATIME.0 | attribute.0;
        *from |= Attributes::ATIME;
    } else if clears && Attributes::ATIME.0 & attribute.0 != 0 {
        *to |= Attributes::ATIME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        MountOptions::parse(&options).unwrap()
    }

    #[test]
    fn words_become_bits() {
        let options = parse(&[
            "rbind", "ro", "rprivate", "nosuid", "rnodev", "size=64k", "noswap",
        ]);
        assert_eq!(options.bind, Some(Depth::Recursive));
        assert_eq!(options.set, Attributes::RDONLY | Attributes::NOSUID);
        assert_eq!(options.set_all, Attributes::NODEV);
        assert_eq!(
            options.propagation,
            Some((Propagation::Private, Depth::Recursive))
        );
        assert_eq!(
            options.data,
            [
                ("size".to_owned(), Some("64k".to_owned())),
                ("noswap".to_owned(), None)
            ]
        );
    }

    #[test]
    fn the_last_word_wins() {
        let options = parse(&["ro", "rw"]);
        assert_eq!(options.set, Attributes::empty());
        assert_eq!(options.clear, Attributes::RDONLY);
        let options = parse(&["noatime", "strictatime"]);
        assert_eq!(options.set, Attributes::STRICTATIME);
        assert_eq!(options.clear, Attributes::ATIME);
    }

    #[test]
    fn what_is_not_done_is_refused() {
        assert!(MountOptions::parse(&["remount".to_owned()]).is_err());
    }
}
