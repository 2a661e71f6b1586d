//! `berth oci`: the same runtime behind the OCI runtime command line.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::place::Place;
use testkit::{berth, command, has, residue, skip};

/// A place with a bundle: `bundle/config.json` from `berth oci spec`, `bundle/rootfs` of busybox.
struct Bundle {
    place: Place,
}

impl Bundle {
    fn create(change: impl FnOnce(&mut serde_json::Value)) -> Result<Self> {
        let bundle = Self {
            place: Place::create()?,
        };
        let directory = bundle.directory();
        std::fs::create_dir(&directory)?;
        testkit::image::busybox_tree(&directory.join("rootfs"))?;
        bundle
            .oci(&["spec", "--bundle", directory.to_str().context("path")?])?
            .expect(0)?;
        let file = directory.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sleep", "1000"]);
        config["linux"]["cgroupsPath"] = format!("{}/one", bundle.place.cgroup_parent()).into();
        change(&mut config);
        std::fs::remove_file(&file)?;
        testkit::image::put(&file, &config.to_string())?;
        Ok(bundle)
    }

    fn directory(&self) -> PathBuf {
        self.place.directory().join("bundle")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(berth()?);
        command
            .arg("oci")
            .arg("--root")
            .arg(self.place.directory().join("state"))
            .args(arguments);
        command.current_dir(self.place.directory());
        Ok(command)
    }

    fn oci(&self, arguments: &[&str]) -> Result<command::Output> {
        command::run(&mut self.command(arguments)?, b"")
    }

    /// `create` inherits its standard streams to the container, so they must not be the test's pipes.
    fn create_container(&self, id: &str) -> Result<i32> {
        let directory = self.directory();
        let mut create = self.command(&["create", "--bundle", directory.to_str().context("path")?, id])?;
        let null = || std::process::Stdio::null();
        let mut child = create
            .stdin(null())
            .stdout(null())
            .stderr(std::process::Stdio::inherit())
            .spawn()?;
        command::wait(&mut child, "oci create")
    }

    fn status(&self, id: &str) -> Result<String> {
        let state: serde_json::Value = serde_json::from_str(&self.oci(&["state", id])?.text()?)?;
        Ok(state["status"].as_str().unwrap_or_default().to_owned())
    }

    fn finish(self) -> Result<()> {
        let left = residue::find(&self.place)?;
        assert!(left.is_empty(), "left on the host: {left:?}");
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(residue::remove(&self.place));
    }
}

#[test]
fn create_start_kill_delete() -> Result<()> {
    let bundle = Bundle::create(|_| ())?;
    assert_eq!(bundle.create_container("one")?, 0);
    assert_eq!(bundle.status("one")?, "created");
    bundle.oci(&["start", "one"])?.expect(0)?;
    assert_eq!(bundle.status("one")?, "running");
    assert_ne!(bundle.create_container("one")?, 0, "the id is in use");
    assert_eq!(bundle.oci(&["exec", "one", "echo", "inside"])?.text()?, "inside");
    bundle.oci(&["exec", "one", "sh", "-c", "exit 5"])?.expect(5)?;
    bundle.oci(&["pause", "one"])?.expect(0)?;
    assert_eq!(bundle.status("one")?, "paused");
    bundle.oci(&["resume", "one"])?.expect(0)?;
    assert!(bundle.oci(&["ps", "one"])?.text()?.contains("sleep"));
    assert_ne!(bundle.oci(&["delete", "one"])?.code, 0, "it runs");
    bundle.oci(&["kill", "one", "KILL"])?.expect(0)?;
    testkit::until("the end", std::time::Duration::from_secs(5), || {
        Ok(bundle.status("one")? == "stopped")
    })?;
    bundle.oci(&["delete", "one"])?.expect(0)?;
    assert_ne!(bundle.oci(&["state", "one"])?.code, 0);
    bundle.finish()
}

#[test]
fn run_gives_output_and_code() -> Result<()> {
    let bundle = Bundle::create(|config| {
        config["process"]["args"] = serde_json::json!(["sh", "-c", "echo hello; exit 3"]);
    })?;
    let directory = bundle.directory();
    let output = bundle
        .oci(&["run", "--bundle", directory.to_str().unwrap(), "one"])?
        .expect(3)?;
    assert_eq!(output.stdout, "hello\n");
    bundle.finish()
}

#[test]
fn delete_by_force_ends_a_running_container() -> Result<()> {
    let bundle = Bundle::create(|_| ())?;
    assert_eq!(bundle.create_container("one")?, 0);
    bundle.oci(&["start", "one"])?.expect(0)?;
    bundle.oci(&["delete", "--force", "one"])?.expect(0)?;
    bundle.oci(&["delete", "--force", "never-there"])?.expect(0)?;
    bundle.finish()
}

#[test]
fn features_and_list() -> Result<()> {
    let bundle = Bundle::create(|_| ())?;
    let features: serde_json::Value = serde_json::from_str(&bundle.oci(&["features"])?.text()?)?;
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .is_some_and(|list| list.len() >= 7),
        "{features}"
    );
    assert_eq!(bundle.create_container("one")?, 0);
    assert!(bundle.oci(&["list"])?.text()?.contains("one"));
    bundle.oci(&["delete", "--force", "one"])?.expect(0)?;
    bundle.finish()
}

/// RT-21 in small: damaged documents are refused, not crashed on.
#[test]
fn rt_21_damaged_documents_are_refused() -> Result<()> {
    for damage in [
        serde_json::json!({"process": {"args": []}}),
        serde_json::json!({"process": {"args": ["a\u{0}b"]}}),
        serde_json::json!({"linux": {"namespaces": [{"type": "nosuch"}]}}),
        serde_json::json!({"root": null}),
        serde_json::json!({"mounts": [{"destination": "relative"}]}),
    ] {
        let text = damage.to_string();
        let bundle = Bundle::create(|config| merge(config, damage))?;
        let directory = bundle.directory();
        let output = bundle.oci(&["run", "--bundle", directory.to_str().unwrap(), "one"])?;
        assert!(
            output.code != 0 && !output.stderr.contains("panicked"),
            "{text}: {output:?}"
        );
        bundle.finish()?;
    }
    Ok(())
}

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn podman_runs_a_container_through_us() -> Result<()> {
    if !has("podman") || !has("conmon") {
        return skip("podman or conmon is not installed");
    }
    let place = Place::create()?;
    let outcome = podman(&place);
    let left = residue::remove(&place)?;
    outcome?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn podman(place: &Place) -> Result<()> {
    let directory = place.directory();
    let tree = directory.join("tree");
    testkit::image::busybox_tree(&tree)?;
    let runtime = directory.join("berth-oci");
    testkit::image::put(
        &runtime,
        &format!("#!/bin/sh\nexec {} oci \"$@\"\n", berth()?.display()),
    )?;
    std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755))?;
    let run = |arguments: &[&str]| -> Result<command::Output> {
        let at = |name: &str| -> PathBuf { Path::new(directory).join(name) };
        let mut podman = Command::new("podman");
        podman
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("runroot"))
            .arg("--tmpdir")
            .arg(at("tmp"));
        podman.arg("--runtime").arg(&runtime).args([
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ]);
        podman.args(arguments).env("HOME", directory);
        command::run(&mut podman, b"")
    };
    let tree = tree.to_str().context("path")?;
    let parent = format!("--cgroup-parent={}", place.cgroup_parent());
    // Without CAP_SYS_RESOURCE podman's own default limits cannot be set.
    let common = [
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "--network",
        "none",
        "--log-driver",
        "k8s-file",
        parent.as_str(),
    ];
    let once = [
        &["run", "--rm"][..],
        &common,
        &["--rootfs", tree, "sh", "-c", "echo through podman; exit 6"],
    ]
    .concat();
    let output = run(&once)?.expect(6)?;
    assert_eq!(output.stdout, "through podman\n");
    run(&[
        &["run", "-d", "--name", "c1"][..],
        &common,
        &["--rootfs", tree, "sleep", "1000"],
    ]
    .concat())?
    .expect(0)?;
    assert_eq!(run(&["exec", "c1", "echo", "exec"])?.text()?, "exec");
    run(&["stop", "-t", "0", "c1"])?.expect(0)?;
    run(&["rm", "c1"])?.expect(0)?;
    // Its /run and /tmp are tmpfs that begin with what the image has there.
    let program = "touch /tmp/x /run/x && ! touch /x 2>/dev/null && ls /tmp";
    let read_only = [
        &["run", "--rm", "--read-only"][..],
        &common,
        &["--rootfs", tree, "sh", "-c", program],
    ]
    .concat();
    assert_eq!(run(&read_only)?.text()?, "x");
    Ok(())
}
