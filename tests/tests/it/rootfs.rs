//! `--rootfs`: a directory instead of an image.

use anyhow::Result;
use testkit::{Daemon, Start};

#[test]
fn a_directory_is_used_as_it_is() -> Result<()> {
    let daemon = Daemon::start()?;
    let tree = daemon.directory().join("tree");
    testkit::image::busybox_tree(&tree)?;
    let path = tree.to_str().unwrap();
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--rootfs",
        path,
        "sh",
        "-c",
        "echo written > /new; cat /new; id -u",
    ])?;
    assert_eq!(text, "written\n0");
    assert_eq!(std::fs::read_to_string(tree.join("new"))?, "written\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        std::fs::metadata(tree.join("new"))?.uid(),
        0,
        "owned as its writer believes"
    );
    daemon.finish()
}

#[test]
fn an_overlay_over_a_directory_is_thrown_away() -> Result<()> {
    let daemon = Daemon::start()?;
    let tree = daemon.directory().join("tree");
    testkit::image::busybox_tree(&tree)?;
    let path = format!("{}:O", tree.display());
    let program = "echo written > /new; rm /etc/passwd; ls /new; ls /etc";
    let text = daemon.ok(&["run", "--rm", "--rootfs", &path, "sh", "-c", program])?;
    assert!(text.starts_with("/new") && !text.contains("passwd"), "{text}");
    assert!(!tree.join("new").exists() && tree.join("etc/passwd").exists());
    daemon.finish()
}

/// The way of kernels before 6.15, forced on whichever there is: the layers have the container's ids, what is written stays,
/// and the host has no mount more.
#[test]
fn overlays_are_made_by_paths_on_older_kernels() -> Result<()> {
    let daemon = Daemon::with_busybox_and(Start {
        arguments: Vec::new(),
        environment: vec![("BERTH_OVERLAY".to_owned(), "paths".to_owned())],
        host: None,
    })?;
    let program = "grep -c ' / overlay .*lowerdir=[0-9]' /proc/mounts; stat -c %u /bin/busybox; date > /kept";
    let text = daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", program])?;
    assert_eq!(text, "1\n0");
    assert_eq!(daemon.ok(&["start", "-a", "c1"])?, "1\n0");
    assert!(daemon.ok(&["diff", "c1"])?.contains("A /kept"));
    let text = daemon.ok(&["run", "--rm", "--userns", "host", "busybox", "sh", "-c", program])?;
    assert_eq!(text, "1\n0");
    daemon.finish()
}

#[test]
fn a_copy_of_this_machine_that_can_be_thrown_away() -> Result<()> {
    let daemon = Daemon::start()?;
    let mark = "/etc/berth-test-thrown-away";
    let program = format!("id -u; cat /etc/os-release | grep -c ^ID=; echo x > {mark}; cat {mark}");
    let text = daemon.ok(&["run", "--rm", "--rootfs", "/:O", "sh", "-c", &program])?;
    assert_eq!(text, "0\n1\nx");
    assert!(!std::path::Path::new(mark).exists());
    daemon.finish()
}

#[test]
fn a_directory_that_is_not_there_is_named() -> Result<()> {
    let daemon = Daemon::start()?;
    let output = daemon
        .berth(&["run", "--rm", "--rootfs", "/no/such/tree", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("/no/such/tree"), "{}", output.stderr);
    daemon.finish()
}
