//! Images without a registry: import, load, pack, tag, list, inspect, remove.

use std::process::Command;

use anyhow::Result;
use testkit::{Daemon, command, has, skip};

#[test]
fn import_from_a_pipe_compressed() -> Result<()> {
    let daemon = Daemon::start()?;
    let tar = testkit::image::busybox_tar(daemon.directory())?;
    let packed = Command::new("gzip")
        .arg("-1")
        .arg("-c")
        .arg(&tar)
        .output()?
        .stdout;
    let changes = [
        "--change",
        "CMD [\"/bin/echo\", \"imported\"]",
        "--change",
        "ENV A=1",
        "-m",
        "by hand",
    ];
    let id = daemon
        .berth_with(&[&["import"][..], &changes, &["-", "bb:gz"]].concat(), &packed)?
        .text()?;
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(daemon.ok(&["run", "--rm", "bb:gz"])?, "imported");
    assert_eq!(daemon.ok(&["run", "--rm", "bb:gz", "sh", "-c", "echo $A"])?, "1");
    daemon.finish()
}

#[test]
fn list_tag_inspect_remove() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["images", "-q", "--no-trunc"])?;
    daemon.ok(&["tag", "busybox", "other/name:v1"])?;
    let listed = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    let mut names: Vec<_> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["busybox:latest", "other/name:v1"]);
    assert_eq!(
        daemon.ok(&["image", "inspect", "-f", "{{.Id}}", "other/name:v1"])?,
        id
    );
    assert_eq!(
        daemon.ok(&["image", "inspect", "-f", "{{json .Config.Cmd}}", &id[7..19]])?,
        "[\"sh\"]"
    );
    assert_eq!(daemon.ok(&["rmi", "busybox"])?, "Untagged: busybox:latest");
    let removed = daemon.ok(&["rmi", "other/name:v1"])?;
    assert!(
        removed.contains("Untagged: other/name:v1") && removed.contains(&format!("Deleted: {id}")),
        "{removed}"
    );
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    let output = daemon.berth(&["rmi", "busybox"])?.expect(1)?;
    assert!(
        output.stderr.contains("No such image: busybox"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn image_in_use_is_kept() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let output = daemon.berth(&["rmi", "busybox"])?.expect(1)?;
    assert!(output.stderr.contains("conflict"), "{}", output.stderr);
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.ok(&["rmi", "busybox"])?;
    daemon.finish()
}

#[test]
fn pack_makes_an_image_of_host_programs() -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.ok(&[
        "image",
        "pack",
        "-t",
        "tools",
        "/bin/sh",
        "/bin/ls",
        "/usr/bin/id",
    ])?;
    assert_eq!(daemon.ok(&["run", "--rm", "tools", "/usr/bin/id", "-u"])?, "0");
    assert_eq!(
        daemon.ok(&["run", "--rm", "tools", "/bin/sh", "-c", "echo $((6*7))"])?,
        "42"
    );
    let output = daemon.berth(&["image", "pack", "-t", "x", "/no/such/program"])?;
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("/no/such/program"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn packed_busybox_runs_its_applets() -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.ok(&["image", "pack", "-t", "bb", testkit::image::busybox()?])?;
    let busybox = testkit::image::busybox()?;
    assert_eq!(
        daemon.ok(&["run", "--rm", "bb", busybox, "echo", "packed"])?,
        "packed"
    );
    daemon.finish()
}

#[test]
fn load_both_archive_formats() -> Result<()> {
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let daemon = Daemon::start()?;
    let tar = testkit::image::busybox_tar(daemon.directory())?;
    daemon.ok(&["import", tar.to_str().unwrap(), "origin:1"])?;
    for format in ["docker-archive", "oci-archive"] {
        let file = daemon.directory().join(format);
        let content = daemon.place().data_root().join("content");
        // The content store is an OCI image layout that other tools read.
        let mut copy = Command::new("skopeo");
        copy.arg("--insecure-policy").arg("copy").arg("--quiet");
        copy.arg(format!("oci:{}:docker.io/library/origin:1", content.display()));
        copy.arg(format!("{format}:{}:loaded:{format}", file.display()));
        command::run(&mut copy, b"")?.expect(0)?;
        let loaded = daemon.ok(&["load", "-i", file.to_str().unwrap()])?;
        assert!(loaded.contains("Loaded image"), "{loaded}");
    }
    assert_eq!(
        daemon.ok(&["run", "--rm", "loaded:docker-archive", "echo", "hi"])?,
        "hi"
    );
    daemon.finish()
}

#[test]
fn a_missing_image_is_named() -> Result<()> {
    let daemon = Daemon::start()?;
    let output = daemon
        .berth(&["run", "--rm", "no-such-image", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("no-such-image"), "{}", output.stderr);
    let output = daemon.berth(&["image", "inspect", "no-such-image"])?.expect(1)?;
    assert!(
        output.stderr.contains("No such image: no-such-image"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

/// ST-01, the shortest of the corpus (the rest is in crates/archive and crates/storage): each archive tries to put a
/// file outside the layer; it must be refused or contained.
#[test]
fn hostile_archives_stay_inside() -> Result<()> {
    let daemon = Daemon::start()?;
    let canary = daemon.directory().join("canary");
    std::fs::create_dir(&canary)?;
    let source = daemon.directory().join("source");
    std::fs::create_dir(&source)?;
    testkit::image::put(&source.join("file"), "escaped\n")?;
    let outside = canary.to_str().unwrap();
    let climbing = format!("{}{outside}/file", "../".repeat(20));
    std::os::unix::fs::symlink(outside, source.join("link"))?;
    let transforms = [
        ("absolute", format!("s,^file,{outside}/file,")),
        ("climbing", format!("s,^file,{climbing},")),
    ];
    for (name, transform) in &transforms {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--absolute-names", "--transform", transform, "-C"])
            .arg(&source)
            .arg("file");
        let bytes = tar.output()?.stdout;
        daemon.berth_with(&["import", "-", &format!("hostile:{name}")], &bytes)?;
    }
    // A link to the outside, then a file through it.
    let mut tar = Command::new("tar");
    tar.args(["--create", "--transform", "s,^file,link/file,", "-C"])
        .arg(&source)
        .args(["link", "file"]);
    let bytes = tar.output()?.stdout;
    daemon.berth_with(&["import", "-", "hostile:link"], &bytes)?;
    assert_eq!(
        std::fs::read_dir(&canary)?.count(),
        0,
        "an archive wrote outside its layer"
    );
    daemon.finish()
}
