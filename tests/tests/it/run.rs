//! `berth run` and its immediate flags.

use anyhow::Result;
use testkit::Daemon;

#[test]
fn run_prints_what_the_program_prints() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon
        .berth(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"])?
        .expect(0)?;
    assert_eq!(output.stdout, "out\n");
    assert!(output.stderr.ends_with("err\n"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn image_command_is_the_default() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon.berth_with(&["run", "--rm", "-i", "busybox"], b"echo from the shell\n")?;
    assert_eq!(output.text()?, "from the shell");
    daemon.finish()
}

#[test]
fn removed_container_is_gone() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--rm", "--name", "gone", "busybox", "true"])?;
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"])?, "");
    let output = daemon.berth(&["inspect", "gone"])?.expect(1)?;
    assert!(output.stderr.contains("No such"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn detached_run_prints_the_full_id() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["run", "-d", "busybox", "sleep", "1000"])?;
    assert!(
        id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(daemon.ok(&["ps", "-q", "--no-trunc"])?, id);
    assert_eq!(daemon.ok(&["ps", "-q"])?, id[..12]);
    assert_eq!(
        daemon.inspect(&id[..12], "{{.Id}}")?,
        id,
        "a prefix names the container"
    );
    assert_eq!(
        daemon.inspect(&id, "{{.State.Status}} {{.State.Running}}")?,
        "running true"
    );
    daemon.finish()
}

#[test]
fn detached_and_auto_removed() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--rm", "busybox", "sleep", "1000"])?;
    daemon.ok(&["kill", &id])?;
    testkit::until(
        "the container to be removed",
        std::time::Duration::from_secs(5),
        || Ok(daemon.ok(&["ps", "-aq"])?.is_empty()),
    )?;
    daemon.finish()
}

#[test]
fn cidfile_is_written_once() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let file = daemon.directory().join("cid");
    let path = file.to_str().unwrap();
    let id = daemon.ok(&["run", "-d", "--cidfile", path, "busybox", "sleep", "1000"])?;
    assert_eq!(std::fs::read_to_string(&file)?, id);
    let again = daemon
        .berth(&["run", "-d", "--cidfile", path, "busybox", "true"])?
        .expect(125)?;
    assert!(again.stderr.contains(path), "{}", again.stderr);
    assert_eq!(daemon.ok(&["ps", "-aq"])?.lines().count(), 1);
    daemon.finish()
}

#[test]
fn name_in_use_is_a_conflict() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "--name", "twice", "busybox", "true"])?;
    let output = daemon
        .berth(&["run", "--name", "twice", "busybox", "true"])?
        .expect(125)?;
    assert!(
        output
            .stderr
            .contains("The container name \"/twice\" is already in use"),
        "{}",
        output.stderr
    );
    daemon.ok(&["rm", "twice"])?;
    daemon.ok(&["run", "--rm", "--name", "twice", "busybox", "true"])?;
    daemon.finish()
}

#[test]
fn unnamed_containers_get_two_words() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "busybox", "true"])?;
    let name = daemon.ok(&["ps", "-a", "--format", "{{.Names}}"])?;
    let words: Vec<_> = name.split('_').collect();
    assert_eq!(words.len(), 2, "{name}");
    assert!(
        words
            .iter()
            .all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())),
        "{name}"
    );
    daemon.finish()
}

#[test]
fn entrypoint_workdir_and_environment() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--entrypoint",
        "sh",
        "-w",
        "/made/for/this",
        "-e",
        "A=b c",
        "-e",
        "EMPTY=",
        "busybox",
        "-c",
        "pwd; echo \"[$A][$EMPTY][$HOME][$PATH]\"",
    ])?;
    assert_eq!(
        text,
        "/made/for/this\n[b c][][/root][/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin]"
    );
    daemon.finish()
}

#[test]
fn env_file_and_environment_of_the_caller() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let file = daemon.directory().join("env");
    testkit::image::put(&file, "# comment\nONE=1\nFROM_CALLER\n")?;
    let mut command = daemon.command([
        "run",
        "--rm",
        "--env-file",
        file.to_str().unwrap(),
        "busybox",
        "sh",
        "-c",
        "echo $ONE $FROM_CALLER",
    ])?;
    command.env("FROM_CALLER", "yes");
    assert_eq!(testkit::command::run(&mut command, b"")?.text()?, "1 yes");
    daemon.finish()
}

#[test]
fn labels_reach_inspect_and_filters() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&[
        "create",
        "-l",
        "tier=front",
        "--label",
        "plain",
        "busybox",
        "true",
    ])?;
    daemon.ok(&["create", "-l", "tier=back", "busybox", "true"])?;
    assert_eq!(
        daemon.ok(&["ps", "-aq", "--no-trunc", "--filter", "label=tier=front"])?,
        id
    );
    assert_eq!(daemon.inspect(&id, "{{index .Config.Labels \"tier\"}}")?, "front");
    daemon.finish()
}

#[test]
fn flags_that_are_not_done_are_refused_by_name() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for flags in [
        &["--network", "bridge"][..],
        &["--gpus", "all"],
        &["--storage-opt", "size=1G"],
        &["--link", "nobody"],
    ] {
        let mut arguments = vec!["run", "--rm"];
        arguments.extend(flags);
        arguments.extend(["busybox", "true"]);
        let output = daemon.berth(&arguments)?.expect(125)?;
        let name = flags[0].trim_start_matches('-');
        let value = flags[1];
        assert!(
            output.stderr.contains(name) || output.stderr.contains(value),
            "{flags:?}: {}",
            output.stderr
        );
    }
    daemon.finish()
}

#[test]
fn no_network_but_loopback() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "ls /sys/class/net; ip addr show lo",
    ])?;
    assert!(text.starts_with("lo\n"), "{text}");
    assert!(
        text.contains("LOOPBACK,UP") && text.contains("127.0.0.1/8"),
        "{text}"
    );
    daemon.finish()
}

#[test]
fn network_of_the_host_and_of_another_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let host = std::fs::read_link("/proc/self/ns/net")?
        .to_string_lossy()
        .into_owned();
    let read = ["busybox", "readlink", "/proc/self/ns/net"];
    let run = |network: &str| daemon.ok(&[&["run", "--rm", "--network", network][..], &read[..]].concat());
    assert_eq!(run("host")?, host);
    daemon.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "1000"])?;
    let first = daemon.ok(&["exec", "first", "readlink", "/proc/self/ns/net"])?;
    assert_ne!(first, host);
    assert_eq!(run("container:first")?, first);
    daemon.finish()
}
