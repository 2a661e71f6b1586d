//! Closed by default, seen from inside and outside. The names begin with the class of docs/threat-model.md.

use anyhow::{Context, Result};
use testkit::{Daemon, residue};

/// docker's 14 capabilities as the kernel prints them.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

fn status(daemon: &Daemon, flags: &[&str], field: &str) -> Result<String> {
    let text = daemon.ok(&[
        &["run", "--rm"][..],
        flags,
        &["busybox", "cat", "/proc/self/status"],
    ]
    .concat())?;
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")))
        .map(|value| value.trim().to_owned())
        .with_context(|| format!("no {field}"))
}

#[test]
fn rt_06_capability_sets() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (flags, field, expected) in [
        (&[][..], "CapBnd", DEFAULT_CAPABILITIES),
        (&[], "CapEff", DEFAULT_CAPABILITIES),
        (&[], "CapInh", NONE),
        (&[], "CapAmb", NONE),
        (&["-u", "1000"], "CapEff", NONE),
        (&["-u", "1000"], "CapInh", NONE),
        (&["-u", "1000"], "CapBnd", DEFAULT_CAPABILITIES),
        (&["--cap-drop", "ALL"], "CapBnd", NONE),
        (
            &["--cap-drop", "all", "--cap-add", "chown"],
            "CapEff",
            "0000000000000001",
        ),
        (&["--cap-add", "SYS_ADMIN"], "CapEff", "00000000a82425fb"),
        (&["--cap-drop", "CAP_NET_RAW"], "CapEff", "00000000a80405fb"),
    ] {
        assert_eq!(status(&daemon, flags, field)?, expected, "{flags:?} {field}");
    }
    let output = daemon
        .berth(&["run", "--rm", "--cap-add", "NOSUCH", "busybox", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("NOSUCH"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn rt_06_capabilities_of_exec() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let exec = |flags: &[&str], field: &str| -> Result<String> {
        let program = format!("grep {field} /proc/self/status | cut -f2");
        daemon.ok(&[&["exec"][..], flags, &["c1", "sh", "-c", &program]].concat())
    };
    assert_eq!(exec(&[], "CapEff")?, DEFAULT_CAPABILITIES);
    assert_eq!(exec(&[], "CapInh")?, NONE);
    assert_eq!(exec(&["-u", "1000"], "CapEff")?, NONE);
    assert_eq!(exec(&["-u", "1000"], "CapAmb")?, NONE);
    daemon.finish()
}

#[test]
fn rt_15_seccomp_is_on() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    assert_eq!(status(&daemon, &[], "Seccomp")?, "2");
    assert_eq!(
        status(&daemon, &["--security-opt", "seccomp=unconfined"], "Seccomp")?,
        "0"
    );
    assert_eq!(status(&daemon, &["--privileged"], "Seccomp")?, "0");
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    assert_eq!(
        daemon.ok(&[
            "exec",
            "c1",
            "sh",
            "-c",
            "grep Seccomp: /proc/self/status | cut -f2"
        ])?,
        "2"
    );
    let output = daemon.berth(&["run", "--rm", "busybox", "unshare", "-m", "true"])?;
    assert!(
        output.code != 0 && output.stderr.contains("Operation not permitted"),
        "{output:?}"
    );
    daemon.finish()
}

#[test]
fn rt_15_seccomp_profile_file() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let file = daemon.directory().join("profile.json");
    testkit::image::put(
        &file,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )?;
    let option = format!("seccomp={}", file.display());
    let output = daemon
        .berth(&["run", "--rm", "--security-opt", &option, "busybox", "mkdir", "/x"])?
        .expect(1)?;
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{}",
        output.stderr
    );
    let missing = daemon.berth(&[
        "run",
        "--rm",
        "--security-opt",
        "seccomp=/no/such/file",
        "busybox",
        "true",
    ])?;
    missing.expect(125)?;
    daemon.finish()
}

#[test]
fn rt_20_no_new_privileges() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    assert_eq!(
        status(&daemon, &["--security-opt", "no-new-privileges"], "NoNewPrivs")?,
        "1"
    );
    daemon.finish()
}

#[test]
fn every_container_has_ids_of_its_own() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let map = |flags: &[&str]| {
        daemon.ok(&[
            &["run", "--rm"][..],
            flags,
            &["busybox", "cat", "/proc/self/uid_map"],
        ]
        .concat())
    };
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let words = |text: &str| {
        text.split_whitespace()
            .map(|word| word.parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    };
    let first = words(&daemon.ok(&["exec", "c1", "cat", "/proc/self/uid_map"])?);
    let second = words(&map(&[])?);
    assert!(
        first.len() == 3 && first[0] == 0 && first[1] >= 65_536 && first[2] == 65_536,
        "{first:?}"
    );
    assert!(
        second[1] >= 65_536 && first[1].abs_diff(second[1]) >= 65_536,
        "{first:?} {second:?}"
    );
    let host = words(&map(&["--userns", "host"])?);
    assert_eq!(host, words(&std::fs::read_to_string("/proc/self/uid_map")?));
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let owner = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let uid = owner.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_eq!(
        uid.split_whitespace().next().unwrap().parse::<u64>()?,
        first[1],
        "root inside is nobody outside"
    );
    daemon.finish()
}

#[test]
fn rt_04_masked_and_read_only_paths() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/latency_stats /proc/sched_debug; do
            [ -e $f ] || continue
            [ -c $f ] && [ \"$(stat -c %t:%T $f)\" = 1:3 ] || { head -c1 $f >/dev/null 2>&1 && echo \"open $f\"; }
        done
        for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do
            [ -d $d ] || continue
            [ -z \"$(ls -A $d 2>/dev/null)\" ] || echo \"listed $d\"
            touch $d/x 2>/dev/null && echo \"written $d\"
        done
        for r in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/irq/default_smp_affinity; do
            [ -e $r ] || continue
            (echo x >> $r) 2>/dev/null && echo \"written $r\"
        done
        (echo x > /sys/kernel/uevent_helper) 2>/dev/null && echo written uevent_helper
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo made a cgroup
        for g in /sys/fs/cgroup/*; do mkdir $g/x 2>/dev/null && echo made $g/x; done
        echo done";
    assert_eq!(
        daemon.ok(&["run", "--rm", "busybox", "sh", "-c", program])?,
        "done"
    );
    let open = [
        "run",
        "--rm",
        "--security-opt",
        "systempaths=unconfined",
        "busybox",
        "sh",
        "-c",
        "ls /proc/acpi /proc/scsi 2>/dev/null; [ -c /proc/kcore ] || echo unmasked",
    ];
    assert!(daemon.ok(&open)?.ends_with("unmasked"));
    daemon.finish()
}

#[test]
fn rt_02_no_stray_file_descriptors() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let list = "ls /proc/self/fd | sort -n | tr '\\n' ' '; for n in 3 4 5 6 7 8 9 10 20; do [ -e /proc/1/fd/$n ] && echo leak $n; done; true";
    // `ls` itself has /proc/self/fd open as 3.
    assert_eq!(
        daemon.ok(&["run", "--rm", "busybox", "sh", "-c", list])?.trim(),
        "0 1 2 3"
    );
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    assert_eq!(daemon.ok(&["exec", "c1", "sh", "-c", list])?.trim(), "0 1 2 3");
    for fd in 3..20 {
        let directory = format!("/proc/self/fd/{fd}");
        let output = daemon.berth(&["run", "--rm", "-w", &directory, "busybox", "ls", "."])?;
        assert_ne!(output.code, 0, "-w {directory}: {}", output.stdout);
        let output = daemon.berth(&["exec", "-w", &directory, "c1", "ls", "."])?;
        assert_ne!(output.code, 0, "exec -w {directory}: {}", output.stdout);
    }
    daemon.finish()
}

#[test]
fn rt_01_the_engine_cannot_be_written_from_inside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "
        for n in 1 2 3 4 5 6 7 8 9 10; do
            for p in /proc/[0-9]*; do (echo overwritten >> $p/exe) 2>/dev/null && readlink $p/exe; done
        done; true";
    let before = std::fs::metadata(testkit::berth()?)?.len();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        &format!("while :; do {program}; done"),
    ])?;
    for _ in 0..20 {
        daemon.ok(&["exec", "c1", "true"])?;
    }
    // An image whose program is the engine itself must not get hold of it either.
    daemon.berth(&["run", "--rm", "busybox", "/proc/self/exe", "--version"])?;
    assert_eq!(std::fs::metadata(testkit::berth()?)?.len(), before);
    daemon.finish()
}

#[test]
fn rt_07_environment_cannot_make_users() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "-e",
        "X=a\nevil:x:0:0::/:/bin/sh",
        "-u",
        "app",
        "busybox",
        "sh",
        "-c",
        "id -u; grep -c evil /etc/passwd || true",
    ])?;
    assert_eq!(text, "1000\n0");
    daemon.finish()
}

#[test]
fn rt_07_hostile_passwd_files() -> Result<()> {
    let daemon = Daemon::start()?;
    for (name, make) in [
        ("link", "ln -sf /etc/shadow TREE/etc/passwd"),
        ("fifo", "rm TREE/etc/passwd; mkfifo TREE/etc/passwd"),
        ("sparse", "truncate -s 1G TREE/etc/passwd"),
        ("directory", "rm TREE/etc/passwd; mkdir TREE/etc/passwd"),
    ] {
        let tree = daemon.directory().join(name);
        testkit::image::busybox_tree(&tree)?;
        let shell = make.replace("TREE", tree.to_str().unwrap());
        testkit::command::run(std::process::Command::new("sh").args(["-c", &shell]), b"")?.expect(0)?;
        let rootfs = format!("{}:O", tree.display());
        let output = daemon.berth(&["run", "--rm", "-u", "app", "--rootfs", &rootfs, "id", "-u"])?;
        assert_ne!(output.code, 0, "{name}: {}", output.stdout);
        assert!(output.took.as_secs() < 10, "{name} took {:?}", output.took);
        let output = daemon.berth(&["run", "--rm", "-u", "1000:1000", "--rootfs", &rootfs, "id", "-u"])?;
        // Numbers need no file; where it cannot be read safely, refusing is right too.
        assert!(
            output.code != 0 || output.stdout.trim() == "1000",
            "{name}: {}",
            output.stdout
        );
    }
    daemon.finish()
}

#[test]
fn rt_11_keyrings_are_private() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon.berth(&["run", "--rm", "busybox", "cat", "/proc/keys"])?;
    assert_eq!(output.stdout, "");
    daemon.finish()
}

#[test]
fn rt_13_cgroups_show_no_more_than_their_own() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&["run", "--rm", "busybox", "cat", "/proc/self/cgroup"])?;
    assert!(text.lines().all(|line| line.ends_with(":/")), "{text}");
    let find = "find /sys/fs/cgroup -name release_agent 2>/dev/null | while read f; do (echo /x > $f) 2>/dev/null && echo wrote; done; true";
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "sh", "-c", find])?, "");
    daemon.finish()
}

#[test]
fn rt_14_only_namespaced_sysctls() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for key in [
        "kernel.core_pattern=|/bin/sh",
        "kernel.shmmax=1+kernel.core_pattern=x",
        "vm.swappiness=1",
        "kernel/core_pattern=x",
        "kernel.shmmax",
        "net.ipv4.ip_forward=1\nkernel.core_pattern=x",
    ] {
        let output = daemon.berth(&["run", "--rm", "--sysctl", key, "busybox", "true"])?;
        assert_ne!(output.code, 0, "--sysctl {key:?} was accepted");
    }
    let output = daemon.berth(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "busybox",
        "true",
    ])?;
    assert_ne!(output.code, 0, "a net sysctl of the host");
    daemon.finish()
}

#[test]
fn rt_17_the_old_root_is_gone() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "cd /; i=0; while [ $i -lt 50 ]; do cd ..; i=$((i+1)); done; ls -d /proc/1/root/etc/os-release 2>/dev/null; awk '$5 == \"/\"' /proc/self/mountinfo | wc -l; mount -t tmpfs x /tmp 2>/dev/null && echo mounted; true";
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--cap-add",
        "SYS_CHROOT",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    assert_eq!(text, "1");
    daemon.finish()
}

#[test]
fn rt_19_mounts_do_not_leave_and_do_not_enter() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let bind = format!("{}:/mnt", shared.display());
    let program = "mkdir -p /mnt/m && mount -t tmpfs inside /mnt/m && grep -c ' /mnt/m ' /proc/mounts";
    let flags = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let text = daemon.ok(&[
        &["run", "--rm", "-v", &bind][..],
        &flags,
        &["busybox", "sh", "-c", program],
    ]
    .concat())?;
    assert_eq!(text, "1");
    assert!(residue::mounts(daemon.place())?.is_empty());
    daemon.finish()
}

#[test]
fn rt_20_clean_process_state() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program =
        "umask; grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2; env | cut -d= -f1 | sort | tr '\\n' ' '";
    let text = daemon.ok(&["run", "--rm", "busybox", "sh", "-c", program])?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "0022");
    assert_eq!(lines[1], NONE, "blocked signals");
    assert_eq!(lines[2], NONE, "ignored signals");
    let names: Vec<_> = lines[3].split_whitespace().collect();
    assert!(
        names
            .iter()
            .all(|name| ["HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "_"].contains(name)),
        "{names:?}"
    );
    daemon.finish()
}

#[test]
fn privileged_has_what_the_daemon_has() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let own = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()?))?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap()
        .trim()
        .to_owned();
    assert_eq!(status(&daemon, &["--privileged"], "CapEff")?, own);
    let program = "mount -t tmpfs x /tmp && echo mounted; ls /dev | wc -l";
    let text = daemon.ok(&["run", "--rm", "--privileged", "busybox", "sh", "-c", program])?;
    assert!(text.starts_with("mounted"), "{text}");
    daemon.finish()
}

#[test]
fn st_04_data_of_containers_is_private() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::with_busybox()?;
    let mode = |path: &std::path::Path| std::fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
    assert_eq!(mode(&daemon.place().data_root())?, 0o700);
    // Members of the socket's group must reach the socket, and nothing else.
    daemon.ok(&["run", "-d", "busybox", "sleep", "1000"])?;
    assert_eq!(mode(&daemon.place().exec_root())? & 0o022, 0);
    for entry in std::fs::read_dir(daemon.place().exec_root())? {
        let path = entry?.path();
        assert_eq!(mode(&path)? & 0o077, 0, "{}", path.display());
    }
    assert_eq!(
        mode(&daemon.place().socket())? & 0o007,
        0,
        "ap_02: the API socket is not for all"
    );
    daemon.finish()
}

#[test]
fn nw_07_no_abstract_sockets() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "busybox", "sleep", "1000"])?;
    let name = daemon.place().name();
    let sockets = std::fs::read_to_string("/proc/net/unix")?;
    assert!(
        !sockets
            .lines()
            .any(|line| line.contains(" @") && (line.contains(&name) || line.contains("berth")))
    );
    daemon.finish()
}

#[test]
fn seccomp_profiles_are_kept_whole_or_refused() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let run = |name: &str, profile: &str| -> Result<testkit::command::Output> {
        let path = daemon.directory().join(name);
        testkit::image::put(&path, profile)?;
        let option = format!("seccomp={}", path.display());
        let program = [
            "busybox",
            "sh",
            "-c",
            "mkdir /x 2>&1; grep Seccomp_filters: /proc/self/status",
        ];
        daemon.berth(&[&["run", "--rm", "--security-opt", &option][..], &program].concat())
    };
    let denied =
        r#""syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]"#;
    let logging =
        format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], {denied}}}"#);
    let output = run("logging.json", &logging)?.expect(0)?;
    assert!(output.stdout.contains("not supported"), "{}", output.stdout);
    // The kernel takes this flag only together with a listener, so its error shows that flags reach it.
    let waiting = logging.replace("FLAG_LOG", "FLAG_WAIT_KILLABLE_RECV");
    let output = run("waiting.json", &waiting)?.expect(125)?;
    assert!(output.stderr.contains("seccomp"), "{}", output.stderr);
    let notifying = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#;
    let output = run("notifying.json", notifying)?.expect(125)?;
    assert!(output.stderr.contains("SCMP_ACT_NOTIFY"), "{}", output.stderr);
    daemon.finish()
}

/// What the daemon itself has not got is an error when it was asked for by name, and a warning when it was a part of
/// everything.
#[test]
fn capabilities_that_the_daemon_lacks_are_named() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = u64::from_str_radix(bounding.unwrap_or_default().trim(), 16)?;
    const SYS_RESOURCE: u64 = 1 << 24;
    if bounding & SYS_RESOURCE != 0 {
        return testkit::skip("this machine lacks no capability");
    }
    let daemon = Daemon::with_busybox()?;
    let named = "CAP_SYS_RESOURCE";
    let output = daemon
        .berth(&["create", "--privileged", "busybox", "true"])?
        .expect(0)?;
    assert!(output.stderr.contains(named), "{}", output.stderr);
    let add = ["--cap-add", "SYS_RESOURCE", "busybox", "true"];
    let output = daemon
        .berth(&[&["run", "--rm", "--userns", "host"][..], &add].concat())?
        .expect(125)?;
    assert!(output.stderr.contains(named), "{}", output.stderr);
    // In a user namespace of its own it is there, and bounded by that namespace.
    daemon.ok(&[&["run", "--rm"][..], &add].concat())?;
    daemon.finish()
}

/// What the daemon is pinned to is not for its containers.
#[test]
fn rt_20_every_processor_of_the_cpuset() -> Result<()> {
    let allowed = |status: &str| -> Option<String> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.map(|list| list.trim().to_owned())
    };
    let all = allowed(&std::fs::read_to_string("/proc/self/status")?).context("Cpus_allowed_list")?;
    if !all.contains(['-', ',']) {
        return testkit::skip("this machine has one processor");
    }
    let mut first = rustix::thread::CpuSet::new();
    first.set(all.split(['-', ',']).next().unwrap_or_default().parse()?);
    // Of this test's own thread, and of what it starts.
    rustix::thread::sched_setaffinity(None, &first)?;
    let daemon = Daemon::with_busybox()?;
    let status = daemon.ok(&["run", "--rm", "busybox", "cat", "/proc/self/status"])?;
    assert_eq!(allowed(&status), Some(all));
    daemon.finish()
}
