//! Bind mounts, volumes, tmpfs, read-only.

use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use testkit::Daemon;

#[test]
fn bind_writes_through_with_the_owner_as_seen_inside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    testkit::image::put(&shared.join("in"), "from the host\n")?;
    let bind = format!("{}:/mnt", shared.display());
    let program =
        "cat /mnt/in; stat -c %u:%g /mnt/in; echo x > /mnt/out; touch /mnt/app; chown app:app /mnt/app";
    let text = daemon.ok(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", program])?;
    assert_eq!(text, "from the host\n0:0");
    let owner = |name: &str| std::fs::metadata(shared.join(name)).map(|file| (file.uid(), file.gid()));
    assert_eq!(owner("out")?, (0, 0));
    assert_eq!(owner("app")?, (1000, 1000));
    daemon.finish()
}

#[test]
fn bind_read_only_and_mount_spelling() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let source = shared.display();
    for flags in [
        ["-v".to_owned(), format!("{source}:/mnt:ro")],
        [
            "--mount".to_owned(),
            format!("type=bind,src={source},dst=/mnt,readonly"),
        ],
        [
            "--mount".to_owned(),
            format!("type=bind,source={source},target=/mnt,ro=true"),
        ],
    ] {
        let mut arguments = vec!["run", "--rm"];
        arguments.extend(flags.iter().map(String::as_str));
        arguments.extend([
            "busybox",
            "sh",
            "-c",
            "touch /mnt/x 2>&1; mount | grep -c ' /mnt '",
        ]);
        let output = daemon.berth(&arguments)?.expect(0)?;
        assert!(
            output.stdout.contains("Read-only file system") && output.stdout.ends_with("1\n"),
            "{flags:?}"
        );
    }
    assert_eq!(std::fs::read_dir(&shared)?.count(), 0);
    daemon.finish()
}

#[test]
fn missing_sources() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let source = daemon.directory().join("made/by/v");
    daemon.ok(&[
        "run",
        "--rm",
        "-v",
        &format!("{}:/mnt", source.display()),
        "busybox",
        "true",
    ])?;
    assert!(
        source.is_dir(),
        "-v makes a directory that is not there, as docker does"
    );
    let mount = "type=bind,src=/no/such/source,dst=/mnt";
    let output = daemon
        .berth(&["run", "--rm", "--mount", mount, "busybox", "true"])?
        .expect(125)?;
    assert!(
        output
            .stderr
            .contains("bind source path does not exist: /no/such/source"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn a_single_file_can_be_bound() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let file = daemon.directory().join("motd");
    testkit::image::put(&file, "hello from a file\n")?;
    let bind = format!("{}:/etc/motd:ro", file.display());
    assert_eq!(
        daemon.ok(&["run", "--rm", "-v", &bind, "busybox", "cat", "/etc/motd"])?,
        "hello from a file"
    );
    daemon.finish()
}

#[test]
fn named_volumes_outlive_containers() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/file",
    ])?;
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "-v",
            "data:/data:ro",
            "busybox",
            "cat",
            "/data/file"
        ])?,
        "kept"
    );
    let mount = "type=volume,src=data,dst=/elsewhere";
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "--mount",
            mount,
            "busybox",
            "cat",
            "/elsewhere/file"
        ])?,
        "kept"
    );
    daemon.finish()
}

#[test]
fn a_new_volume_takes_what_the_image_has_there() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&["run", "--rm", "-v", "etc:/etc", "busybox", "ls", "/etc/passwd"])?;
    assert_eq!(text, "/etc/passwd");
    daemon.finish()
}

#[test]
fn anonymous_volumes_go_with_rm() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let volumes = daemon.place().data_root().join("volumes");
    let count = || {
        std::fs::read_dir(&volumes).map_or(0, |entries| {
            entries.flatten().filter(|e| e.path().is_dir()).count()
        })
    };
    let before = count();
    daemon.ok(&[
        "run", "--name", "c1", "-v", "/data", "busybox", "touch", "/data/x",
    ])?;
    assert_eq!(count(), before + 1);
    daemon.ok(&["rm", "-v", "c1"])?;
    assert_eq!(count(), before);
    daemon.ok(&["run", "--rm", "-v", "/data", "busybox", "touch", "/data/x"])?;
    assert_eq!(count(), before);
    daemon.finish()
}

#[test]
fn tmpfs_in_both_spellings() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let show = [
        "busybox",
        "sh",
        "-c",
        "grep ' /scratch ' /proc/mounts; df -k /scratch | tail -1 | awk '{print $2}'",
    ];
    for flags in [
        ["--tmpfs", "/scratch:size=8m,mode=1770"],
        ["--mount", "type=tmpfs,dst=/scratch,tmpfs-size=8m,tmpfs-mode=1770"],
    ] {
        let text = daemon.ok(&[&["run", "--rm"][..], &flags, &show].concat())?;
        assert!(text.starts_with("tmpfs /scratch tmpfs rw,nosuid,nodev"), "{text}");
        assert!(text.contains("mode=1770") && text.ends_with("\n8192"), "{text}");
    }
    daemon.finish()
}

#[test]
fn a19_read_only_root_with_a_place_to_write() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon
        .berth(&["run", "--rm", "--read-only", "busybox", "touch", "/x"])?
        .expect(1)?;
    assert!(
        output.stderr.contains("Read-only file system"),
        "{}",
        output.stderr
    );
    daemon.ok(&[
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "busybox",
        "touch",
        "/tmp/x",
        "/dev/shm/x",
    ])?;
    daemon.finish()
}

#[test]
fn volumes_from_another_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "source",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo shared > /data/x",
    ])?;
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "--volumes-from",
            "source",
            "busybox",
            "cat",
            "/data/x"
        ])?,
        "shared"
    );
    daemon.finish()
}

#[test]
fn bad_mounts_are_refused_with_their_reason() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (flags, word) in [
        (["-v", "relative/path:/mnt"], "relative/path"),
        (["-v", "/etc:not-absolute"], "not-absolute"),
        (["-v", "/etc:/mnt:wrong"], "wrong"),
        (["--mount", "type=bind,src=/etc"], "target"),
        (["--mount", "type=nosuch,dst=/mnt"], "nosuch"),
        (["--mount", "type=tmpfs,dst=/mnt,nosuch=1"], "nosuch"),
    ] {
        let output = daemon
            .berth(&["run", "--rm", flags[0], flags[1], "busybox", "true"])?
            .expect(125)?;
        assert!(output.stderr.contains(word), "{flags:?}: {}", output.stderr);
    }
    daemon.finish()
}

/// RT-03: an image whose mount targets are links must not move a mount out of the rootfs.
#[test]
fn links_in_the_image_do_not_move_mounts() -> Result<()> {
    let daemon = Daemon::start()?;
    let outside = daemon.directory().join("outside");
    std::fs::create_dir(&outside)?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let tree = daemon.directory().join("tree");
    testkit::image::busybox_tree(&tree)?;
    for name in ["proc", "sys", "dev"] {
        std::fs::remove_dir(tree.join(name))?;
    }
    for name in ["proc", "sys", "dev", "mnt"] {
        std::os::unix::fs::symlink(&outside, tree.join(name))?;
    }
    let bind = format!("{}:/mnt/below", shared.display());
    let rootfs = format!("{}:O", tree.display());
    // Refused or contained: both are right.
    daemon.berth(&["run", "--rm", "-v", &bind, "--rootfs", &rootfs, "true"])?;
    assert_eq!(
        std::fs::read_dir(&outside)?.count(),
        0,
        "something was made outside the rootfs"
    );
    assert!(testkit::residue::mounts(daemon.place())?.is_empty());
    daemon.finish()
}

#[test]
fn volumes_have_a_life_of_their_own() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    assert_eq!(
        daemon.ok(&["volume", "create", "--label", "a=b", "data"])?,
        "data"
    );
    assert_eq!(
        daemon.ok(&["volume", "inspect", "-f", "{{.Driver}} {{.Labels.a}}", "data"])?,
        "local b"
    );
    daemon.ok(&["create", "--name", "c1", "-v", "data:/data", "busybox", "true"])?;
    let output = daemon.berth(&["volume", "rm", "data"])?.expect(1)?;
    assert!(output.stderr.contains("volume is in use"), "{}", output.stderr);
    daemon.ok(&["rm", "c1"])?;
    assert_eq!(daemon.ok(&["volume", "ls", "-q"])?, "data");
    assert_eq!(daemon.ok(&["volume", "rm", "data"])?, "data");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"])?, "");
    let output = daemon.berth(&["volume", "inspect", "data"])?.expect(1)?;
    assert!(
        output.stderr.to_lowercase().contains("no such volume"),
        "{}",
        output.stderr
    );
    daemon.finish()
}
