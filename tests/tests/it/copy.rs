//! `cp`, in both directions, of running and stopped containers, and against containers that fight it (CP-01 to CP-05).

use std::path::Path;

use anyhow::{Context, Result};
use testkit::{Daemon, command};

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

/// In and out, under docker's rules for names and slashes; running or not makes no difference.
#[test]
fn files_go_in_and_out() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    std::fs::create_dir_all(place.join("tree/sub"))?;
    testkit::image::put(&place.join("tree/sub/file"), "hello")?;
    std::os::unix::fs::symlink("sub/file", place.join("tree/link"))?;
    let tree = place.join("tree");
    let tree = text(&tree)?;
    let script = "echo in > /made; ln -s /made /link; sleep 1000";
    daemon.ok(&["run", "-d", "--name", "running", "busybox", "sh", "-c", script])?;
    daemon.ok(&[
        "create",
        "--name",
        "stopped",
        "busybox",
        "sh",
        "-c",
        "cat /etc/tree/link /new/sub/file; stat -c '%u:%g' /etc/tree/sub/file",
    ])?;
    for name in ["running", "stopped"] {
        let to = |path: &str| format!("{name}:{path}");
        daemon.ok(&["cp", tree, &to("/etc")])?;
        daemon.ok(&["cp", tree, &to("/new")])?;
        daemon.ok(&["cp", &format!("{tree}/."), &to("/home")])?;
        let out = place.join(format!("out-{name}"));
        daemon.ok(&["cp", &to("/etc/tree"), text(&out)?])?;
        assert_eq!(std::fs::read_to_string(out.join("link"))?, "hello");
        let one = place.join(format!("one-{name}"));
        daemon.ok(&["cp", &to("/home/sub/file"), text(&one)?])?;
        assert_eq!(std::fs::read_to_string(&one)?, "hello");
        daemon.ok(&["cp", "-L", &to("/home/link"), text(&one)?])?;
        assert!(one.symlink_metadata()?.is_file());
        let tar = daemon.berth(&["cp", &to("/new/."), "-"])?.expect(0)?;
        assert!(tar.stdout.contains("./sub/file"));
        for (arguments, message) in [
            (
                [to("/nope"), text(&one)?.to_owned()],
                format!("Could not find the file /nope in container {name}"),
            ),
            (
                [to("/etc"), text(&one)?.to_owned()],
                "cannot copy directory".to_owned(),
            ),
            (
                [text(&one)?.to_owned(), to("/nope/x")],
                format!("Could not find the file /nope in container {name}"),
            ),
            (
                [text(&one)?.to_owned(), to("/nope/")],
                "no such directory".to_owned(),
            ),
            (
                [text(&one)?.to_owned(), to("/etc/group/x")],
                "not a directory".to_owned(),
            ),
            (
                [format!("{tree}/nope"), to("/")],
                "no such file or directory".to_owned(),
            ),
        ] {
            let output = daemon.berth(&["cp", &arguments[0], &arguments[1]])?.expect(1)?;
            assert!(
                output.stderr.contains(&message),
                "{arguments:?}: {}",
                output.stderr
            );
        }
    }
    assert_eq!(daemon.ok(&["exec", "running", "cat", "/new/link"])?, "hello");
    daemon
        .ok(&["start", "-a", "stopped"])
        .map(|seen| assert_eq!(seen, "hellohello0:0"))?;
    daemon.finish()
}

/// Volumes and binds are seen as the container sees them, and read-only ones stay so.
#[test]
fn mounts_are_seen_and_kept() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    std::fs::create_dir(place.join("bind"))?;
    testkit::image::put(&place.join("bind/host"), "of the host")?;
    testkit::image::put(&place.join("own"), "mine")?;
    let (bind, own) = (place.join("bind"), place.join("own"));
    let (bind, own) = (text(&bind)?, text(&own)?);
    let mounts = [
        "-v",
        "data:/data",
        "-v",
        &format!("{bind}:/bind"),
        "-v",
        &format!("{bind}:/ro:ro"),
    ];
    for (name, start) in [("running", true), ("stopped", false)] {
        let verb: &[&str] = if start { &["run", "-d"] } else { &["create"] };
        daemon.ok(&[verb, &["--name", name], &mounts, &["busybox", "sleep", "1000"]].concat())?;
        let to = |path: &str| format!("{name}:{path}");
        daemon.ok(&["cp", own, &to("/data/file")])?;
        daemon.ok(&["cp", own, &to(&format!("/bind/{name}"))])?;
        assert_eq!(std::fs::read_to_string(place.join("bind").join(name))?, "mine");
        let out = place.join(format!("{name}-out"));
        daemon.ok(&["cp", &to("/ro/host"), text(&out)?])?;
        assert_eq!(std::fs::read_to_string(&out)?, "of the host");
        let refused = daemon.berth(&["cp", own, &to("/ro/x")])?.expect(1)?;
        assert!(
            refused.stderr.contains("mounted volume is marked read-only"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(
        daemon.ok(&["exec", "running", "stat", "-c", "%u", "/data/file"])?,
        "0"
    );
    daemon.ok(&["create", "--name", "ro", "--read-only", "busybox"])?;
    let refused = daemon.berth(&["cp", own, "ro:/x"])?.expect(1)?;
    assert!(
        refused.stderr.contains("container rootfs is marked read-only"),
        "{}",
        refused.stderr
    );
    daemon.ok(&["rm", "-f", "running", "stopped"])?;
    daemon.ok(&["volume", "rm", "data"])?;
    daemon.finish()
}

/// CP-01: a container that swaps a directory for a link all the time leads nobody out of it.
#[test]
fn cp_01_racing_links_lead_nowhere() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    let canary = place.join("canary");
    std::fs::create_dir(&canary)?;
    testkit::image::put(&canary.join("secret"), "of the host")?;
    testkit::image::put(&place.join("file"), "payload")?;
    let (canary, file) = (text(&canary)?.to_owned(), place.join("file"));
    let script = format!(
        "mkdir /d; echo inside > /d/secret; ln -s {canary} /l; echo ready; \
         while :; do mv /d /t; mv /l /d; mv /d /l; mv /t /d; done"
    );
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", &script])?;
    daemon.wait_for_log("c1", "ready")?;
    for round in 0..60 {
        daemon.berth(&["cp", text(&file)?, "c1:/d/written"])?;
        let out = place.join(format!("out{round}"));
        daemon.berth(&["cp", "c1:/d/secret", text(&out)?])?;
        if let Ok(seen) = std::fs::read_to_string(&out) {
            assert_eq!(seen, "inside\n");
        }
    }
    let names: Vec<_> = std::fs::read_dir(&canary)?.collect();
    assert_eq!(names.len(), 1, "something was written outside: {names:?}");
    daemon.finish()
}

/// CP-02, CP-03: no program of the image is run, whatever an archive is compressed with; and links to the kernel's own file
/// systems are no way to them.
#[test]
fn cp_03_archives_are_unpacked_by_ourselves() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    testkit::image::put(&place.join("file"), "payload")?;
    let trap = "for p in xz unpigz gzip bzip2 zstd tar; do printf '#!/bin/sh\\ntouch /trapped\\n' > /bin/$p.new; chmod 755 /bin/$p.new; \
        rm -f /bin/$p; mv /bin/$p.new /bin/$p; done; echo ready; sleep 1000";
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", trap])?;
    daemon.wait_for_log("c1", "ready")?;
    let tar = command::run(
        std::process::Command::new("tar")
            .arg("-C")
            .arg(place)
            .args(["-czf", "-", "file"]),
        b"",
    );
    // Not text: written to a file and read from there.
    drop(tar);
    for (flag, known) in [("-czf", true), ("-cjf", false), ("-cJf", false)] {
        let archive = place.join("archive");
        let mut pack = std::process::Command::new("tar");
        pack.arg(flag).arg(&archive).arg("-C").arg(place).arg("file");
        if command::run(&mut pack, b"")?.code != 0 {
            continue;
        }
        let bytes = std::fs::read(&archive)?;
        let output = daemon.berth_with(&["cp", "-", "c1:/tmp"], &bytes)?;
        assert_eq!(output.code == 0, known, "{flag}: {}", output.stderr);
    }
    assert_eq!(daemon.ok(&["exec", "c1", "cat", "/tmp/file"])?, "payload");
    assert_eq!(daemon.berth(&["exec", "c1", "ls", "/trapped"])?.code, 1);
    daemon.ok(&["exec", "c1", "ln", "-s", "/proc/sys/kernel", "/k"])?;
    let file = place.join("file");
    let refused = daemon.berth(&["cp", text(&file)?, "c1:/k/hostname"])?;
    assert_ne!(refused.code, 0);
    let out = place.join("out");
    daemon.berth(&["cp", "c1:/proc", text(&out)?])?;
    assert!(!out.join("version").exists());
    daemon.finish()
}
