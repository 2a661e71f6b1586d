//! Honest archives against GNU tar, hostile ones against a world outside that must not change.

mod hostile;
mod limits;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path as HostPath;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::pack::{PackOptions, Sparse, pack};
use crate::writer::TarWriter;

/// A member with content, for archives written by hand.
struct Member(Entry, Vec<u8>);

fn file(path: &str, content: &str) -> Member {
    let mut entry = Entry::new(path, EntryKind::File, 0o644);
    entry.size = content.len().try_into().unwrap();
    Member(entry, content.into())
}

fn directory(path: &str, mode: u32) -> Member {
    Member(Entry::new(path, EntryKind::Directory, mode), Vec::new())
}

fn link(kind: EntryKind, path: &str, target: &str) -> Member {
    let mut entry = Entry::new(path, kind, 0o777);
    entry.link = target.into();
    Member(entry, Vec::new())
}

fn symlink(path: &str, target: &str) -> Member {
    link(EntryKind::Symlink, path, target)
}

fn hard_link(path: &str, target: &str) -> Member {
    link(EntryKind::HardLink, path, target)
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for Member(entry, content) in members {
        writer.append(entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn unpack_with(bytes: &[u8], target: &HostPath, whiteouts: Whiteouts) -> Result<UnpackSummary, UnpackError> {
    let directory = std::fs::File::open(target).unwrap();
    let options = UnpackOptions::layer(whiteouts);
    let unpacked = unpack(bytes, directory.as_fd(), &options);
    // With a thread for the decompression it is the same, to the last byte.
    let again = tempfile::tempdir().unwrap();
    let directory = std::fs::File::open(again.path()).unwrap();
    let beside = unpack_beside(bytes, directory.as_fd(), &options, None);
    match (&unpacked, &beside) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
    unpacked
}

/// Everything that matters of a tree, by path.
fn tree(root: &HostPath) -> BTreeMap<String, String> {
    fn walk(root: &HostPath, path: &HostPath, found: &mut BTreeMap<String, String>) {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            Digest::sha256(&std::fs::read(path).unwrap()).to_string()
        } else if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(path).unwrap().display())
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("dev {}", meta.rdev())
        } else {
            String::new()
        };
        let links = if kind.is_dir() { 0 } else { meta.nlink() };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let line = format!(
            "{:o} {}:{} {}.{} n{links} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        found.insert(name, line);
        if kind.is_dir() {
            for child in std::fs::read_dir(path).unwrap() {
                walk(root, &child.unwrap().path(), found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Compares two trees and shows only what differs.
fn assert_same(ours: &HostPath, theirs: &HostPath, what: &str) {
    let (ours, theirs) = (tree(ours), tree(theirs));
    let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let different: Vec<_> = paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| (path, ours.get(path), theirs.get(path)))
        .collect();
    assert!(different.is_empty(), "{what}: {different:#?}");
}

fn run(program: &str, arguments: &[&str], directory: &HostPath) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// A tree with one of everything.
fn build(root: &HostPath) {
    let script = r#"
        mkdir -p usr/bin etc "sp ace" deep/a/b/c && echo hello > usr/bin/tool && chmod 4755 usr/bin/tool
        ln usr/bin/tool usr/bin/tool2 && ln -s ../usr/bin/tool etc/link && ln -s /nowhere dangling
        mkfifo pipe && mknod null c 1 3 && mknod loop b 7 0 && printf 'a\nb' > "$(printf 'new\nline')"
        touch -d '2001-02-03 04:05:06.123456789' etc/old && touch -d '1960-01-01' etc/ancient
        chown 1000:2000 etc/old && chown 3000000000:3000000000 etc/ancient && chmod 1777 deep
        truncate -s 3M sparse && echo middle | dd of=sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null
        long=$(printf 'x%.0s' $(seq 200)); mkdir -p "$long/$long" && echo long > "$long/$long/file"
        ln -s "$long/$long/file" longlink && head -c 300000 /dev/urandom > random
        touch -d '2011-11-11 11:11:11.5' deep/a deep
    "#;
    run("sh", &["-ec", script], root);
}

#[test]
fn gnu_archives_unpack_as_gnu_tar_unpacks_them() {
    let source = TempDir::new().unwrap();
    build(source.path());
    for format in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--xattrs", "--zstd"],
        &["--format=gnu", "--gzip"],
    ] {
        let work = TempDir::new().unwrap();
        let tar = work.path().join("tar");
        let mut arguments = vec!["-cf", tar.to_str().unwrap()];
        arguments.extend_from_slice(format);
        arguments.push(".");
        run("tar", &arguments, source.path());
        let (theirs, ours) = (work.path().join("theirs"), work.path().join("ours"));
        std::fs::create_dir(&theirs).unwrap();
        std::fs::create_dir(&ours).unwrap();
        run(
            "tar",
            &["-xpf", tar.to_str().unwrap(), "--numeric-owner"],
            &theirs,
        );
        unpack_with(&std::fs::read(&tar).unwrap(), &ours, Whiteouts::Overlay).unwrap();
        assert_same(&ours, &theirs, &format!("{format:?}"));
        if format.contains(&"--sparse") {
            assert!(std::fs::metadata(ours.join("sparse")).unwrap().blocks() < 1000);
        }
    }
}

#[test]
fn packing_and_unpacking_keeps_a_tree_and_is_deterministic() {
    let source = TempDir::new().unwrap();
    build(source.path());
    rustix::fs::setxattr(
        source.path().join("random"),
        "user.note",
        b"v\0w",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    for sparse in [Sparse::Keep, Sparse::Fill] {
        let options = PackOptions {
            owner_base: 0,
            whiteouts: Whiteouts::Literal,
            sparse,
        };
        let root = std::fs::File::open(source.path()).unwrap();
        let mut bytes = Vec::new();
        pack(root.as_fd(), &mut bytes, &options).unwrap();
        let mut again = Vec::new();
        pack(root.as_fd(), &mut again, &options).unwrap();
        assert!(bytes == again);
        let target = TempDir::new().unwrap();
        let summary = unpack_with(&bytes, target.path(), Whiteouts::Overlay).unwrap();
        assert_same(target.path(), source.path(), "ours");
        assert_eq!(summary.diff_id, Digest::sha256(&bytes));
        let theirs = TempDir::new().unwrap();
        let mut tar = Command::new("tar")
            .args(["-xpf", "-", "--numeric-owner"])
            .current_dir(theirs.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(tar.wait().unwrap().success());
        assert_same(theirs.path(), source.path(), "theirs");
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(target.path().join("random"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"v\0w");
    }
}

#[test]
fn the_parser_agrees_with_another_one() {
    use tar_core::parse::{Limits as CoreLimits, ParseEvent, Parser};
    let source = TempDir::new().unwrap();
    build(source.path());
    run(
        "sh",
        &["-c", "rm etc/ancient && tar --format=gnu -cf tar ."],
        source.path(),
    );
    let bytes = std::fs::read(source.path().join("tar")).unwrap();
    let mut ours = TarReader::new(&bytes[..], Limits::LAYER);
    let (mut parser, mut rest) = (Parser::new(CoreLimits::default()), &bytes[..]);
    loop {
        match parser.parse(rest).unwrap() {
            ParseEvent::Entry { consumed, entry } => {
                let own = ours.next_entry().unwrap().unwrap();
                assert_eq!(own.path, entry.path.to_vec());
                assert_eq!((own.size, own.mode), (entry.size, entry.mode));
                rest = &rest[consumed + usize::try_from(entry.padded_size()).unwrap()..];
            }
            ParseEvent::End { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ours.next_entry().unwrap(), None);
}

/// Unpacks in a directory beside one that must not change.
struct Arena {
    temporary: TempDir,
}

impl Arena {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let script = "mkdir target outside && echo secret > outside/file && chmod 640 outside/file && chmod 750 outside";
        run("sh", &["-ec", script], temporary.path());
        Self { temporary }
    }

    fn target(&self) -> std::path::PathBuf {
        self.temporary.path().join("target")
    }

    fn outside(&self) -> std::path::PathBuf {
        self.temporary.path().join("outside")
    }
}

enum Verdict {
    /// An error whose text has this in it.
    Refused(&'static str),
    /// Unpacked, and these paths (which may be absent: "!") are below the target.
    Contained(&'static [&'static str]),
}
use Verdict::{Contained, Refused};

#[test]
fn st_01_hostile_members_stay_inside_or_are_refused() {
    let arena = Arena::new();
    let out = arena.outside().display().to_string();
    let outfile = format!("{out}/file");
    let long = "x/".repeat(600) + "y";
    let cases: Vec<(&str, Vec<Member>, Verdict)> = vec![
        ("absolute", vec![file(&outfile, "x")], Contained(&["!file"])),
        ("dots", vec![file("../outside/file", "x")], Refused("\"..\"")),
        (
            "dots inside",
            vec![directory("a", 0o755), file("a/../b", "x")],
            Refused("\"..\""),
        ),
        (
            "dots at the end",
            vec![directory("a/..", 0o700)],
            Refused("\"..\""),
        ),
        (
            "link then write",
            vec![symlink("a", &out), file("a/file", "x")],
            Refused("open the directory"),
        ),
        (
            "relative link then write",
            vec![symlink("a", "../outside"), file("a/file", "x")],
            Refused(""),
        ),
        (
            "link to a link then write",
            vec![symlink("b", &out), symlink("a", "b"), file("a/file", "x")],
            Refused(""),
        ),
        (
            "link then same name",
            vec![symlink("a", &outfile), file("a", "inside")],
            Contained(&["a"]),
        ),
        (
            "link then directory of that name",
            vec![symlink("a", &out), directory("a", 0o777)],
            Contained(&["a"]),
        ),
        (
            "directory then link then chmod",
            vec![directory("a", 0o755), symlink("a", &out), directory("a", 0o777)],
            Contained(&["a"]),
        ),
        (
            "directory replaced by a link, then a member of it",
            vec![
                directory("a", 0o755),
                file("a/b", "x"),
                symlink("a", &out),
                file("a/file", "x"),
            ],
            Refused(""),
        ),
        (
            "hard link out",
            vec![hard_link("a", &outfile), file("a", "x")],
            Refused("link \"a\""),
        ),
        (
            "hard link out by dots",
            vec![hard_link("a", "../outside/file")],
            Refused("target has \"..\""),
        ),
        (
            "hard link to a link then write",
            vec![symlink("l", &outfile), hard_link("a", "l"), file("a", "x")],
            Contained(&["a"]),
        ),
        (
            "hard link through a link",
            vec![symlink("l", &out), hard_link("a", "l/file")],
            Refused("link \"a\""),
        ),
        (
            "hard link to a directory",
            vec![directory("d", 0o755), hard_link("a", "d")],
            Refused("link \"a\""),
        ),
        (
            "hard link to itself",
            vec![file("a", "x"), hard_link("a", "./a")],
            Contained(&["a"]),
        ),
        (
            "hard link to the root",
            vec![hard_link("a", "/")],
            Refused("root"),
        ),
        (
            "hard link to nothing",
            vec![hard_link("a", "b")],
            Refused("link \"a\""),
        ),
        (
            "root is a link",
            vec![symlink("./", &out), file("file", "x")],
            Refused("the root is not a directory"),
        ),
        (
            "root is a file",
            vec![file(".", "x")],
            Refused("the root is not a directory"),
        ),
        (
            "whiteout through a link",
            vec![symlink("a", &out), file("a/.wh.file", "")],
            Refused("white out"),
        ),
        (
            "opaque through a link",
            vec![symlink("a", &out), file("a/.wh..wh..opq", "")],
            Refused("empty"),
        ),
        (
            "whiteout without a name",
            vec![file(".wh.", "")],
            Refused("without a name"),
        ),
        (
            "whiteout of dots",
            vec![file("a/.wh...", "")],
            Refused("without a name"),
        ),
        (
            "whiteout of a slash",
            vec![file(".wh./file", "")],
            Refused("not a directory"),
        ),
        (
            "aufs leftovers",
            vec![file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs", "")],
            Contained(&["!.wh..wh.aufs"]),
        ),
        (
            "member of a file",
            vec![file("a", "x"), file("a/b", "x")],
            Refused("open the directory"),
        ),
        (
            "member of a dangling link",
            vec![symlink("a", "b"), file("a/c", "x")],
            Refused("open the directory"),
        ),
        (
            "duplicate",
            vec![file("a", "1"), file("a", "2")],
            Contained(&["a"]),
        ),
        ("newline", vec![file("a\nb", "x")], Contained(&["a\nb"])),
        (
            "a name that is too long",
            vec![file(&"n".repeat(256), "x")],
            Refused("too long"),
        ),
        ("too deep", vec![file(&long, "x")], Refused("too deep")),
        (
            "dangling link target",
            vec![symlink("a", "/\u{1}/../../x")],
            Contained(&["a"]),
        ),
        (
            "overlay's own device",
            vec![Member(Entry::new("a", EntryKind::CharDevice, 0o600), Vec::new())],
            Refused("0/0"),
        ),
    ];
    let before = tree(&arena.outside());
    for (name, members, verdict) in cases {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Apply] {
            let target = arena.target();
            std::fs::create_dir_all(&target).unwrap();
            let result = unpack_with(&archive(&members), &target, whiteouts);
            match (&verdict, &result) {
                (Refused(text), Err(error)) => {
                    let chain = base::error::chain(error).to_string();
                    assert!(chain.contains(text), "{name}: {chain}");
                    assert_eq!(
                        base::error::Kinded::kind(error),
                        base::error::Kind::Invalid,
                        "{name}: {chain}"
                    );
                }
                // Deleting what is not there is nothing to do.
                (Refused("white out" | "empty"), Ok(_)) if whiteouts == Whiteouts::Apply => {}
                (Contained(paths), Ok(_)) => {
                    for path in *paths {
                        let (wanted, path) =
                            path.strip_prefix('!').map_or((true, *path), |path| (false, path));
                        assert_eq!(
                            target.join(path).symlink_metadata().is_ok(),
                            wanted,
                            "{name}: {path}"
                        );
                    }
                }
                _ => panic!("{name}: {result:?}"),
            }
            assert_eq!(tree(&arena.outside()), before, "{name}");
            crate::remove_tree_at(&target).unwrap();
        }
    }
}

/// Changes the header of a one-member archive and sets its checksum anew.
fn patched(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = archive(&[file("a", "x")]);
    change(&mut bytes);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

/// A PAX header with these records before a small file and another header inside that file's content.
fn with_pax(records: &[u8], flag: u8) -> Vec<u8> {
    let mut header = patched(|bytes| {
        bytes[156] = flag;
        let size = format!("{:011o}\0", records.len());
        bytes[124..136].copy_from_slice(size.as_bytes());
    });
    header.truncate(512);
    let mut data = records.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    header.extend(data);
    header.extend(archive(&[file("a", &"z".repeat(1024)), file("b", "x")]));
    header
}

#[test]
fn st_01_headers_that_can_be_read_in_two_ways_are_refused() {
    let gnu_sparse_negative = patched(|bytes| {
        bytes[156] = b'S';
        bytes[386..398].copy_from_slice(b"77777777777\0");
        bytes[398..410].copy_from_slice(b"77777777777\0");
    });
    let lone_zero = [&[0; 512][..], &archive(&[file("a", "x")])].concat();
    let orphan = with_pax(b"11 path=ab\n", b'x')[..1024].to_vec();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "bad checksum",
            {
                let mut b = archive(&[file("a", "x")]);
                b[0] = b'q';
                b
            },
            "checksum",
        ),
        (
            "negative size",
            patched(|b| b[124..136].fill(0xff)),
            "size is not a number",
        ),
        (
            "base-256 size too large",
            patched(|b| {
                b[124..136].fill(0x7f);
                b[124] = 0x80;
            }),
            "size is not a number",
        ),
        (
            "size near the end of numbers",
            patched(|b| {
                b[124..136].fill(0);
                b[124] = 0x80;
                b[128..136].copy_from_slice(&i64::MAX.to_be_bytes());
            }),
            "too large",
        ),
        (
            "octal with letters",
            patched(|b| b[124..136].copy_from_slice(b"0000000zzzz\0")),
            "size is not a number",
        ),
        ("negative owner", patched(|b| b[108..116].fill(0xff)), "owner"),
        (
            "owner none",
            patched(|b| {
                b[108..116].fill(0);
                b[108] = 0x80;
                b[112..116].fill(0xff);
            }),
            "owner",
        ),
        ("unknown type", patched(|b| b[156] = b'V'), "unknown type"),
        (
            "directory with content",
            patched(|b| b[156] = b'5'),
            "content on a member",
        ),
        (
            "link with content",
            patched(|b| {
                b[156] = b'2';
                b[157] = b'x';
            }),
            "content on a member",
        ),
        (
            "link without target",
            patched(|b| {
                b[156] = b'2';
                b[124..136].fill(b'0');
            }),
            "without a target",
        ),
        ("empty name", patched(|b| b[0] = 0), "without a name"),
        ("sparse beyond its end", gnu_sparse_negative, "sparse map"),
        ("lone zero block", lone_zero, "lone block"),
        ("extension without member", orphan, "without a member"),
        (
            "PAX size too large",
            with_pax(b"29 size=99999999999999999999\n", b'x'),
            "PAX number",
        ),
        ("PAX size negative", with_pax(b"11 size=-1\n", b'x'), "PAX number"),
        (
            "PAX size beyond the archive",
            with_pax(b"16 size=9999999\n", b'x'),
            "cut off",
        ),
        ("PAX path with NUL", with_pax(b"12 path=a\0b\n", b'x'), "NUL"),
        ("PAX record cut", with_pax(b"99 path=a\n", b'x'), "broken PAX"),
        (
            "PAX record without end",
            with_pax(b"10 path=abc", b'x'),
            "broken PAX",
        ),
        (
            "PAX record of length 0",
            with_pax(b"0 path=a\n", b'x'),
            "broken PAX",
        ),
        (
            "global header that renames",
            with_pax(b"10 path=a\n", b'g'),
            "global header",
        ),
        (
            "global header that resizes",
            with_pax(b"10 size=1\n", b'g'),
            "global header",
        ),
        (
            "sparse map twice",
            with_pax(
                b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n22 GNU.sparse.map=0,1\n",
                b'x',
            ),
            "two sparse maps",
        ),
        (
            "sparse map that is text",
            with_pax(
                b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.realsize=100\n",
                b'x',
            ),
            "sparse map",
        ),
        (
            "cut off in a header",
            archive(&[file("a", "x")])[..300].to_vec(),
            "cut off",
        ),
        (
            "cut off in content",
            archive(&[file("a", "x")])[..512].to_vec(),
            "cut off",
        ),
        ("not an archive", b"<html>".repeat(300), "checksum"),
    ];
    for (name, bytes, text) in cases {
        let target = TempDir::new().unwrap();
        let error = unpack_with(&bytes, target.path(), Whiteouts::Overlay).expect_err(name);
        let chain = base::error::chain(&error).to_string();
        assert!(chain.contains(text), "{name}: {chain}");
        assert!(inspect(&bytes[..], &Limits::LAYER).is_err(), "{name}");
    }
    let mut twice = with_pax(b"10 path=a\n", b'x')[..1024].to_vec();
    twice.extend(with_pax(b"10 path=b\n", b'x'));
    assert!(
        inspect(&twice[..], &Limits::LAYER)
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
}

#[test]
fn st_01_every_cut_and_every_changed_byte_is_survived() {
    let source = TempDir::new().unwrap();
    run(
        "sh",
        &[
            "-ec",
            "mkdir d && echo x > d/f && ln -s f d/l && tar --format=pax -cf t d",
        ],
        source.path(),
    );
    let bytes = std::fs::read(source.path().join("t")).unwrap();
    for at in 0..4096 {
        drop(inspect(&bytes[..at], &Limits::LAYER));
        for value in [0, 0xff, b'9', b'/'] {
            let mut changed = bytes.clone();
            changed[at] = value;
            drop(inspect(&changed[..], &Limits::LAYER));
        }
    }
}

#[test]
fn st_02_overlays_own_attributes_are_stripped() {
    let names = [
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.opaque",
        "user.overlay.redirect",
        "user.kept",
        "security.ima",
        "trusted.md5sum",
    ];
    let mut member = file("a", "x");
    member.0.xattrs = names
        .iter()
        .map(|name| (name.as_bytes().to_vec(), b"/etc".to_vec()))
        .collect();
    let target = TempDir::new().unwrap();
    unpack_with(&archive(&[member]), target.path(), Whiteouts::Overlay).unwrap();
    let mut list = [0; 4096];
    let length = rustix::fs::listxattr(target.path().join("a"), &mut list).unwrap();
    let found: Vec<&[u8]> = list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(found, [b"user.kept"]);
}

#[test]
fn capabilities_and_setuid_survive_the_change_of_owner() {
    let mut member = file("a", "x");
    (member.0.uid, member.0.mode) = (5, 0o6755);
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    member.0.xattrs = vec![(b"security.capability".to_vec(), capability.clone())];
    let target = TempDir::new().unwrap();
    unpack_with(&archive(&[member]), target.path(), Whiteouts::Overlay).unwrap();
    let path = target.path().join("a");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o6755);
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(&path, "security.capability", &mut value).unwrap();
    assert_eq!(&value[..length], capability);
}

#[test]
fn st_03_bombs_are_bounded() {
    let limits = Limits {
        entries: 10,
        content_bytes: 1000,
        stream_bytes: 100_000,
        sparse_bytes: 1 << 20,
        depth: 8,
        xattrs: 2,
        xattr_bytes: 100,
    };
    let many: Vec<Member> = (0..11).map(|number| file(&number.to_string(), "")).collect();
    let mut sparse = file("s", "x");
    (sparse.0.size, sparse.0.sparse) = (1 << 40, Some(vec![(0, 1)]));
    let mut attributes = file("a", "x");
    attributes.0.xattrs = (0..3)
        .map(|number| (format!("user.{number}").into_bytes(), vec![]))
        .collect();
    let mut value = file("a", "x");
    value.0.xattrs = vec![(b"user.a".to_vec(), vec![0; 101])];
    for (members, what) in [
        (many, "members"),
        (vec![file("a", &"x".repeat(1001))], "bytes of content"),
        (vec![sparse], "bytes in a sparse file"),
        (vec![attributes], "extended attributes"),
        (vec![value], "bytes in an extended attribute"),
    ] {
        let error = inspect(&archive(&members)[..], &limits).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    // Zeros after the end of the archive, compressed a thousandfold.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&archive(&[file("a", "x")])).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(10 << 20), &mut gzip).unwrap();
    let error = inspect(&gzip.finish().unwrap()[..], &limits)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "archive has more than 100000 bytes");
}

#[test]
fn st_03_many_opaque_whiteouts_take_linear_time() {
    let mut members: Vec<Member> = (0..2000).map(|number| file(&format!("d/{number}"), "")).collect();
    members.extend((0..20_000).map(|_| file("d/.wh..wh..opq", "")));
    let bytes = archive(&members);
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Apply] {
        let target = TempDir::new().unwrap();
        let start = std::time::Instant::now();
        unpack_with(&bytes, target.path(), whiteouts).unwrap();
        assert!(start.elapsed().as_secs() < 20);
        assert!(target.path().join("d/1999").exists());
    }
}

#[test]
fn whiteouts_become_overlays_own() {
    let target = TempDir::new().unwrap();
    let members = [
        directory("d", 0o755),
        file("d/.wh.gone", ""),
        directory("o", 0o755),
        file("o/.wh..wh..opq", ""),
        // Deleted below and made anew here: the new directory hides the old one.
        file(".wh.again", ""),
        directory("again", 0o700),
        directory("both", 0o755),
        file(".wh.both", ""),
        file("f", "x"),
        file(".wh.f", ""),
    ];
    unpack_with(&archive(&members), target.path(), Whiteouts::Overlay).unwrap();
    let gone = target.path().join("d/gone").symlink_metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for path in ["o", "again", "both"] {
        let mut value = [0; 4];
        let length =
            rustix::fs::getxattr(target.path().join(path), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{path}");
    }
    assert_eq!(std::fs::read(target.path().join("f")).unwrap(), b"x");
    // And back again.
    let options = PackOptions {
        owner_base: 0,
        whiteouts: Whiteouts::Overlay,
        sparse: Sparse::Fill,
    };
    let mut bytes = Vec::new();
    pack(
        std::fs::File::open(target.path()).unwrap().as_fd(),
        &mut bytes,
        &options,
    )
    .unwrap();
    let mut names = Vec::new();
    let mut reader = TarReader::new(&bytes[..], Limits::LAYER);
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    let wanted = [
        "./",
        "again/",
        "again/.wh..wh..opq",
        "both/",
        "both/.wh..wh..opq",
        "d/",
        "d/.wh.gone",
        "f",
        "o/",
        "o/.wh..wh..opq",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn whiteouts_delete_what_the_layers_below_have_and_nothing_of_their_own() {
    let target = TempDir::new().unwrap();
    run(
        "sh",
        &[
            "-ec",
            "mkdir -p d/sub o/old keep && touch d/gone d/stays d/sub/x o/old/x o/y f",
        ],
        target.path(),
    );
    let members = [
        file("d/.wh.gone", ""),
        file("d/.wh.sub", ""),
        file("d/sub/new", "x"),
        file("o/new", "x"),
        file("o/.wh..wh..opq", ""),
        file("o/after", "x"),
        file("f", "new"),
        file(".wh.f", ""),
        file("absent/.wh.x", ""),
    ];
    unpack_with(&archive(&members), target.path(), Whiteouts::Apply).unwrap();
    let names: Vec<String> = tree(target.path()).into_keys().collect();
    assert_eq!(
        names,
        [
            "",
            "d",
            "d/stays",
            "d/sub",
            "d/sub/new",
            "f",
            "keep",
            "o",
            "o/after",
            "o/new"
        ]
    );
    assert_eq!(std::fs::read(target.path().join("f")).unwrap(), b"new");
}

#[test]
fn owners_are_shifted_into_and_out_of_a_user_namespace() {
    let target = TempDir::new().unwrap();
    let mut member = file("a", "x");
    (member.0.uid, member.0.gid) = (33, 0);
    let options = UnpackOptions {
        owner_base: 0x1000_0000,
        ..UnpackOptions::layer(Whiteouts::Literal)
    };
    let root = std::fs::File::open(target.path()).unwrap();
    unpack(
        &archive(&[directory(".", 0o755), member])[..],
        root.as_fd(),
        &options,
    )
    .unwrap();
    let meta = target.path().join("a").metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid()), (0x1000_0021, 0x1000_0000));
    let options = PackOptions {
        owner_base: 0x1000_0000,
        whiteouts: Whiteouts::Literal,
        sparse: Sparse::Fill,
    };
    let mut bytes = Vec::new();
    pack(root.as_fd(), &mut bytes, &options).unwrap();
    let mut reader = TarReader::new(&bytes[..], Limits::LAYER);
    reader.next_entry().unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().uid, 33);
    std::os::unix::fs::chown(target.path().join("a"), Some(5), None).unwrap();
    // As the container sees it: nobody it knows.
    let mut bytes = Vec::new();
    pack(root.as_fd(), &mut bytes, &options).unwrap();
    let mut reader = TarReader::new(&bytes[..], Limits::LAYER);
    reader.next_entry().unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().uid, 65534);
}

#[test]
fn names_need_not_be_text() {
    let target = TempDir::new().unwrap();
    let mut member = file("a", "x");
    member.0.path = b"\xff\xfe".to_vec();
    unpack_with(&archive(&[member]), target.path(), Whiteouts::Overlay).unwrap();
    assert!(target.path().join(OsStr::from_bytes(b"\xff\xfe")).exists());
}

/// Old writers summed signed bytes.
#[test]
fn checksums_of_signed_bytes_are_read() {
    let mut bytes = archive(&[file("a", "x")]);
    bytes[0] = 0xff;
    bytes[148..156].fill(b' ');
    let sum: i64 = bytes[..512]
        .iter()
        .map(|&byte| i64::from(i8::from_ne_bytes([byte])))
        .sum();
    for (off, is_read) in [(0, true), (1, false), (-1, false), (256, true), (512, false)] {
        bytes[148..156].copy_from_slice(format!("{:06o}\0 ", sum + off).as_bytes());
        assert_eq!(inspect(&bytes[..], &Limits::LAYER).is_ok(), is_read, "{off}");
    }
}
