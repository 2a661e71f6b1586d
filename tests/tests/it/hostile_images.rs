//! Images and archives as a stranger makes them, by every road that there is (import, load), and what containers can
//! do to the data root. The parsers' own corpus is in crates/archive and crates/image.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use archive::{Entry, EntryKind, TarWriter};
use testkit::Daemon;

use crate::{probe, wire};

/// A member of an archive.
type Member = (Entry, Vec<u8>);

fn file(path: &str, content: &str) -> Member {
    let mut entry = Entry::new(path, EntryKind::File, 0o644);
    entry.size = content.len() as u64;
    (entry, content.into())
}

fn with_mode(mut member: Member, mode: u32) -> Member {
    member.0.mode = mode;
    member
}

fn directory(path: &str) -> Member {
    (Entry::new(path, EntryKind::Directory, 0o755), Vec::new())
}

fn link(kind: EntryKind, path: &str, target: &str) -> Member {
    let mut entry = Entry::new(path, kind, 0o777);
    entry.link = target.into();
    (entry, Vec::new())
}

fn symlink(path: &str, target: &str) -> Member {
    link(EntryKind::Symlink, path, target)
}

fn hard_link(path: &str, target: &str) -> Member {
    link(EntryKind::HardLink, path, target)
}

fn device(path: &str, numbers: (u32, u32)) -> Member {
    let mut entry = Entry::new(path, EntryKind::CharDevice, 0o666);
    entry.device = numbers;
    (entry, Vec::new())
}

fn with_attribute(mut member: Member, name: &str, value: &[u8]) -> Member {
    member.0.xattrs.push((name.into(), value.into()));
    member
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, content) in members {
        writer
            .append(entry, &mut &content[..])
            .expect("a Vec takes everything");
    }
    writer.finish().expect("a Vec takes everything")
}

/// A docker-archive of one image `name` with these layers.
fn docker_archive(name: &str, layers: &[Vec<u8>], config: &str) -> Vec<u8> {
    let digests: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", oci::Digest::sha256(layer)))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        digests.join(",")
    );
    let names: Vec<String> = (0..layers.len())
        .map(|index| format!("\"{index}/layer.tar\""))
        .collect();
    let manifest = format!(
        r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":[{}]}}]"#,
        names.join(",")
    );
    let mut members: Vec<Member> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let mut entry = Entry::new(format!("{index}/layer.tar"), EntryKind::File, 0o644);
        entry.size = layer.len() as u64;
        members.push((entry, layer.clone()));
    }
    members.push(file("config.json", &config));
    members.push(file("manifest.json", &manifest));
    tar(&members)
}

/// Everything below `root` that a hostile archive could have changed: kind, mode, owner, size, time, link, content.
fn listing(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    listing_with(root, |time| time)
}

/// The same of a layer. Its archive's members are of the time 0; a directory that no member speaks of is made now,
/// which differs from one road to the next.
fn listing_of_layer(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    listing_with(root, |time| i64::from(time > 0))
}

fn listing_with(root: &Path, time_of: fn(i64) -> i64) -> Result<BTreeMap<PathBuf, String>> {
    fn walk(
        root: &Path,
        path: &Path,
        time_of: fn(i64) -> i64,
        found: &mut BTreeMap<PathBuf, String>,
    ) -> Result<()> {
        let meta = std::fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            std::fs::read_link(path)?.display().to_string()
        } else if kind.is_file() {
            format!("{:?}", std::fs::read(path)?)
        } else {
            format!("{}", meta.rdev())
        };
        let time = if path == root { 0 } else { time_of(meta.mtime()) };
        let line = format!(
            "{:o} {}:{} {} {time} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink()
        );
        found.insert(path.strip_prefix(root)?.to_owned(), line);
        if kind.is_dir() {
            for entry in std::fs::read_dir(path)? {
                walk(root, &entry?.path(), time_of, found)?;
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    walk(root, root, time_of, &mut found)?;
    Ok(found)
}

/// The one unpacked layer of the data root, if there is one.
fn layer(daemon: &Daemon) -> Result<Option<PathBuf>> {
    let layers = daemon.place().data_root().join("layers/overlay/layers");
    let all: Vec<_> = std::fs::read_dir(layers)?.collect::<std::io::Result<_>>()?;
    assert!(all.len() <= 1, "{all:?}");
    Ok(all.first().map(|entry| entry.path().join("diff")))
}

/// A world outside that nothing may touch.
fn canary(daemon: &Daemon) -> Result<PathBuf> {
    let canary = daemon.directory().join("canary");
    std::fs::create_dir_all(canary.join("sub"))?;
    testkit::image::put(&canary.join("file"), "canary\n")?;
    testkit::image::put(&canary.join("sub/secret"), "canary\n")?;
    std::fs::set_permissions(canary.join("sub/secret"), PermissionsExt::from_mode(0o600))?;
    std::os::unix::fs::symlink("file", canary.join("link"))?;
    Ok(canary)
}

/// ST-01 by both roads: nothing outside changes, and the same archive has the same fate and the same tree by each.
/// GNU tar 1.34 with `-P` writes "link then write" through the link (tried); without `-P` it refuses the second member.
#[test]
fn st_01_the_same_tree_by_every_road() -> Result<()> {
    let daemon = Daemon::start()?;
    let canary = canary(&daemon)?;
    let before = listing(&canary)?;
    let out = canary.display().to_string();
    let up = format!("{}{out}", "../".repeat(20).trim_end_matches('/'));
    let outfile = format!("{out}/file");
    let long_name = "n".repeat(4000);
    let cases: Vec<(&str, Vec<Member>)> = vec![
        (
            "honest",
            vec![
                directory("a"),
                file("a/b", "x"),
                symlink("l", "a/b"),
                hard_link("h", "a/b"),
            ],
        ),
        ("absolute", vec![file(&outfile, "x")]),
        ("climbing", vec![file(&format!("{up}/file"), "x")]),
        ("climbing inside", vec![directory("a"), file("a/../../../x", "x")]),
        ("link then write", vec![symlink("a", &out), file("a/file", "x")]),
        (
            "relative link then write",
            vec![symlink("a", &up), file("a/file", "x")],
        ),
        (
            "link chain",
            vec![
                symlink("a", &out),
                symlink("b", "a"),
                symlink("c", "b/sub"),
                file("c/new", "x"),
            ],
        ),
        (
            "link then directory",
            vec![symlink("a", &out), directory("a/made")],
        ),
        (
            "link replaced by directory",
            vec![symlink("a", &out), directory("a"), file("a/file", "x")],
        ),
        (
            "directory then chmod by link",
            vec![
                directory("a"),
                symlink("a", &out),
                with_mode(directory("a/sub"), 0o777),
            ],
        ),
        (
            "link over which a file comes",
            vec![symlink("a", &outfile), file("a", "x")],
        ),
        (
            "file mode through link",
            vec![symlink("a", &outfile), with_mode(file("a", "x"), 0o4777)],
        ),
        ("hard link out", vec![hard_link("a", &outfile), file("a", "x")]),
        (
            "hard link up",
            vec![hard_link("a", &format!("{up}/file")), file("a", "x")],
        ),
        (
            "hard link through link",
            vec![symlink("d", &out), hard_link("a", "d/sub/secret")],
        ),
        (
            "hard link to link",
            vec![symlink("l", &outfile), hard_link("a", "l"), file("a", "x")],
        ),
        ("hard link to itself", vec![hard_link("a", "a")]),
        (
            "hard link to a directory",
            vec![directory("d"), hard_link("a", "d")],
        ),
        ("dangling hard link", vec![hard_link("a", "nowhere")]),
        ("root is a link", vec![symlink(".", &out), file("file", "x")]),
        (
            "root is a link with a slash",
            vec![symlink("./", &out), file("file", "x")],
        ),
        ("root is a file", vec![file(".", "x")]),
        ("empty name", vec![file("", "x")]),
        (
            "whiteout through link",
            vec![symlink("a", &out), file("a/.wh.file", "")],
        ),
        (
            "opaque on link",
            vec![symlink("a", &out), file("a/.wh..wh..opq", "")],
        ),
        (
            "whiteout of dots",
            vec![directory("a"), file("a/.wh...", ""), file("a/.wh..", "")],
        ),
        ("whiteout without a name", vec![file(".wh.", "")]),
        ("whiteout with a slash", vec![file(".wh.a/../../x", "")]),
        ("whiteout of the root", vec![file(".wh..wh..opq", "")]),
        (
            "whiteout link",
            vec![symlink(".wh.a", &out), hard_link(".wh.b", &outfile)],
        ),
        ("device", vec![device("sda", (8, 0)), device("null", (1, 3))]),
        ("whiteout device", vec![device("gone", (0, 0))]),
        ("setuid", vec![with_mode(file("su", "x"), 0o6755)]),
        (
            "newline and escape",
            vec![file("a\nb", "x"), file("c\x1b[2J", "x")],
        ),
        ("very long name", vec![file(&long_name, "x")]),
        ("very long target", vec![symlink("a", &"t/".repeat(3000))]),
        ("very deep", vec![file(&("d/".repeat(2000) + "f"), "x")]),
        ("twice", vec![file("a", "first"), file("a", "second")]),
        (
            "file for directory",
            vec![directory("a"), file("a/b", "x"), file("a", "y")],
        ),
        (
            "directory for file",
            vec![file("a", "x"), directory("a"), file("a/b", "y")],
        ),
        ("below a file", vec![file("a", "x"), file("a/b", "y")]),
        (
            "hard link to what is replaced",
            vec![file("a", "x"), hard_link("b", "a"), file("a", "z")],
        ),
        (
            "overlay's own",
            vec![
                with_attribute(directory("a"), "trusted.overlay.opaque", b"y"),
                with_attribute(file("b", "x"), "trusted.overlay.redirect", b"/etc"),
                with_attribute(file("m", ""), "trusted.overlay.metacopy", b""),
            ],
        ),
        (
            "overlay's own of users",
            vec![with_attribute(file("b", "x"), "user.overlay.redirect", b"/etc")],
        ),
        (
            "capability",
            vec![with_attribute(
                file("c", "x"),
                "security.capability",
                b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            )],
        ),
        (
            "label",
            vec![
                with_attribute(file("c", "x"), "security.ima", b"\x01x"),
                with_attribute(file("d", "x"), "security.selinux", b"x"),
            ],
        ),
        (
            "proc",
            vec![symlink("proc", "/proc"), file("proc/self/oom_score_adj", "1000")],
        ),
        (
            "own data root",
            vec![
                symlink("a", &daemon.place().data_root().display().to_string()),
                file("a/state.db", "x"),
            ],
        ),
    ];
    let (mut refused, mut kept) = (0, 0);
    for (name, members) in cases {
        let bytes = tar(&members);
        let roads = [
            (
                "import",
                "/v1.50/images/create?fromSrc=-&repo=hostile&tag=x",
                bytes.clone(),
            ),
            (
                "load",
                "/v1.50/images/load",
                docker_archive("hostile:x", &[bytes], "{}"),
            ),
        ];
        let mut fates = Vec::new();
        for (road, path, body) in roads {
            let (status, answer) = wire::post(&daemon, path, "application/x-tar", &body)?;
            assert!((200..500).contains(&status), "{name} by {road}: {answer}");
            assert_eq!(
                listing(&canary)?,
                before,
                "{name} by {road} changed the world outside"
            );
            let tree = layer(&daemon)?.map(|path| listing_of_layer(&path)).transpose()?;
            // An answer that has begun can only tell of a failure in its stream.
            let is_accepted = status == 200 && !answer.contains("errorDetail");
            assert_eq!(
                is_accepted,
                tree.is_some(),
                "{name} by {road}: half an image: {answer}"
            );
            if let Some(tree) = &tree {
                for line in tree.values() {
                    assert!(!line.contains("canary\\n"), "{name} by {road}: {line}");
                }
                daemon.ok(&["rmi", "-f", "hostile:x"])?;
            }
            testkit::until("the layer to be gone", Duration::from_secs(5), || {
                Ok(layer(&daemon)?.is_none())
            })?;
            fates.push(tree);
        }
        assert_eq!(fates[0], fates[1], "{name}: not the same by import and by load");
        if fates[0].is_some() {
            kept += 1;
        } else {
            refused += 1;
        }
    }
    assert!(refused > 10 && kept > 10, "{refused} refused, {kept} kept");
    daemon.finish()
}

/// ST-02: what a layer says in overlay's own attributes has no effect in a container.
#[test]
fn st_02_overlays_own_attributes_have_no_effect() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let base = std::fs::read(daemon.directory().join("busybox.tar"))?;
    let evil = tar(&[
        with_attribute(directory("etc"), "trusted.overlay.opaque", b"y"),
        with_attribute(directory("moved"), "trusted.overlay.redirect", b"/etc"),
        with_attribute(file("meta", ""), "trusted.overlay.metacopy", b""),
        with_attribute(
            with_attribute(file("meta2", ""), "trusted.overlay.metacopy", b""),
            "trusted.overlay.redirect",
            b"/etc/passwd",
        ),
        with_attribute(directory("users"), "user.overlay.opaque", b"y"),
        with_attribute(directory("escaped"), "trusted.overlay.overlay.redirect", b"/etc"),
    ]);
    let archive = docker_archive("evil:x", &[base, evil], r#"{"Cmd":["sh"],"Env":["PATH=/bin"]}"#);
    let (status, answer) = wire::post(&daemon, "/v1.50/images/load", "application/x-tar", &archive)?;
    if status == 200 {
        let program =
            "cat /etc/passwd | wc -l; ls -A /moved /users /escaped | grep -v :; cat /meta /meta2; echo end";
        let text = daemon.ok(&["run", "--rm", "evil:x", "sh", "-c", program])?;
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["3", "end"],
            "{text}"
        );
    } else {
        assert_eq!(status, 400, "{answer}");
    }
    daemon.finish()
}

fn gzip(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<Vec<u8>> {
    // Fast and good enough: zeros pack by a factor of a thousand.
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("stdin")?;
    let output = std::thread::spawn(move || child.wait_with_output());
    write(&mut input)?;
    drop(input);
    let packed = output.join().map_err(|_panic| anyhow::anyhow!("gzip"))??;
    Ok(packed.stdout)
}

fn disk(path: &Path) -> Result<u64> {
    let mut du = std::process::Command::new("du");
    du.arg("-sk").arg(path);
    let text = testkit::command::run(&mut du, b"")?.stdout;
    Ok(text.split_whitespace().next().unwrap_or("0").parse()?)
}

/// ST-03: bombs cost the daemon no memory, and what they cost on the disk comes back.
#[test]
fn st_03_bombs_do_not_fill_the_daemon() -> Result<()> {
    let daemon = Daemon::start()?;
    let empty = disk(&daemon.place().data_root())?;
    let many = tar(&(0..12_000)
        .map(|index| file(&format!("f{index}"), ""))
        .collect::<Vec<_>>());
    let opaque = tar(&(0..10_000)
        .map(|index| file(&format!("d{}/.wh..wh..opq", index % 50), ""))
        .collect::<Vec<_>>());
    let links = tar(&(0..8_000)
        .map(|index| symlink(&format!("l{index}"), "x"))
        .collect::<Vec<_>>());
    let zeros = |size: u64| {
        move |output: &mut dyn Write| {
            let mut entry = Entry::new("zeros", EntryKind::File, 0o644);
            entry.size = size;
            let mut writer = TarWriter::new(output);
            writer.append(&entry, &mut std::io::Read::take(std::io::repeat(0), size))?;
            writer.finish().map(drop)
        }
    };
    let packed = gzip(zeros(128 << 20))?;
    let mut document = String::from("[");
    document.push_str(&"{},".repeat(8 << 20));
    let endless_manifest = tar(&[file("manifest.json", &document)]);
    let deep_manifest = tar(&[file("manifest.json", &"[".repeat(1 << 20))]);
    let layers = format!(
        r#"[{{"Config":"c","RepoTags":["a:b"],"Layers":[{}]}}]"#,
        vec!["\"l\""; 10_000].join(",")
    );
    let layered = tar(&[file("l", ""), file("c", "{}"), file("manifest.json", &layers)]);
    // A claim of 1 TiB with nothing behind it.
    let mut claim = tar(&[file("a", "x")]);
    claim[124..136].copy_from_slice(b"\x80\0\0\0\0\0\x01\0\0\0\0\0");
    let sum: u32 = claim[..148]
        .iter()
        .chain(&claim[156..512])
        .map(|&byte| u32::from(byte))
        .sum::<u32>()
        + 8 * 32;
    claim[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (name, road, body) in [
        ("many files", "create", &many),
        ("many opaque directories", "create", &opaque),
        ("many links", "create", &links),
        ("packed zeros", "create", &packed),
        ("endless manifest", "load", &endless_manifest),
        ("deep manifest", "load", &deep_manifest),
        ("ten thousand layers", "load", &layered),
        ("a claim", "create", &claim),
        ("a claim", "load", &claim),
    ] {
        let path = if road == "load" {
            "/v1.50/images/load"
        } else {
            "/v1.50/images/create?fromSrc=-&repo=bomb&tag=x"
        };
        let start = std::time::Instant::now();
        let (status, answer) = wire::post(&daemon, path, "application/x-tar", body)?;
        assert!((200..500).contains(&status), "{name}: {answer}");
        assert!(
            start.elapsed() < Duration::from_secs(45),
            "{name} took {:?}",
            start.elapsed()
        );
        if status == 200 {
            daemon.ok(&["rmi", "-f", "bomb:x"])?;
        }
        let peak = wire::memory(&daemon, "VmHWM")?;
        assert!(peak < 256 << 10, "{name}: the daemon took {peak} KiB");
    }
    testkit::until("the disk to be given back", Duration::from_secs(20), || {
        Ok(disk(&daemon.place().data_root())? < empty + 4096)
    })?;
    // A client that goes away in the middle of an endless archive.
    let mut stream = wire::connect(&daemon)?;
    stream.write_all(b"POST /v1.50/images/create?fromSrc=-&repo=bomb&tag=x HTTP/1.1\r\nHost: berth\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let mut start = tar(&[file("big", "")]);
    start.truncate(512);
    start[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x10\0\0\0\0");
    let sum: u32 = start[..148]
        .iter()
        .chain(&start[156..512])
        .map(|&byte| u32::from(byte))
        .sum::<u32>()
        + 8 * 32;
    start[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    write!(stream, "200\r\n")?;
    stream.write_all(&start)?;
    stream.write_all(b"\r\n")?;
    for _ in 0..32 {
        write!(stream, "100000\r\n")?;
        stream.write_all(&vec![7; 1 << 20])?;
        stream.write_all(b"\r\n")?;
    }
    drop(stream);
    testkit::until(
        "what a gone client sent to be removed",
        Duration::from_secs(10),
        || Ok(disk(&daemon.place().data_root())? < empty + 4096),
    )?;
    daemon.finish()
}

/// Runs a shell line as nobody and returns what it printed.
fn as_nobody(uid: &str, program: &str) -> Result<String> {
    let mut command = std::process::Command::new("setpriv");
    command.args([
        "--reuid",
        uid,
        "--regid",
        uid,
        "--clear-groups",
        "sh",
        "-c",
        program,
    ]);
    Ok(testkit::command::run(&mut command, b"")?.stdout)
}

/// ST-04 and ST-05: another user, and a container's root as it is seen outside, find nothing to read, run or change
/// (CVE-2021-41091, CVE-2024-25621, CVE-2021-21284).
#[test]
fn st_04_st_05_other_users_reach_nothing() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    // The test's own directory is private too; that must not be what protects.
    std::fs::set_permissions(daemon.directory(), PermissionsExt::from_mode(0o755))?;
    daemon.ok(&["volume", "create", "shared"])?;
    let program = "cp /bin/busybox /v/su; chmod 4755 /v/su; cp /bin/busybox /su; chmod 6755 /su; chmod 777 /v; sleep 1000";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-v",
        "shared:/v",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    testkit::until("the setuid file", Duration::from_secs(10), || {
        Ok(daemon.berth(&["exec", "c1", "test", "-u", "/su"])?.code == 0)
    })?;
    let map = daemon.ok(&["exec", "c1", "cat", "/proc/self/uid_map"])?;
    let base: u32 = map.split_whitespace().nth(1).context("map")?.parse()?;
    let roots = format!(
        "{} {}",
        daemon.place().data_root().display(),
        daemon.place().exec_root().display()
    );
    for uid in ["65534", &base.to_string()] {
        let seen = as_nobody(
            uid,
            &format!("find {roots} -mindepth 1 2>/dev/null | grep -v '/run$' | head"),
        )?;
        let below: Vec<_> = seen
            .lines()
            .filter(|line| line.matches('/').count() > 4)
            .collect();
        assert!(below.is_empty(), "uid {uid} sees {below:?}");
        let written = as_nobody(
            uid,
            &format!(
                "find {roots} {} -writable -not -type l 2>/dev/null | head",
                daemon.place().socket().display()
            ),
        )?;
        assert_eq!(written, "", "uid {uid} may write");
        let direct = daemon.place().data_root().join("volumes/shared/_data/su");
        assert_eq!(
            as_nobody(uid, &format!("{} id -u 2>/dev/null", direct.display()))?,
            ""
        );
    }
    // Inside: what belongs to the container's ids is its own snapshot and volumes, nothing that the daemon reads.
    let mut find = std::process::Command::new("find");
    find.arg(daemon.place().data_root())
        .args(["-uid", &format!("+{}", base - 1), "-printf", "%P\n"]);
    for path in testkit::command::run(&mut find, b"")?.stdout.lines() {
        let own = path.contains("/snapshots/")
            || path.contains("/spare/")
            || path.starts_with("volumes/")
            || path.starts_with("containers/");
        assert!(own, "{path} belongs to a container");
    }
    for file in ["state.db", "content/index.json"] {
        assert_eq!(std::fs::metadata(daemon.place().data_root().join(file))?.uid(), 0);
    }
    daemon.finish()
}

/// ST-06: what is removed is swapped for a link to the outside meanwhile (RUSTSEC-2023-0018).
#[test]
fn st_06_removal_does_not_follow_links() -> Result<()> {
    let daemon = probe::daemon()?;
    let canary = canary(&daemon)?;
    let before = listing(&canary)?;
    let prepare = format!(
        "mkdir -p /v/t/a/b; i=0; while [ $i -lt 60 ]; do mkdir -p /v/t/d$i/e /v/t/a/b/$i; echo x > /v/t/d$i/e/f; i=$((i+1)); done; ln -s {} /v/t/out; ln -s {} /v/t/a/out",
        canary.display(),
        canary.display()
    );
    for round in 0..25 {
        let name = format!("c{round}");
        daemon.ok(&[
            "run", "--name", &name, "-v", "/v", "busybox", "sh", "-c", &prepare,
        ])?;
        // The attacker stands outside, where a second container with the same files would be.
        let volume = daemon.inspect(&name, "{{range .Mounts}}{{.Source}}{{end}}")?;
        let end = daemon.directory().join(format!("end{round}"));
        let mut attackers = Vec::new();
        for (a, b) in [("t/d30", "t/out"), ("t/a/b", "t/a/out")] {
            let mut swap = std::process::Command::new(probe::program()?);
            swap.arg("swap")
                .arg(Path::new(&volume).join(a))
                .arg(Path::new(&volume).join(b))
                .arg(&end)
                .stdout(std::process::Stdio::null());
            attackers.push(swap.spawn()?);
        }
        let removed = daemon.berth(&["rm", "-v", &name]);
        testkit::image::put(&end, "")?;
        for mut attacker in attackers {
            attacker.wait()?;
        }
        removed?;
        assert_eq!(listing(&canary)?, before, "round {round}");
    }
    assert!(canary.join("sub/secret").exists());
    daemon.finish()
}

/// IM-06: what an image says of itself changes no setting of the sandbox and starts nothing on the host
/// (CVE-2014-6408, CVE-2026-53488, CVE-2026-94603).
#[test]
fn im_06_images_do_not_choose_their_sandbox() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let layer = std::fs::read(daemon.directory().join("busybox.tar"))?;
    let mark = daemon.directory().join("mark");
    let keys = [
        "io.kubernetes.cri-o.Devices",
        "io.containers.autoupdate",
        "io.podman.annotations.privileged",
        "io.podman.annotations.seccomp",
        "io.podman.annotations.userns",
        "io.podman.annotations.label",
        "run.oci.keep_original_groups",
        "run.oci.handler",
        "run.oci.hooks.stdout",
        "run.oci.systemd.subgroup",
        "run.oci.seccomp_bpf_file",
        "run.oci.delegate-cgroup",
        "run.oci.mount_context_type",
        "run.oci.timens_offset",
        "org.systemd.property.ExecStartPre",
        "org.criu.config",
        "io.containers.trace-syscall",
        "krun.config",
        "nerdctl/log-uri",
        "containerd.io/restart.loguri",
        "io.kubernetes.cri-o.seccompNotifierAction",
        "io.container.checkpoint",
        "io.kubernetes.cri-o.annotations.checkpoint.name",
        "org.opencontainers.image.stopSignal",
        "berth.privileged",
        "berth.security",
        "seccomp",
        "apparmor",
        "com.docker.security.apparmor",
        "userns",
        "cgroup-parent",
        "devices",
        "HostConfig",
        "io.katacontainers.config.hypervisor.path",
    ];
    let labels: Vec<String> = keys
        .iter()
        .map(|key| format!("\"{key}\":\"binary:///bin/sh?-c=touch {}\"", mark.display()))
        .collect();
    let config = format!(
        r#"{{"Cmd":["sh"],"Env":["PATH=/bin","LD_PRELOAD=/evil.so","BERTH_FAILPOINT=start.spawn","BERTH_HOST=unix:///x","DOCKER_HOST=unix:///x","NOTIFY_SOCKET=/x","LISTEN_FDS=3","LD_LIBRARY_PATH=/x","GCONV_PATH=/x"],
        "Labels":{{{}}},"StopSignal":"SIGCONT","OnBuild":["RUN touch {mark}"],"ArgsEscaped":true,
        "Healthcheck":{{"Test":["CMD-SHELL","touch {mark}"],"Interval":1000000000}},
        "HostConfig":{{"Privileged":true,"Binds":["/:/host"]}},"Privileged":true,"SecurityOpt":["seccomp=unconfined"],"CapAdd":["ALL"],"NetworkDisabled":false,"MacAddress":"00:11:22:33:44:55"}}"#,
        labels.join(","),
        mark = mark.display()
    );
    let archive = docker_archive("evil:x", &[layer], &config);
    let (status, answer) = wire::post(&daemon, "/v1.50/images/load", "application/x-tar", &archive)?;
    assert_eq!(status, 200, "{answer}");
    let looks = |image: &str| -> Result<(String, String)> {
        let name = format!("c-{}", image.replace(':', "-"));
        // A health check of the image may be refused where it is not supported: then it is turned off by name.
        let program = "grep -E 'Cap|Seccomp:|NoNewPrivs|Groups' /proc/self/status; cut -d' ' -f5,6 /proc/self/mountinfo; ls /dev; ulimit -a; cat /proc/self/oom_score_adj";
        daemon.ok(&[
            "create",
            "--name",
            &name,
            "--no-healthcheck",
            image,
            "sh",
            "-c",
            program,
        ])?;
        let host = daemon.inspect(&name, "{{json .HostConfig}}")?;
        let output = daemon.ok(&["start", "-a", &name])?;
        daemon.ok(&["rm", "-f", &name])?;
        // The kernel lists mounts that were made side by side in any order.
        let mut lines: Vec<_> = output.lines().collect();
        lines.sort_unstable();
        Ok((host, lines.join("\n")))
    };
    let (plain, evil) = (looks("busybox")?, looks("evil:x")?);
    assert_eq!(plain, evil);
    assert!(!mark.exists(), "something of the image ran on the host");
    daemon.finish()
}

/// IM-07 and VO-02: an image's VOLUME and WORKDIR with dots and links stay inside, copying into a new volume reads
/// nothing of the host (CVE-2022-23648, CVE-2026-55686) and never fills a volume that has content (CVE-2020-1726).
#[test]
fn im_07_vo_02_volumes_and_working_directories_stay_inside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let canary = canary(&daemon)?;
    let before = listing(&canary)?;
    let base = std::fs::read(daemon.directory().join("busybox.tar"))?;
    let out = canary.display().to_string();
    let up = format!("{}{out}", "../".repeat(20).trim_end_matches('/'));
    let links = tar(&[
        symlink("absolute", &out),
        symlink("climbing", &up),
        symlink("secret", &format!("{out}/sub")),
        directory("data"),
        symlink("data/inner", &format!("{out}/file")),
        with_mode(file("data/kept", "kept\n"), 0o640),
    ]);
    let (mut ran, mut refused) = (0, 0);
    for place in [
        "/absolute",
        "/climbing",
        "/secret",
        "/absolute/new",
        "/climbing/new/deep",
        "/a/../../../../../../../../etc",
        &up,
        &format!("/{up}"),
        "/proc",
        "/proc/1/root",
        "/",
        "/..",
        "/data/inner",
        "/data/inner/x",
        "relative/../../..",
        "/dev/fd/3",
    ] {
        for config in [
            format!(r#"{{"Cmd":["sh"],"Env":["PATH=/bin"],"Volumes":{{"{place}":{{}}}}}}"#),
            format!(r#"{{"Cmd":["sh"],"Env":["PATH=/bin"],"WorkingDir":"{place}"}}"#),
        ] {
            let archive = docker_archive("evil:x", &[base.clone(), links.clone()], &config);
            let (status, answer) = wire::post(&daemon, "/v1.50/images/load", "application/x-tar", &archive)?;
            assert!(status == 200 || status == 400, "{config}: {answer}");
            let output = daemon.berth(&["run", "--rm", "evil:x", "sh", "-c", "find / -xdev -name secret -type f; grep -rs canary /absolute /climbing /secret /data /etc/passwd 2>/dev/null; true"])?;
            if output.code == 0 {
                ran += 1;
            } else {
                refused += 1;
            }
            assert!(
                !output.stdout.contains("canary\n") && !output.stdout.contains("secret"),
                "{config}: {output:?}"
            );
            assert_eq!(listing(&canary)?, before, "{config}");
        }
    }
    assert!(ran > 5, "{ran} ran, {refused} refused");
    // Copy-up: owner, mode and links as they are in the image; not again, and not over what is there.
    let archive = docker_archive("evil:x", &[base, links], r#"{"Cmd":["sh"],"Env":["PATH=/bin"]}"#);
    wire::post(&daemon, "/v1.50/images/load", "application/x-tar", &archive)?;
    let look =
        "stat -c '%a %u' /data/kept; readlink /data/inner; cat /data/inner 2>/dev/null; cat /data/kept";
    let text = daemon.ok(&["run", "--rm", "-v", "new:/data", "evil:x", "sh", "-c", look])?;
    assert_eq!(text, format!("640 0\n{out}/file\nkept"));
    daemon.ok(&[
        "run",
        "--rm",
        "-v",
        "new:/v",
        "busybox",
        "sh",
        "-c",
        "rm -rf /v/*; echo mine > /v/mine",
    ])?;
    let text = daemon.ok(&["run", "--rm", "-v", "new:/data", "evil:x", "ls", "-A", "/data"])?;
    assert_eq!(text, "mine", "a volume with content was filled again");
    let hollow = "nocopy:/data:nocopy";
    let output = daemon.berth(&["run", "--rm", "-v", hollow, "evil:x", "ls", "-A", "/data"])?;
    assert!(output.code != 0 || output.stdout.is_empty(), "{output:?}");
    daemon.finish()
}

/// IM-01, IM-02, IM-05 by the road of load: mutated archives are refused or honest, and never a panic.
#[test]
fn im_01_im_02_mutated_archives() -> Result<()> {
    let daemon = Daemon::start()?;
    let layer = tar(&[file("a", "content")]);
    let whole = docker_archive("m:x", &[layer], r#"{"Cmd":["x"]}"#);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap_or(0)
    };
    let mut accepted = 0;
    for round in 0..400 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => bytes.truncate(next(whole.len())),
            1 => {
                let at = next(whole.len());
                bytes[at] ^= 1 << next(8);
            }
            2 => {
                let (from, to) = (next(whole.len() / 512) * 512, next(whole.len() / 512) * 512);
                bytes.copy_within(from..from + 512, to);
            }
            _ => {
                let at = next(whole.len());
                let count = 1 + next(64);
                for byte in bytes.iter_mut().skip(at).take(count) {
                    *byte = u8::try_from(next(256)).unwrap_or(0);
                }
            }
        }
        let (status, answer) = wire::post(&daemon, "/v1.50/images/load", "application/x-tar", &bytes)?;
        assert!((200..500).contains(&status), "round {round}: {answer}");
        if status == 200 && !answer.contains("errorDetail") {
            accepted += 1;
            // What was accepted is what its digests say: the layer's bytes are those of its id.
            assert!(answer.contains("Loaded image"), "round {round}: {answer}");
            if let Some(tree) = layer_of(&daemon)? {
                assert_eq!(
                    tree, "content",
                    "round {round}: another content under the same digest"
                );
            }
            daemon.berth(&["image", "prune", "-a", "-f"])?;
        }
    }
    assert!(accepted < 300, "{accepted} of 400 mutated archives were accepted");
    assert!(!daemon.log_tail().contains("panicked"), "{}", daemon.log_tail());
    daemon.finish()
}

fn layer_of(daemon: &Daemon) -> Result<Option<String>> {
    match layer(daemon)? {
        Some(path) if path.join("a").is_file() => Ok(Some(std::fs::read_to_string(path.join("a"))?)),
        _ => Ok(None),
    }
}
