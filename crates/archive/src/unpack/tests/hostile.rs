//! Archives that want out, generated: every kind of member with every trick of its path, every trick of links, and the
//! headers that two readers read in two ways. Each is refused, or the world beside the root stays as it was.

mod headers;
mod members;
mod raw;

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::*;
use headers::desynchronised;
use members::{links, paths};

/// How long one archive may take: each is a few kilobytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is refused in every mode.
    Refused,
    /// It is refused or has no effect outside.
    Contained,
}

/// Archives that are unpacked one over the other, as layers.
struct Case {
    name: String,
    layers: Vec<Vec<u8>>,
    fate: Fate,
}

/// The world beside the root: something of everything, with owners, modes and times of its own.
fn world() -> Arena {
    let arena = Arena::new();
    let script = r#"
        cd outside && mkdir sub && echo canary > sub/secret && chmod 600 sub/secret && chown 1234:2345 sub/secret
        ln file second && ln -s file link && ln -s /nowhere dangling && mkfifo pipe && cp file setuid && chmod 4755 setuid
        setfattr -n user.note -v x file 2>/dev/null || true
        touch -h -d '2001-02-03 04:05:06.5' sub/secret file link dangling pipe setuid sub .
    "#;
    run("sh", &["-ec", script], arena.temporary.path());
    arena
}

/// What is found beside the root.
#[derive(Debug, PartialEq, Eq)]
struct Outside {
    tree: BTreeMap<String, String>,
    /// When each inode was last changed, in seconds and nanoseconds.
    changes: Vec<(PathBuf, i64, i64)>,
    beside: Vec<std::ffi::OsString>,
}

/// The whole directory but what is below the target, with the time of the last change of every inode.
fn outside(arena: &Arena) -> Outside {
    let top = arena.outside();
    let tree = tree(&top);
    let changes = tree
        .keys()
        .map(|path| {
            let path = if path.is_empty() {
                top.clone()
            } else {
                top.join(path)
            };
            let meta = std::fs::symlink_metadata(&path).unwrap();
            (path, meta.ctime(), meta.ctime_nsec())
        })
        .collect();
    let mut beside: Vec<_> = std::fs::read_dir(arena.temporary.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    beside.sort();
    Outside {
        tree,
        changes,
        beside,
    }
}

/// Unpacks every layer of a case, in one of the ways that there are, and compares.
fn try_one(arena: &Arena, case: &Case, whiteouts: Whiteouts, on_a_thread: bool) -> Result<(), UnpackError> {
    let target = arena.target();
    std::fs::create_dir(&target).unwrap();
    let directory = std::fs::File::open(&target).unwrap();
    let options = UnpackOptions::layer(whiteouts);
    let unpacked = case.layers.iter().try_for_each(|bytes| {
        if on_a_thread {
            unpack_beside(&bytes[..], directory.as_fd(), &options, None).map(drop)
        } else {
            unpack(&bytes[..], directory.as_fd(), &options).map(drop)
        }
    });
    assert!(!target.join("hidden").exists(), "{}", case.name);
    crate::remove_tree_at(&target).unwrap();
    unpacked
}

#[test]
fn st_01_generated_hostile_archives() {
    let arena = world();
    let out = arena.outside().display().to_string();
    let mut cases = paths(&out);
    cases.extend(links(&out));
    cases.extend(desynchronised());
    assert!(cases.len() >= 400, "{}", cases.len());
    let (tell, told) = channel();
    let worker = std::thread::spawn(move || {
        crate::remove_tree_at(&arena.target()).unwrap();
        let before = outside(&arena);
        let (mut refused, mut kept) = (0, 0);
        for (number, case) in cases.iter().enumerate() {
            tell.send(case.name.clone()).unwrap();
            for (mode, whiteouts) in [Whiteouts::Overlay, Whiteouts::Apply, Whiteouts::Literal]
                .into_iter()
                .enumerate()
            {
                let unpacked = try_one(&arena, case, whiteouts, (number + mode) % 4 == 0);
                assert_eq!(
                    outside(&arena),
                    before,
                    "{} {whiteouts:?} changed the world outside",
                    case.name
                );
                match unpacked {
                    Err(error) => {
                        refused += 1;
                        let chain = base::error::chain(&error).to_string();
                        assert_eq!(
                            base::error::Kinded::kind(&error),
                            base::error::Kind::Invalid,
                            "{}: {chain}",
                            case.name
                        );
                    }
                    Ok(()) => {
                        kept += 1;
                        assert_eq!(
                            case.fate,
                            Fate::Contained,
                            "{} {whiteouts:?} was unpacked",
                            case.name
                        );
                    }
                }
            }
        }
        assert!(refused > 100 && kept > 100, "{refused} refused, {kept} kept");
    });
    let mut last = String::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(name) => last = name,
            Err(RecvTimeoutError::Timeout) => panic!("\"{last}\" hangs"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}
