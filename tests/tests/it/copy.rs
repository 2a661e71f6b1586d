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

/// How often a race is tried: `BERTH_CP_ROUNDS` for a long run.
fn rounds() -> Result<usize> {
    Ok(std::env::var("BERTH_CP_ROUNDS").map_or(Ok(60), |text| text.parse())?)
}

/// CP-04: where a volume is mounted is swapped for a link by a neighbour while files are copied into a container that is
/// assembled for the copy: nothing is made, mounted or written on the host.
#[test]
fn cp_04_swapped_mount_points_lead_nowhere() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    let canary = place.join("canary");
    std::fs::create_dir(&canary)?;
    testkit::image::put(&canary.join("secret"), "of the host")?;
    testkit::image::put(&place.join("file"), "payload")?;
    let file = place.join("file");
    let script = format!(
        "mkdir -p /v/sub/in; ln -s {} /v/link; echo ready; \
         while :; do mv /v/sub /v/t; mv /v/link /v/sub; mv /v/sub /v/link; mv /v/t /v/sub; done",
        text(&canary)?
    );
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "swaps",
        "-v",
        "shared:/v",
        "busybox",
        "sh",
        "-c",
        &script,
    ])?;
    daemon.wait_for_log("swaps", "ready")?;
    let volumes = [
        "-v",
        "shared:/v",
        "-v",
        "other:/v/sub/in",
        "-v",
        "third:/v/sub/new/deep",
    ];
    daemon.ok(&[
        &["create", "--name", "stopped"],
        &volumes[..],
        &["busybox", "true"],
    ]
    .concat())?;
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").map(|table| table.lines().count());
    let before = (facts(&canary)?, facts(&canary.join("secret"))?, mounts()?);
    for round in 0..rounds()? / 4 {
        for path in ["/v/sub/in/x", "/v/sub/new/deep/x", "/v/sub/x"] {
            daemon.berth(&["cp", text(&file)?, &format!("stopped:{path}")])?;
        }
        let out = place.join(format!("out{round}"));
        daemon.berth(&["cp", "stopped:/v/sub/secret", text(&out)?])?;
        assert!(!out.exists(), "a file of the host came out");
    }
    assert_eq!(
        (facts(&canary)?, facts(&canary.join("secret"))?, mounts()?),
        before
    );
    assert_eq!(
        std::fs::read_dir(&canary)?.count(),
        1,
        "something was made on the host"
    );
    daemon.ok(&["rm", "-f", "swaps", "stopped"])?;
    daemon.ok(&["volume", "rm", "shared", "other", "third"])?;
    daemon.finish()
}

/// CP-05: `cp`, `commit`, `diff` and `export` of a container full of links to the host change nothing there, not even a
/// time.
#[test]
fn cp_05_nothing_of_the_host_changes() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let place = daemon.directory();
    let canary = place.join("canary");
    std::fs::create_dir(&canary)?;
    testkit::image::put(&canary.join("secret"), "of the host")?;
    std::os::unix::fs::chown(canary.join("secret"), Some(1234), Some(4321))?;
    std::fs::set_permissions(
        canary.join("secret"),
        std::os::unix::fs::PermissionsExt::from_mode(0o4751),
    )?;
    let tree = place.join("tree");
    std::fs::create_dir(&tree)?;
    for name in ["secret", "d", "own"] {
        testkit::image::put(&tree.join(name), "payload")?;
    }
    let canary_path = text(&canary)?.to_owned();
    let script = format!(
        "mkdir /d /t; ln -s {canary_path} /all; ln -s {canary_path}/secret /d/secret; ln -s {canary_path} /l; echo ready; \
         while :; do mv /d /u; mv /l /d; mv /d /l; mv /u /d; done"
    );
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", &script])?;
    daemon.wait_for_log("c1", "ready")?;
    let before = (facts(&canary)?, facts(&canary.join("secret"))?);
    let into = format!("{}/.", text(&tree)?);
    for round in 0..rounds()? / 10 {
        for target in ["c1:/d", "c1:/all", "c1:/l", "c1:/t"] {
            daemon.berth(&["cp", "-a", &into, target])?;
            daemon.berth(&["cp", &into, target])?;
        }
        daemon.berth(&["diff", "c1"])?;
        daemon.berth(&["commit", "c1", "made"])?;
        daemon.berth(&["export", "-o", text(&place.join(format!("tar{round}")))?, "c1"])?;
    }
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.ok(&["create", "--name", "c2", "made", "true"])?;
    for target in ["c2:/d", "c2:/all", "c2:/l"] {
        daemon.berth(&["cp", "-a", &into, target])?;
    }
    daemon.berth(&["commit", "c2"])?;
    assert_eq!((facts(&canary)?, facts(&canary.join("secret"))?), before);
    daemon.finish()
}

/// What may not change: content, mode, owner, and the times of both.
fn facts(path: &Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    Ok(format!(
        "{:o} {}:{} {} {times:?}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.len()
    ))
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
    for round in 0..rounds()? {
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
