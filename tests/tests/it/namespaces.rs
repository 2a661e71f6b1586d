//! The namespace rows of docs/seeds.md (N1 to N9 and N14 to N18; the others need networks), one test each.

use std::fs::read_link;
use std::process::Command;

use anyhow::Result;
use testkit::{Daemon, binary, command, has, skip};

fn host_namespace(kind: &str) -> Result<String> {
    Ok(read_link(format!("/proc/self/ns/{kind}"))?
        .to_string_lossy()
        .into_owned())
}

/// Runs in a user namespace of the host's, where joining the host's other namespaces is allowed.
fn namespace_with(daemon: &Daemon, flags: &[&str], kind: &str) -> Result<String> {
    let path = format!("/proc/self/ns/{kind}");
    daemon.ok(&[&["run", "--rm"][..], flags, &["busybox", "readlink", &path]].concat())
}

#[test]
fn n01_host_namespaces_share_exactly_that_one() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (flag, kind) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--network", "net"),
    ] {
        for other in ["pid", "ipc", "uts", "net", "mnt"] {
            let same = namespace_with(&daemon, &[flag, "host"], other)? == host_namespace(other)?;
            assert_eq!(same, other == kind, "{flag} host: {other}");
        }
    }
    daemon.finish()
}

#[test]
fn n02_own_host_and_domain_name() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_eq!(
        daemon.ok(&["run", "--rm", "-h", "container", "busybox", "hostname"])?,
        "container"
    );
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--domainname",
        "example.org",
        "busybox",
        "cat",
        "/proc/sys/kernel/domainname",
    ])?;
    assert_eq!(text, "example.org");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname")?, before);
    daemon.finish()
}

#[test]
fn n03_own_message_queues() -> Result<()> {
    if !has("ipcmk") {
        return skip("util-linux has no ipcmk here");
    }
    let daemon = Daemon::with_busybox()?;
    let made = command::run(Command::new("ipcmk").arg("-Q"), b"")?.text()?;
    let id = made.rsplit(' ').next().unwrap_or_default().to_owned();
    let count = |flags: &[&str]| {
        daemon.ok(&[
            &["run", "--rm"][..],
            flags,
            &["busybox", "sh", "-c", "tail -n +2 /proc/sysvipc/msg | wc -l"],
        ]
        .concat())
    };
    let own = count(&[]);
    let host = count(&["--ipc", "host"]);
    command::run(Command::new("ipcrm").args(["-q", &id]), b"")?.expect(0)?;
    assert_eq!(own?, "0");
    assert!(host?.parse::<u32>()? >= 1);
    daemon.finish()
}

#[test]
fn n04_child_is_pid_one() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    assert_eq!(
        daemon.ok(&["run", "--rm", "busybox", "sh", "-c", "echo $$"])?,
        "1"
    );
    daemon.finish()
}

#[test]
fn n05_fresh_proc() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let list = daemon.ok(&["run", "--rm", "busybox", "ls", "/proc"])?;
    let processes = list
        .lines()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .count();
    assert!(processes <= 2, "{processes} processes");
    daemon.finish()
}

#[test]
fn n06_mounts_stay_inside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let before = std::fs::read_to_string("/proc/self/mountinfo")?;
    let flags = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let program = "mount -t tmpfs berth-n06 /root && grep -c berth-n06 /proc/mounts";
    let text = daemon.ok(&[&["run", "--rm"][..], &flags, &["busybox", "sh", "-c", program]].concat())?;
    assert_eq!(text, "1");
    assert!(!before.contains("berth-n06"));
    assert!(!std::fs::read_to_string("/proc/self/mountinfo")?.contains("berth-n06"));
    daemon.finish()
}

#[test]
fn n07_a_plain_directory_as_root() -> Result<()> {
    let daemon = Daemon::start()?;
    let tree = daemon.directory().join("tree");
    testkit::image::busybox_tree(&tree)?;
    let mounts = daemon.ok(&[
        "run",
        "--rm",
        "--rootfs",
        tree.to_str().unwrap(),
        "/bin/sh",
        "-c",
        "awk '{print $5}' /proc/self/mountinfo",
    ])?;
    for target in [
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ] {
        assert!(
            mounts.lines().any(|line| line == target),
            "{target} is not mounted: {mounts}"
        );
    }
    daemon.finish()
}

#[test]
fn n08_root_inside_is_nobody_outside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    assert_eq!(daemon.ok(&["exec", "c1", "id", "-u"])?, "0");
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(
        uid.split_whitespace()
            .all(|id| id.parse::<u32>().unwrap() >= 65_536),
        "{uid}"
    );
    daemon.finish()
}

#[test]
fn n09_unmapped_ids_are_nobody() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let file = shared.join("file");
    testkit::image::put(&file, "")?;
    std::os::unix::fs::chown(&file, Some(70_000), Some(70_000))?;
    let bind = format!("{}:/mnt:ro", shared.display());
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "-v",
            &bind,
            "busybox",
            "stat",
            "-c",
            "%u:%g",
            "/mnt/file"
        ])?,
        "65534:65534"
    );
    let map = daemon.ok(&["run", "--rm", "busybox", "cat", "/proc/self/uid_map"])?;
    let words: Vec<u64> = map.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!((words[0], words[2]), (0, 65_536));
    daemon.finish()
}

#[test]
fn n14_namespaces_can_be_compared_from_outside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let outside = read_link(format!("/proc/{pid}/ns/{kind}"))?;
        let inside = daemon.ok(&["exec", "c1", "readlink", &format!("/proc/1/ns/{kind}")])?;
        assert_eq!(inside, outside.to_string_lossy(), "{kind}");
        assert_ne!(inside, host_namespace(kind)?, "{kind} is the host's");
    }
    daemon.finish()
}

#[test]
fn n16_exec_joins_every_namespace() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let both = format!("readlink /proc/1/ns/{kind}; readlink /proc/self/ns/{kind}");
        let text = daemon.ok(&["exec", "c1", "sh", "-c", &both])?;
        let (first, second) = text.split_once('\n').unwrap_or_default();
        assert_eq!(first, second, "{kind}");
    }
    daemon.finish()
}

#[test]
fn n17_processes_have_a_pid_in_each_namespace() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap();
    let pids: Vec<_> = pids.split_whitespace().collect();
    assert_eq!(pids, [pid.as_str(), "1"]);
    daemon.finish()
}

/// An engine inside a container of its own kind.
#[test]
fn n17_an_engine_inside_a_container() -> Result<()> {
    let daemon = Daemon::start()?;
    let program = format!(
        "mkdir -p /tmp/n17 && mount -t tmpfs n17 /tmp/n17 && cd /tmp/n17 && mkdir tree tree/bin tree/proc tree/dev \
         tree/sys tree/etc tree/tmp && cp {busybox} tree/bin/busybox && \
         {{ {berth} daemon --host unix:///tmp/n17/s --data-root /tmp/n17/d --exec-root /tmp/n17/r 2>/tmp/n17/log & }} && \
         export BERTH_HOST=unix:///tmp/n17/s && \
         for i in $(seq 200); do {berth} version >/dev/null 2>&1 && break; sleep 0.05; done; \
         {berth} run --rm --rootfs /tmp/n17/tree:O /bin/busybox echo nested; code=$?; cat /tmp/n17/log >&2; exit $code",
        berth = binary::berth()?.display(),
        busybox = testkit::image::busybox()?,
    );
    let output = daemon.berth(&[
        "run",
        "--rm",
        "--privileged",
        "--rootfs",
        "/:O",
        "sh",
        "-c",
        &program,
    ])?;
    assert_eq!(output.text()?, "nested");
    daemon.finish()
}

#[test]
fn n18_cgroup_and_time_namespaces() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for kind in ["cgroup", "time"] {
        assert_ne!(
            namespace_with(&daemon, &[], kind)?,
            host_namespace(kind)?,
            "{kind}"
        );
    }
    daemon.finish()
}
