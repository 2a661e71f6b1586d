//! The embedded default: no daemon runs, nothing is configured, and the first command works.

use std::process::Command;

use anyhow::Result;
use testkit::place::Place;
use testkit::{berth, command, residue};

/// Runs a shell script in a mount namespace whose /run and /var/lib are empty, so that the default places are this
/// test's own, and in a network namespace, where the default network is; HOME is empty too.
fn on_a_fresh_machine(place: &Place, script: &str) -> Result<command::Output> {
    let tree = place.directory().join("tree");
    if !tree.exists() {
        testkit::image::busybox_tree(&tree)?;
    }
    let setup = format!(
        "set -e; ip link set lo up; mount -t tmpfs {name} /run; mount -t tmpfs {name} /var/lib; B={berth}; TREE={tree}; {script}",
        name = place.name(),
        berth = berth()?.display(),
        tree = tree.display(),
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--propagation", "private", "sh", "-c", &setup]);
    unshare
        .env_remove("DOCKER_HOST")
        .env_remove("BERTH_HOST")
        .env("HOME", place.directory());
    unshare.env("BERTH_TEST_PLACE", place.directory());
    command::run(&mut unshare, b"")
}

#[test]
fn the_first_command_starts_a_daemon() -> Result<()> {
    let place = Place::create()?;
    let script = "$B run --rm --rootfs $TREE:O echo first; $B run --rm --rootfs $TREE:O echo second; \
                  $B ps -aq; $B version --format '{{.Server.Version}}' >/dev/null; echo done";
    let output = on_a_fresh_machine(&place, script);
    let left = residue::remove(&place)?;
    assert_eq!(output?.text()?, "first\nsecond\ndone");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn several_first_commands_at_once_share_one_daemon() -> Result<()> {
    let place = Place::create()?;
    let script = "for i in 1 2 3 4; do $B run -d --name c$i --rootfs $TREE:O sleep 1000 >/dev/null & done; wait; \
                  $B ps -q | wc -l; $B rm -f c1 c2 c3 c4 >/dev/null; echo done";
    let output = on_a_fresh_machine(&place, script);
    let left = residue::remove(&place)?;
    assert_eq!(output?.text()?, "4\ndone");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
