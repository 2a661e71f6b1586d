//! Who the program runs as: names looked up in the container's own `/etc/passwd` and `/etc/group`.
//!
//! The files are the image's, so they are read below the root, only if regular, only up to a size, and every number in
//! them is checked. No NSS: its modules would be the image's code.

use sys::path::Root;

use rustix::io::Errno;

/// The files may be this long; the largest in Debian is 3 KiB.
const MAX_FILE: u64 = 4 << 20;

/// The largest id: `setuid(-1)` means "unchanged", and programs that keep ids in an `int` must not see others.
const MAX_ID: u32 = i32::MAX.unsigned_abs();

/// A user with its groups, all as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
    /// The supplementary groups: the primary one, memberships, extra groups; without duplicates.
    pub groups: Vec<u32>,
    /// The home directory, if the user has an entry.
    pub home: Option<String>,
}

/// Why a user or group was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// There is no such user.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser {
        /// As it was asked for.
        name: String,
    },
    /// There is no such group.
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup {
        /// As it was asked for.
        name: String,
    },
    /// The text is neither a name nor a number in range.
    #[error("\"{text}\" is neither a user or group name nor an id up to 2147483647")]
    Malformed {
        /// As it was asked for.
        text: String,
    },
    /// A file is there but cannot be used.
    #[error("read {file} of the container: {errno}")]
    File {
        /// The path inside the container.
        file: &'static str,
        /// Why.
        errno: Errno,
    },
}

/// A name or a number; what consists of digits is always a number (CVE-2016-3697).
enum Key<'a> {
    Name(&'a str),
    Id(u32),
}

impl<'a> Key<'a> {
    fn parse(text: &'a str) -> Result<Self, LookupError> {
        let malformed = || LookupError::Malformed {
            text: text.chars().take(80).collect(),
        };
        let first = text.chars().next().ok_or_else(malformed)?;
        if first.is_ascii_digit() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = text.parse::<u32>().ok().filter(|&id| id <= MAX_ID);
            return id.map(Self::Id).ok_or_else(malformed);
        }
        let is_bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | ',' | '/');
        if text.contains(is_bad) || matches!(first, '-' | '+') || text.len() > 256 {
            return Err(malformed());
        }
        Ok(Self::Name(text))
    }
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// Looks up `user` (`name`, `uid`, `name:group`, `uid:gid`, empty: `0`) and the extra `groups`.
///
/// A number needs no entry; its primary group is then 0. Memberships count only when no group is named, as for docker.
pub fn look_up(root: &Root, user: &str, groups: &[String]) -> Result<Identity, LookupError> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user_key = Key::parse(if user.is_empty() { "0" } else { user })?;
    let passwd = read(root, "/etc/passwd")?;
    let entry = find_user(&passwd, &user_key);
    let uid = match (&entry, &user_key) {
        (Some(entry), _) => entry.uid,
        (None, Key::Id(id)) => *id,
        (None, Key::Name(name)) => {
            return Err(LookupError::NoUser {
                name: (*name).to_owned(),
            });
        }
    };
    let mut group_file = None;
    let mut gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let mut all = Vec::new();
    match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            gid = find_group(root, &mut group_file, group)?;
            all.push(gid);
        }
        None => {
            all.push(gid);
            if let Some(entry) = &entry {
                let text = group_text(root, &mut group_file)?;
                all.extend(memberships(text, &entry.name));
            }
        }
    }
    for group in groups {
        all.push(find_group(root, &mut group_file, group)?);
    }
    Ok(Identity {
        uid,
        gid,
        groups: without_duplicates(all),
        home: entry.map(|entry| entry.home).filter(|home| !home.is_empty()),
    })
}

/// Returns the identity of plain numbers, with extra `groups`.
pub(crate) fn from_numbers(
    root: &Root,
    (uid, gid): (u32, u32),
    additional: &[u32],
    groups: &[String],
) -> Result<Identity, LookupError> {
    for &id in [uid, gid].iter().chain(additional) {
        if id == u32::MAX {
            return Err(LookupError::Malformed { text: id.to_string() });
        }
    }
    let mut all = additional.to_vec();
    let mut group_file = None;
    for group in groups {
        all.push(find_group(root, &mut group_file, group)?);
    }
    Ok(Identity {
        uid,
        gid,
        groups: without_duplicates(all),
        home: None,
    })
}

/// Returns the home directory of `uid`; none if that cannot be told.
pub(crate) fn home_of(root: &Root, uid: u32) -> Option<String> {
    let passwd = read(root, "/etc/passwd").ok()?;
    let entry = find_user(&passwd, &Key::Id(uid))?;
    Some(entry.home).filter(|home| !home.is_empty())
}

/// Returns a file's text; a file that is not there is empty.
fn read(root: &Root, file: &'static str) -> Result<String, LookupError> {
    match root.read_file(file, MAX_FILE) {
        Ok(content) => Ok(match String::from_utf8(content) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(String::new()),
        Err(error) => Err(LookupError::File {
            file,
            errno: error.errno(),
        }),
    }
}

fn group_text<'a>(root: &Root, file: &'a mut Option<String>) -> Result<&'a str, LookupError> {
    if file.is_none() {
        *file = Some(read(root, "/etc/group")?);
    }
    Ok(file.as_deref().unwrap_or_default())
}

/// `name:password:uid:gid:comment:home:shell`, passwd(5). Lines with bad numbers are no entries.
fn find_user(passwd: &str, key: &Key<'_>) -> Option<Entry> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let matches = match key {
            Key::Name(wanted) => name == *wanted,
            Key::Id(wanted) => uid == *wanted,
        };
        if !matches {
            return None;
        }
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Entry {
            name: name.to_owned(),
            uid,
            gid,
            home: home.to_owned(),
        })
    })
}

/// `name:password:gid:member,member`, group(5).
fn find_group(root: &Root, file: &mut Option<String>, group: &str) -> Result<u32, LookupError> {
    let name = match Key::parse(group)? {
        Key::Id(id) => return Ok(id),
        Key::Name(name) => name,
    };
    let text = group_text(root, file)?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| id(fields.nth(1)?))?
    });
    found.ok_or_else(|| LookupError::NoGroup {
        name: name.to_owned(),
    })
}

fn memberships(groups: &str, user: &str) -> Vec<u32> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            fields.next().filter(|name| !name.is_empty())?;
            let gid = id(fields.nth(1)?)?;
            let members = fields.next()?;
            members.split(',').any(|member| member == user).then_some(gid)
        })
        .collect()
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse::<u32>().ok().filter(|&id| id <= MAX_ID))
        .flatten()
}

fn without_duplicates(mut groups: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    groups.retain(|group| seen.insert(*group));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch {
        parent: Root,
        name: String,
        root: Root,
    }

    impl Scratch {
        fn new(passwd: &str, group: &str) -> Self {
            let parent = Root::open(std::env::temp_dir()).unwrap();
            let name = format!("berth-user-{}", base::id::random_hex::<8>().unwrap());
            drop(parent.mkdir_all(format!("{name}/etc"), 0o755).unwrap());
            let root = Root::open(std::env::temp_dir().join(&name)).unwrap();
            for (file, content) in [("/etc/passwd", passwd), ("/etc/group", group)] {
                let file = root.create_file(file, 0o644).unwrap();
                rustix::io::write(&file, content.as_bytes()).unwrap();
            }
            Self { parent, name, root }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            self.parent.remove_all(&self.name).unwrap();
        }
    }

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:7:7::/seven:\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken:x:-1:x\nhuge:x:4294967296:1::/:\nbig:x:2147483648:1::/:\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root,alice\nstaff:x:50:alice,alice\nalice:x:1000:\n20:x:21:alice\n";

    #[test]
    fn every_form() {
        let scratch = Scratch::new(PASSWD, GROUP);
        let check = |user: &str| {
            look_up(&scratch.root, user, &[]).map(|identity| (identity.uid, identity.gid, identity.groups))
        };
        assert_eq!(check(""), Ok((0, 0, vec![0, 10])));
        assert_eq!(check("root"), Ok((0, 0, vec![0, 10])));
        assert_eq!(check("alice"), Ok((1000, 1000, vec![1000, 10, 50, 21])));
        // A number is never the user of that name.
        assert_eq!(check("1000"), Ok((1000, 1000, vec![1000, 10, 50, 21])));
        assert_eq!(check("4242"), Ok((4242, 0, vec![0])));
        assert_eq!(check("alice:wheel"), Ok((1000, 10, vec![10])));
        assert_eq!(check("4242:20"), Ok((4242, 20, vec![20])));
        assert_eq!(check(":50"), Ok((0, 50, vec![50])));
        assert_eq!(check("2147483647"), Ok((2_147_483_647, 0, vec![0])));
        for wrong in [
            "-1",
            "+1",
            "2147483648",
            "4294967295",
            "4294967296",
            "4294968296",
            "99999999999999999999",
            " ",
            "a b",
            "0 ",
            "a\nb",
            "nobody",
            "alice:nobody",
            "alice:-1",
            "alice:wheel:x",
            "broken",
            "huge",
            "big",
            "0x10",
            "1e3",
            "a/b",
            "1000\0",
        ] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn extra_groups_and_home() {
        let scratch = Scratch::new(PASSWD, GROUP);
        let groups = ["wheel".to_owned(), "77".to_owned()];
        let identity = look_up(&scratch.root, "alice:alice", &groups).unwrap();
        assert_eq!(identity.groups, [1000, 10, 77]);
        assert_eq!(identity.home.as_deref(), Some("/home/alice"));
        assert_eq!(home_of(&scratch.root, 0).as_deref(), Some("/root"));
        assert_eq!(home_of(&scratch.root, 5), None);
    }

    #[test]
    fn hostile_files() {
        let scratch = Scratch::new("", "");
        let root = &scratch.root;
        root.unlink("/etc/passwd").unwrap();
        assert_eq!(look_up(root, "12", &[]).unwrap().uid, 12);
        root.mknod("/etc/passwd", rustix::fs::FileType::Fifo, 0o644, 0)
            .unwrap();
        assert!(look_up(root, "12", &[]).is_err());
        root.unlink("/etc/passwd").unwrap();
        root.symlink("/etc/../../../../../../etc/shadow", "/etc/passwd")
            .unwrap();
        assert!(matches!(
            look_up(root, "root", &[]),
            Err(LookupError::NoUser { .. })
        ));
        root.unlink("/etc/passwd").unwrap();
        let file = root.create_file("/etc/passwd", 0o644).unwrap();
        rustix::fs::ftruncate(&file, 1 << 30).unwrap();
        assert!(look_up(root, "0", &[]).is_err());
    }
}
