//! Ways out that need a program of their own to be tried (`tests/probe/probe.c`), by the classes of
//! docs/security-tests.md.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use seccomp::{Action, Arch, Call, Facts, Profile};
use testkit::{Daemon, Pty};

use crate::probe;

/// With these a container's root may do whatever its own user namespace allows.
const GRANTED: [&str; 4] = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];

/// docker's default capabilities.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Lines of words; the last word by all before it.
fn table(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn probed(daemon: &Daemon, flags: &[&str], words: &[&str]) -> Result<String> {
    daemon.ok(&[&["run", "--rm"][..], flags, &["busybox", "/probe"], words].concat())
}

/// RT-15: the kernel does with every number on each of the three roads what the profile, evaluated by itself, says. What
/// is allowed must end as it does without a filter.
#[test]
fn rt_15_every_system_call_by_every_road() -> Result<()> {
    let daemon = probe::daemon()?;
    let capabilities = CAPABILITIES.map(str::to_owned);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let facts = Facts {
        capabilities: &capabilities,
        arch: Arch::NATIVE,
        kernel: release.trim().parse()?,
    };
    let policy = Profile::docker_default().resolve(&facts)?;
    let mut refused = 0;
    for (road, arch, base, ones) in [
        ("amd64", Arch::X86_64, 0, u64::MAX),
        ("x32", Arch::X86_64, 0x4000_0000, u64::MAX),
        ("i386", Arch::X86, 0, u64::from(u32::MAX)),
    ] {
        let filtered = table(&probed(&daemon, &[], &["syscalls", road])?);
        let open = table(&probed(
            &daemon,
            &["--security-opt", "seccomp=unconfined"],
            &["syscalls", road],
        )?);
        assert_eq!(filtered.len(), 601, "{road}");
        for number in 0..=600 {
            let call = Call {
                arch: arch.audit(),
                number: base + number,
                arguments: [ones; 6],
            };
            let got = filtered[&number.to_string()].as_str();
            let without = open[&number.to_string()].as_str();
            match seccomp::evaluate(&policy, &call) {
                Action::Errno(errno) => {
                    refused += 1;
                    assert_eq!(got, errno.to_string(), "{road} {number}");
                }
                Action::Allow => {
                    // Calls that wait, that end their process or that depend on luck have no one outcome.
                    let loose = |text: &str| matches!(text, "gone" | "hangs" | "0" | "4" | "11");
                    assert!(
                        got == without || loose(got) && loose(without),
                        "{road} {number}: {got} with the filter, {without} without"
                    );
                }
                other => panic!("{road} {number}: {other:?} in the default profile"),
            }
        }
    }
    assert!(refused > 300, "{refused}");
    daemon.finish()
}

/// RT-15: socket families that were ways out (AF_ALG, AF_VSOCK) are closed on every road (CVE-2026-31431, CVE-2026-123876);
/// the rest is what the profile says.
#[test]
fn rt_15_socket_families() -> Result<()> {
    let daemon = probe::daemon()?;
    let got = table(&probed(&daemon, &[], &["sockets"])?);
    let open = table(&probed(
        &daemon,
        &["--security-opt", "seccomp=unconfined"],
        &["sockets"],
    )?);
    for family in [38, 40] {
        for road in ["direct", "high", "i386", "socketcall"] {
            let cell = format!("{road} {family}");
            assert!(
                matches!(got[&cell].as_str(), "1" | "38"),
                "{cell}: {} (without the filter {})",
                got[&cell],
                open[&cell]
            );
        }
    }
    for family in [1, 2, 10] {
        assert_eq!(got[&format!("direct {family}")], "0");
    }
    let capabilities = CAPABILITIES.map(str::to_owned);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let facts = Facts {
        capabilities: &capabilities,
        arch: Arch::NATIVE,
        kernel: release.trim().parse()?,
    };
    let policy = Profile::docker_default().resolve(&facts)?;
    for family in 0..=50u32 {
        for (road, arch, name) in [
            ("direct", Arch::X86_64, "socket"),
            ("i386", Arch::X86, "socket"),
            ("pair", Arch::X86_64, "socketpair"),
        ] {
            let call = Call {
                arch: arch.audit(),
                number: seccomp::call_number(arch, name).context("number")?,
                arguments: [u64::from(family), 0, 0, 0, 0, 0],
            };
            let cell = format!("{road} {family}");
            match seccomp::evaluate(&policy, &call) {
                Action::Errno(errno) => assert_eq!(got[&cell], errno.to_string(), "{cell}"),
                _ => assert_eq!(got[&cell], open[&cell], "{cell}"),
            }
        }
    }
    daemon.finish()
}

/// RT-15: no new namespace without a grant, by no call and with no high bits; no odd personality.
#[test]
fn rt_15_clone_flags_and_personality() -> Result<()> {
    let daemon = probe::daemon()?;
    let got = table(&probed(&daemon, &[], &["clones"])?);
    for (cell, errno) in &got {
        let words: Vec<_> = cell.split(' ').collect();
        let expected = match (words[0], words[1]) {
            ("clone3", _) => "38",
            // A time namespace's flag is part of the exit signal's byte for clone, and no namespace.
            ("clone" | "clone-high" | "clone-i386", "80") => continue,
            ("clone" | "clone-high" | "clone-i386" | "unshare", _) => "1",
            // The kernel takes 32 bits, and so does the filter: with high bits the answer is the same.
            ("personality" | "personality-high", "0" | "8" | "20000" | "20008" | "ffffffff") => "0",
            ("personality" | "personality-high", _) => "1",
            _ => continue,
        };
        assert_eq!(errno, expected, "{cell}");
    }
    assert!(got.len() > 40);
    daemon.finish()
}

/// RT-10: while programs are started by `exec`, a tracer in the container sees nothing of the engine (CVE-2016-9962,
/// CVE-2016-8649): no descriptor, no program, no other root.
#[test]
fn rt_10_exec_cannot_be_caught_on_its_way_in() -> Result<()> {
    let log = hunt(&[], &["/probe", "hunt"])?;
    assert!(
        log.trim_end().ends_with("found 0") && !log.contains("found fd"),
        "{log}"
    );
    Ok(())
}

/// RT-10 without a user namespace: CAP_SYS_PTRACE is then the machine's, and being undumpable does not count against
/// it. All there is to take are the process's own streams and its end of the channel.
#[test]
fn rt_10_exec_has_nothing_of_the_host_to_catch() -> Result<()> {
    // Who may stop any process can keep an exec from ever ending; here it only looks.
    let log = hunt(&["--userns", "host"], &["/probe", "hunt", "quietly"])?;
    for line in log.lines() {
        assert!(!line.contains("root of another tree"), "{log}");
        if let Some(found) = line.strip_prefix("found fd ") {
            let link = found.split_once(' ').map_or("", |(_, link)| link);
            // The streams, the channel, and what the process opened in the container's own root.
            let is_stream = link.starts_with("socket:") || link.starts_with("pipe:");
            let is_own = ["/", "/dev/null", "/etc/passwd", "/etc/group", "/bin/busybox"].contains(&link);
            assert!(is_stream || is_own, "{line}");
        }
    }
    Ok(())
}

/// Runs a hunter while 200 programs are started beside it, and returns what it found.
fn hunt(flags: &[&str], command: &[&str]) -> Result<String> {
    let daemon = probe::daemon()?;
    let mut run = vec!["run", "-d", "--name", "hunter", "--cap-add", "SYS_PTRACE"];
    run.extend(flags);
    run.push("busybox");
    run.extend(command);
    daemon.ok(&run)?;
    daemon.wait_for_log("hunter", "ready")?;
    for _ in 0..200 {
        daemon.ok(&["exec", "hunter", "/bin/busybox", "true"])?;
    }
    daemon.ok(&["kill", "-s", "TERM", "hunter"])?;
    daemon.wait_for("hunter", "{{.State.Status}}", "exited")?;
    let log = daemon.ok(&["logs", "hunter"])?;
    let last = log.lines().last().unwrap_or_default();
    let looked: u64 = last.split(' ').nth(1).context("looked")?.parse()?;
    assert!(looked > 100, "the hunter saw too little: {last}");
    daemon.finish()?;
    Ok(log)
}

/// RT-12: of all device nodes that a container can make, only those of its list open. Without a user namespace the
/// device cgroup alone decides.
#[test]
fn rt_12_only_the_devices_of_the_list_open() -> Result<()> {
    let daemon = probe::daemon()?;
    let allowed = ["c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2"];
    for flags in [
        &[][..],
        &["--userns", "host"],
        &[
            "--userns",
            "host",
            "--cap-add",
            "SYS_ADMIN",
            "--cap-add",
            "SYS_RAWIO",
        ],
    ] {
        let text = probed(&daemon, flags, &["devices", "/tmp"])?;
        assert_eq!(text.lines().count(), 27, "{text}");
        for line in text.lines() {
            let words: Vec<_> = line.rsplitn(3, ' ').collect();
            let [opened, made, device] = words.as_slice() else {
                panic!("{line}")
            };
            if allowed.contains(device) {
                // A node of the list in /tmp is stopped by nodev at most; a terminal may be missing.
                continue;
            }
            assert!(
                *made == "1" || *opened == "1" || *opened == "13",
                "{flags:?}: {line}"
            );
        }
    }
    daemon.finish()
}

/// RT-09: nothing in a container puts bytes into a terminal's input: not its own, not the one that `exec` was typed in
/// (CVE-2016-10124, CVE-2017-5226), not with high bits that a filter might not look at (CVE-2019-10063).
#[test]
fn rt_09_no_bytes_are_pushed_into_a_terminal() -> Result<()> {
    let daemon = probe::daemon()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    // From a terminal, without -t: standard input is the client's, never the terminal itself.
    for words in [
        &["exec", "-i", "c1", "/probe", "push"][..],
        &["run", "--rm", "-i", "busybox", "/probe", "push"],
        &["exec", "c1", "/probe", "push"],
    ] {
        let pty = Pty::spawn(&daemon.command(words)?, 30, 100)?;
        pty.expect("TIOCSCTTY")?;
        let screen = pty.screen();
        for line in screen.lines().filter(|line| line.starts_with("TIOC")) {
            assert!(!line.trim_end().ends_with(" 0"), "{words:?}: {screen}");
        }
        drop(pty);
    }
    // On a terminal of its own, what it pushes comes back to itself only: the outer shell reads nothing of it.
    let outer = format!(
        "DOCKER_HOST={host} {berth} exec -t c1 /probe push; echo done; read -t 1 rest; echo \"[$rest]\"",
        host = daemon.place().host(),
        berth = testkit::berth()?.display()
    );
    let mut shell = std::process::Command::new("bash");
    shell.arg("-c").arg(outer).env("HOME", daemon.directory());
    let pty = Pty::spawn(&shell, 30, 100)?;
    pty.expect("[]")?;
    drop(pty);
    daemon.finish()
}

/// RT-16: a nested user namespace, with every call allowed, does not bring masked content back.
#[test]
fn rt_16_nested_user_namespaces_do_not_unmask() -> Result<()> {
    let daemon = probe::daemon()?;
    let inner = r#"
        exec 2>/dev/null
        for f in /proc/interrupts /proc/keys /proc/timer_list /proc/kcore; do
            umount $f; umount -l $f; mount -o remount,rw,bind $f
            [ -c $f ] || { [ -e $f ] && head -c1 $f | grep -q . && echo unmasked $f; }
        done
        for d in /sys/firmware /proc/acpi /proc/scsi; do
            umount $d; umount -l $d; mount -o remount,rw $d; touch $d/x && echo written $d
            [ -z "$(ls -A $d)" ] || echo listed $d
        done
        mkdir -p /tmp/p /tmp/s /tmp/r
        mount -t proc proc /tmp/p && [ -s /tmp/p/interrupts ] && head -c1 /tmp/p/interrupts | grep -q . && echo fresh proc
        mount -t sysfs sysfs /tmp/s && [ -n "$(ls -A /tmp/s/firmware)" ] && echo fresh sysfs
        mount --bind /proc /tmp/p && head -c1 /tmp/p/interrupts | grep -q . && echo bound proc
        mount --rbind / /tmp/r && umount /tmp/r/proc/interrupts && echo rbound
        for r in /proc/sys /proc/sysrq-trigger /proc/irq /proc/bus; do mount -o remount,rw,bind $r && echo remounted $r; done
        (echo x > /proc/sys/kernel/core_pattern) && echo core_pattern
        /probe clone-tree /proc interrupts | grep read
        /probe clone-tree /sys firmware | grep read
        cd /tmp/r && pivot_root . tmp && head -c1 /tmp/proc/interrupts | grep -q . && echo pivoted
        echo end"#;
    let script = format!("cat > /inner <<'END'\n{inner}\nEND\nunshare -Urm sh /inner");
    // The grant is that of the calls: capabilities in the container's own namespace are what an inner one lacks.
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--security-opt",
        "seccomp=unconfined",
        "busybox",
        "sh",
        "-c",
        &script,
    ])?;
    assert_eq!(text, "end");
    daemon.finish()
}

/// RT-17: root of a container, also with CAP_SYS_ADMIN in its own user namespace, stays in its tree and changes nothing
/// that is the kernel's.
#[test]
fn rt_17_root_in_a_container_stays_there() -> Result<()> {
    let daemon = probe::daemon()?;
    let canary = daemon.directory().join("canary");
    std::fs::create_dir(&canary)?;
    testkit::image::put(&canary.join("file"), "canary\n")?;
    let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/overcommit_memory",
        "/sys/kernel/uevent_helper",
    ];
    let before = files.map(host);
    let program = format!(
        r#"exec 2>/dev/null
        for f in {all} /proc/sysrq-trigger /proc/sys/fs/binfmt_misc/register; do
            [ -e $f ] && cat $f > /tmp/was; (cat /tmp/was > $f) && echo wrote $f; (echo h > $f) && echo wrote $f
        done
        mkdir -p /tmp/b /tmp/d /tmp/m
        mount -t binfmt_misc x /tmp/m && (echo x > /tmp/m/register) && echo registered
        mount -t debugfs x /tmp/m && echo debugfs; mount -t securityfs x /tmp/m && echo securityfs
        mount -t tracefs x /tmp/m && echo tracefs; mount -t devtmpfs x /tmp/m && echo devtmpfs
        mount -t cgroup -o devices x /tmp/m && (echo a > /tmp/m/devices.allow) && echo devices.allow
        mount -t cgroup2 x /tmp/m && ls /tmp/m/*berth* && echo cgroup2 of the host
        mount --make-rshared / ; mount --bind / /tmp/b; ls /tmp/b{canary} && echo seen by bind
        for p in /proc/[0-9]*; do ls $p/root{canary} && echo seen by $p; ls $p/cwd/../../../../../..{canary} && echo cwd; done
        cat /dev/mem | head -c1 | grep -q . && echo mem
        mknod /tmp/sda b 8 0 && head -c1 /tmp/sda && echo disk
        insmod /x; (echo 1 > /proc/1/oom_score_adj); (echo -1000 > /proc/self/oom_score_adj) && echo oom
        nsenter -t 1 -m -u -i -n -p ls {canary} && echo nsenter
        /probe leave-chroot | grep -E 'ANOTHER'
        ls {canary} && echo seen
        echo end"#,
        all = files.join(" "),
        canary = canary.display()
    );
    for flags in [
        &[][..],
        &GRANTED,
        &[
            "--cap-add",
            "ALL",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "systempaths=unconfined",
        ],
    ] {
        let text = daemon.ok(&[&["run", "--rm"][..], flags, &["busybox", "sh", "-c", &program]].concat())?;
        assert_eq!(text, "end", "{flags:?}");
        assert_eq!(files.map(host), before, "{flags:?}");
    }
    assert_eq!(std::fs::read_to_string(canary.join("file"))?, "canary\n");
    assert_eq!(std::fs::read_dir(&canary)?.count(), 1);
    daemon.finish()
}

/// RT-18: one container exchanges the mount target of the next with a link to the outside, without end
/// (CVE-2021-30465, CVE-2024-45310, CVE-2019-19921).
#[test]
fn rt_18_mount_targets_are_swapped_while_containers_start() -> Result<()> {
    let daemon = probe::daemon()?;
    let canary = daemon.directory().join("canary");
    std::fs::create_dir(&canary)?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let prepare = format!(
        "mkdir -p /v/a/b; ln -s {canary} /v/out; mkdir -p /v/e; ln -s /proc /v/e2; ln -s {canary} /v/a2",
        canary = canary.display()
    );
    daemon.ok(&["run", "--rm", "-v", "shared:/v", "busybox", "sh", "-c", &prepare])?;
    for (name, a, b) in [("one", "/v/a", "/v/a2"), ("two", "/v/e", "/v/e2")] {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "-v",
            "shared:/v",
            "busybox",
            "/probe",
            "swap",
            a,
            b,
            "/v/end",
        ])?;
    }
    let source = daemon.directory().join("source");
    std::fs::create_dir(&source)?;
    let bind = format!("{}:/v/a/b", source.display());
    let mut started = 0;
    for round in 0..150 {
        let target = if round % 2 == 0 { "/v/e/self" } else { "/v/e/new" };
        let tmpfs = format!("type=tmpfs,dst={target}");
        let output = daemon.berth(&[
            "run",
            "--rm",
            "-v",
            "shared:/v",
            "-v",
            &bind,
            "--mount",
            &tmpfs,
            "busybox",
            "sh",
            "-c",
            "grep -c '/proc/self\\|/proc/new' /proc/self/mountinfo; head -c 4 /proc/self/comm",
        ])?;
        if output.code == 0 {
            started += 1;
            assert_eq!(output.stdout, "0\nhead", "a mount lies on this container's /proc");
        }
        assert_eq!(
            std::fs::read_dir(&canary)?.count(),
            0,
            "round {round}: made outside the root"
        );
    }
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo")?, mounts);
    assert!(started > 0, "no start went well: nothing was tested");
    daemon.ok(&["run", "--rm", "-v", "shared:/v", "busybox", "touch", "/v/end"])?;
    for name in ["one", "two"] {
        daemon.wait_for(name, "{{.State.Status}}", "exited")?;
        let log = daemon.ok(&["logs", name])?;
        let swaps: u64 = log.split(' ').nth(1).context("swapped")?.parse()?;
        assert!(swaps > 1000, "{log}");
    }
    daemon.finish()
}

/// RT-19: propagation is exactly what was asked for, in both directions.
#[test]
fn rt_19_propagation_is_what_was_asked_for() -> Result<()> {
    let daemon = probe::daemon()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::create_dir(shared.join("h"))?;
    let path = shared.to_str().context("path")?;
    let host = Shared::make(path)?;
    for (option, enters) in [
        ("", false),
        (":private", false),
        (":rprivate", false),
        (":rslave", true),
    ] {
        let bind = format!("{path}:/mnt{option}");
        daemon.ok(&[
            &["run", "-d", "--name", "c1", "-v", &bind][..],
            &GRANTED,
            &["busybox", "sleep", "1000"],
        ]
        .concat())?;
        mount(&["-t", "tmpfs", "berth-rt19", &format!("{path}/h")])?;
        let inside = daemon.ok(&["exec", "c1", "grep", "-c", "berth-rt19", "/proc/mounts"]);
        umount(&format!("{path}/h"))?;
        let seen = inside.is_ok_and(|count| count == "1");
        assert_eq!(seen, enters, "\"{option}\": from the host into the container");
        let made = daemon.berth(&[
            "exec",
            "c1",
            "sh",
            "-c",
            "mkdir -p /mnt/c && mount -t tmpfs berth-rt19c /mnt/c",
        ])?;
        let left = std::fs::read_to_string("/proc/self/mountinfo")?;
        assert!(
            !left.contains("berth-rt19c"),
            "\"{option}\": from the container to the host ({})",
            made.code
        );
        daemon.ok(&["rm", "-f", "c1"])?;
    }
    drop(host);
    daemon.finish()
}

/// A shared mount on a directory, gone at the end.
struct Shared(String);

impl Shared {
    fn make(path: &str) -> Result<Self> {
        mount(&["--bind", path, path])?;
        let made = Self(path.to_owned());
        mount(&["--make-shared", path])?;
        Ok(made)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(
            std::process::Command::new("umount")
                .args(["-R", "-l", &self.0])
                .status(),
        );
    }
}

fn mount(arguments: &[&str]) -> Result<()> {
    testkit::command::run(std::process::Command::new("mount").args(arguments), b"")?
        .expect(0)
        .map(drop)
}

fn umount(path: &str) -> Result<()> {
    testkit::command::run(std::process::Command::new("umount").arg(path), b"")?
        .expect(0)
        .map(drop)
}

/// RT-20: what a program inherits and no shell shows.
#[test]
fn rt_20_inherited_state() -> Result<()> {
    let daemon = probe::daemon()?;
    for words in [&["run", "--rm", "busybox"][..], &["exec", "c1"]] {
        if words[0] == "exec" {
            daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
        }
        let got = table(&daemon.ok(&[words, &["/probe", "state"]].concat())?);
        for (key, value) in [
            ("dumpable", "1"),
            // A program ends with its shim (F-02); it may clear this, and loses nothing but that.
            ("pdeathsig", "9"),
            ("nice", "0"),
            ("policy", "0"),
            ("keepcaps", "0"),
            ("subreaper", "0"),
            ("securebits", "0"),
        ] {
            assert_eq!(got[key], value, "{words:?} {key}");
        }
    }
    daemon.finish()
}

/// RT-05: a volume, a bind or the image's own VOLUME on /proc, /proc/self, /proc/sys or /sys, or a /proc that is a link,
/// does not redirect what the engine writes for the process (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561,
/// CVE-2025-52881): refused, or written to the true file.
#[test]
fn rt_05_nothing_lies_on_proc() -> Result<()> {
    let daemon = probe::daemon()?;
    let trap = daemon.directory().join("trap");
    for path in ["self/attr", "sys/net/ipv4", "sys/kernel", "1", "kernel"] {
        std::fs::create_dir_all(trap.join(path))?;
    }
    for file in [
        "self/attr/exec",
        "self/oom_score_adj",
        "self/setgroups",
        "sys/net/ipv4/ip_forward",
        "sys/kernel/shmmax",
        "1/oom_score_adj",
    ] {
        testkit::image::put(&trap.join(file), "trap\n")?;
    }
    let listed = |root: &Path| -> Result<Vec<String>> {
        let mut find = std::process::Command::new("find");
        find.arg(root)
            .args(["-type", "f", "-exec", "grep", "-H", "", "{}", ";"]);
        let mut lines: Vec<_> = testkit::command::run(&mut find, b"")?
            .text()?
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort_unstable();
        Ok(lines)
    };
    let before = listed(&trap)?;
    let place = trap.to_str().context("path")?;
    let sysctl = ["--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "500"];
    let program = "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj";
    for (source, target) in [
        (place.to_owned(), "/proc"),
        (format!("{place}/self"), "/proc/self"),
        (format!("{place}/1"), "/proc/1"),
        (format!("{place}/sys"), "/proc/sys"),
        (format!("{place}/sys/net"), "/proc/sys/net"),
        (
            format!("{place}/sys/net/ipv4/ip_forward"),
            "/proc/sys/net/ipv4/ip_forward",
        ),
        ("volume".to_owned(), "/proc"),
        ("volume".to_owned(), "/proc/self"),
        ("volume".to_owned(), "/proc/sys"),
        ("volume".to_owned(), "/proc/self/attr"),
        ("volume".to_owned(), "/proc/./sys/../self"),
    ] {
        let bind = format!("{source}:{target}");
        let output = daemon.berth(
            &[
                &["run", "--rm", "-v", &bind][..],
                &sysctl,
                &["busybox", "sh", "-c", program],
            ]
            .concat(),
        )?;
        assert!(
            output.code != 0 || output.stdout == "1\n500\n",
            "{bind}: {output:?}"
        );
        assert_eq!(listed(&trap)?, before, "{bind} took a write of the engine's");
    }
    // /sys may be bound (docker allows it); then nothing of it is written either.
    let bind = format!("{place}:/sys");
    daemon.berth(&[&["run", "--rm", "-v", &bind][..], &sysctl, &["busybox", "true"]].concat())?;
    assert_eq!(listed(&trap)?, before);
    // The image's own wish.
    let tree = daemon.directory().join("probe-tree");
    let mut tar = std::process::Command::new("tar");
    tar.arg("--create").arg("--directory").arg(&tree).arg(".");
    let archive = tar.output()?.stdout;
    for target in [
        "/proc",
        "/proc/self",
        "/proc/sys",
        "/sys",
        "/",
        "/proc/../proc/self",
    ] {
        let change = format!("VOLUME {target}");
        let imported = daemon.berth_with(&["import", "--change", &change, "-", "wish"], &archive)?;
        if imported.code != 0 {
            continue;
        }
        let output =
            daemon.berth(&[&["run", "--rm"][..], &sysctl, &["wish", "sh", "-c", program]].concat())?;
        assert!(
            output.code != 0 || output.stdout == "1\n500\n",
            "VOLUME {target}: {output:?}"
        );
    }
    // /proc itself a link, to a place in the image and to one outside.
    for link in ["/fake", place] {
        let tree = daemon.directory().join(format!("linked-{}", link.len()));
        testkit::image::busybox_tree(&tree)?;
        std::fs::remove_dir(tree.join("proc"))?;
        std::fs::create_dir_all(tree.join("fake/self/attr"))?;
        testkit::image::put(&tree.join("fake/self/oom_score_adj"), "trap\n")?;
        std::os::unix::fs::symlink(link, tree.join("proc"))?;
        let rootfs = format!("{}:O", tree.display());
        let output = daemon.berth(
            &[
                &["run", "--rm"][..],
                &sysctl,
                &["--rootfs", &rootfs, "sh", "-c", program],
            ]
            .concat(),
        )?;
        assert!(
            output.code != 0 || output.stdout == "1\n500\n",
            "/proc -> {link}: {output:?}"
        );
        assert_eq!(
            std::fs::read_to_string(tree.join("fake/self/oom_score_adj"))?,
            "trap\n"
        );
    }
    assert_eq!(listed(&trap)?, before);
    daemon.finish()
}
