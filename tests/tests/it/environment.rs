//! What a program finds around it: identity, host name, sysctls, init, groups.

use anyhow::Result;
use testkit::Daemon;

#[test]
fn users_in_all_spellings() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (user, expected) in [
        ("app", "1000 1000 1000 2000"),
        ("1000", "1000 1000 1000 2000"),
        ("app:nogroup", "1000 65534 65534"),
        ("12345", "12345 0 0"),
        ("12345:777", "12345 777 777"),
        ("root", "0 0 0"),
    ] {
        let text = daemon.ok(&[
            "run",
            "--rm",
            "-u",
            user,
            "busybox",
            "sh",
            "-c",
            "echo $(id -u) $(id -g) $(id -G)",
        ])?;
        assert_eq!(text, expected, "--user {user}");
    }
    for user in ["nosuchuser", "-1", "4294967296", "app:nosuchgroup", "1000\n0"] {
        let output = daemon.berth(&["run", "--rm", "--user", user, "busybox", "id"])?;
        assert_ne!(output.code, 0, "--user {user:?}: {}", output.stdout);
    }
    daemon.finish()
}

#[test]
fn extra_groups() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "-u",
        "12345:777",
        "--group-add",
        "extra",
        "--group-add",
        "99",
        "busybox",
        "id",
        "-G",
    ])?;
    let mut groups: Vec<_> = text.split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["2000", "777", "99"]);
    daemon.finish()
}

#[test]
fn host_name_files() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "hostname; cat /etc/hostname; grep -c web /etc/hosts; cat /proc/sys/kernel/domainname";
    let text = daemon.ok(&[
        "run",
        "--rm",
        "-h",
        "web",
        "--domainname",
        "example.org",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    assert_eq!(text, "web\nweb\n1\nexample.org");
    let id = daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    assert_eq!(daemon.ok(&["exec", "c1", "hostname"])?, id[..12]);
    daemon.finish()
}

#[test]
fn hosts_file_is_kept_and_private() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let before = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&["exec", "c1", "sh", "-c", "echo '10.0.0.1 added' >> /etc/hosts"])?;
    daemon.ok(&["restart", "-t", "0", "c1"])?;
    assert!(
        daemon
            .ok(&["exec", "c1", "cat", "/etc/hosts"])?
            .contains("10.0.0.1 added")
    );
    assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap_or_default(), before);
    daemon.finish()
}

#[test]
fn sysctls_of_the_container_only() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let host = std::fs::read_to_string("/proc/sys/kernel/shmmax")?;
    let read = ["busybox", "cat", "/proc/sys/kernel/shmmax"];
    let text = daemon.ok(&[&["run", "--rm", "--sysctl", "kernel.shmmax=33554432"][..], &read].concat())?;
    assert_eq!(text, "33554432");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shmmax")?, host);
    daemon.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "busybox",
        "true",
    ])?;
    daemon.finish()
}

#[test]
fn init_reaps_and_forwards() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "trap 'exit 11' TERM; (sleep 0.01 & exit 0); echo ready; while :; do sleep 0.05; done";
    daemon.ok(&[
        "run", "-d", "--init", "--name", "c1", "busybox", "sh", "-c", program,
    ])?;
    daemon.wait_for_log("c1", "ready")?;
    assert!(
        !daemon
            .ok(&["exec", "c1", "cat", "/proc/1/cmdline"])?
            .starts_with("sh")
    );
    testkit::until("no zombie", std::time::Duration::from_secs(5), || {
        let zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
        Ok(daemon.ok(&["exec", "c1", "sh", "-c", zombies])? == "0")
    })?;
    daemon.ok(&["stop", "c1"])?;
    assert_eq!(daemon.inspect("c1", "{{.State.ExitCode}}")?, "11");
    daemon
        .berth(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 33"])?
        .expect(33)?;
    daemon
        .berth(&["run", "--rm", "--init", "busybox", "no-such-program"])?
        .expect(127)?;
    daemon.finish()
}

#[test]
fn processes_of_another_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "4242"])?;
    let text = daemon.ok(&["run", "--rm", "--pid", "container:first", "busybox", "ps"])?;
    assert!(text.contains("sleep 4242"), "{text}");
    daemon.finish()
}

#[test]
fn shared_memory_of_another_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "first",
        "--ipc",
        "shareable",
        "--shm-size",
        "3m",
        "busybox",
        "sleep",
        "1000",
    ])?;
    daemon.ok(&["exec", "first", "sh", "-c", "echo from-first >/dev/shm/a"])?;
    let program =
        "cat /dev/shm/a; echo from-second >/dev/shm/b; grep ' /dev/shm ' /proc/mounts; ls -d /dev/mqueue";
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--ipc",
        "container:first",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[2]), ("from-first", "/dev/mqueue"), "{text}");
    for word in ["nosuid", "nodev", "noexec", "size=3072k"] {
        assert!(lines[1].contains(word), "{text}");
    }
    assert_eq!(daemon.ok(&["exec", "first", "cat", "/dev/shm/b"])?, "from-second");
    // One that keeps its memory to itself is not joined, and neither is one without any.
    daemon.ok(&["run", "-d", "--name", "private", "busybox", "sleep", "1000"])?;
    let output = daemon
        .berth(&["run", "--rm", "--ipc", "container:private", "busybox", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("non-shareable IPC"), "{}", output.stderr);
    daemon.finish()
}

/// A restart by policy joins the container that is meant, never the process that has its old number.
#[test]
fn a_restart_joins_the_present_run_of_the_other_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "1000"])?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "second",
        "--restart",
        "always",
        "--network",
        "container:first",
        "busybox",
        "sh",
        "-c",
        "readlink /proc/self/ns/net; while [ -d /sys ]; do sleep 0.05; [ -e /stop ] && rm /stop && exit; done",
    ])?;
    let before = daemon.ok(&["exec", "first", "readlink", "/proc/self/ns/net"])?;
    daemon.wait_for_log("second", &before)?;
    daemon.ok(&["restart", "-t", "0", "first"])?;
    let after = daemon.ok(&["exec", "first", "readlink", "/proc/self/ns/net"])?;
    assert_ne!(before, after);
    daemon.ok(&["exec", "second", "touch", "/stop"])?;
    daemon.wait_for_log("second", &after)?;
    daemon.finish()
}
