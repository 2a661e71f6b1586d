//! The namespace rows of docs/seeds.md (N1 to N9 and N14 to N18; the others need networks), one test each.

use std::fs::read_link;
use std::path::Path;
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

/// The old escape: keep a descriptor of the root, change the root, climb out by the descriptor. Where the engine itself
/// had only used chroot(2), this would end in the host's root.
#[test]
fn n07_leaving_a_chroot_ends_in_the_same_root() -> Result<()> {
    let daemon = crate::probe::daemon()?;
    let tree = daemon.directory().join("probe-tree");
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--rootfs",
        &format!("{}:O", tree.display()),
        "/probe",
        "leave-chroot",
    ])?;
    assert!(
        text.contains("same root") && !text.contains("ANOTHER ROOT"),
        "{text}"
    );
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
fn n09_explicit_maps() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let flags = ["run", "--rm", "--uidmap", "0:100000:1000"];
    let run = |more: &[&str]| daemon.ok(&[&flags[..], more].concat());
    let map = run(&["busybox", "cat", "/proc/self/uid_map", "/proc/self/gid_map"])?;
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "1000", "0", "100000", "1000"]);
    // Mapped and unmapped owners of the host; what Berth makes is root's.
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    for (name, id) in [("mapped", 999), ("unmapped", 1000)] {
        testkit::image::put(&shared.join(name), "")?;
        std::os::unix::fs::chown(shared.join(name), Some(id), Some(id))?;
    }
    let bind = format!("{}:/mnt", shared.display());
    let program = "echo new > /mnt/new; echo >> /etc/hosts; touch /in-the-root; \
                   stat -c %u:%g /mnt/mapped /mnt/unmapped /mnt/new / /etc/hosts /in-the-root /dev/null";
    assert_eq!(
        run(&["-v", &bind, "busybox", "sh", "-c", program])?,
        "999:999\n65534:65534\n0:0\n0:0\n0:0\n0:0\n0:0"
    );
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(shared.join("new"))?),
        0
    );
    // Different groups, several ranges, the smallest map, a user that has no id.
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--uidmap",
        "0:100000:1",
        "--uidmap",
        "7:200000:1",
        "--gidmap",
        "0:300000:1",
        "-u",
        "7",
        "busybox",
        "sh",
        "-c",
        "id -u; id -g; cat /proc/self/uid_map | wc -l; stat -c %g /etc/hosts",
    ])?;
    assert_eq!(text, "7\n0\n2\n0");
    let output = daemon.berth(&[&flags[..], &["-u", "1000", "busybox", "true"]].concat())?;
    assert_ne!(output.code, 0);
    daemon.finish()
}

#[test]
fn n09_explicit_maps_are_kept_shown_and_shared() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--uidmap",
        "0:100000:1000",
        "--gidmap",
        "0:200000:500",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let template = "{{range .UidMap}}{{.ContainerId}}:{{.HostId}}:{{.Size}}{{end}} {{range .GidMap}}{{.ContainerId}}:{{.HostId}}:{{.Size}}{{end}}";
    assert_eq!(daemon.inspect("c1", template)?, "0:100000:1000 0:200000:500");
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let process = std::fs::metadata(format!("/proc/{pid}/root/etc/hosts"))?;
    assert_eq!(
        (
            std::os::unix::fs::MetadataExt::uid(&process),
            std::os::unix::fs::MetadataExt::gid(&process)
        ),
        (100_000, 200_000)
    );
    // A container that joins another's network has its user namespace too.
    let map = daemon.ok(&[
        "run",
        "--rm",
        "--network",
        "container:c1",
        "busybox",
        "cat",
        "/proc/self/uid_map",
    ])?;
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "1000"]
    );
    daemon.ok(&["restart", "-t", "0", "c1"])?;
    let map = daemon.ok(&["exec", "c1", "cat", "/proc/self/gid_map"])?;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "500"]);
    daemon.finish()
}

#[test]
fn n09_bad_maps_are_refused() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (flags, reason) in [
        (&["--uidmap", "1:100000:10"][..], "id 0"),
        (&["--uidmap", "0:100000:10", "--uidmap", "5:200000:1"], "overlap"),
        (&["--uidmap", "0:100000:10", "--uidmap", "20:100009:1"], "overlap"),
        (&["--uidmap", "0:100000:0"], "empty"),
        (&["--uidmap", "0:4294967290:100"], "too large"),
        (&["--uidmap", "0:268435456:1"], "given out"),
        (&["--uidmap", "0:100000:10", "--privileged"], "--privileged"),
        (
            &["--uidmap", "0:100000:10", "--network", "host"],
            "namespace of the host",
        ),
        (&["--gidmap", "nonsense"], "nonsense"),
    ] {
        let arguments = [&["run", "--rm"][..], flags, &["busybox", "true"]].concat();
        let output = daemon.berth(&arguments)?.expect(125)?;
        assert!(output.stderr.contains(reason), "{flags:?}: {}", output.stderr);
    }
    assert_eq!(daemon.ok(&["ps", "-aq"])?, "");
    daemon.finish()
}

#[test]
fn n14_inspect_shows_the_namespaces() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let shown = daemon.inspect("c1", "{{.Namespaces}}")?;
    let mut expected = Vec::new();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let inode = std::fs::metadata(format!("/proc/{pid}/ns/{kind}"))?.ino();
        expected.push(format!("{kind}:{inode}"));
    }
    assert_eq!(shown, format!("map[{}]", expected.join(" ")));
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

/// Runs nsenter(1) into the namespace that is held at `pin`.
fn in_pinned(flag: &str, pin: &Path, arguments: &[&str]) -> Result<String> {
    let mut enter = Command::new("nsenter");
    enter.arg(format!("--{flag}={}", pin.display())).args(arguments);
    command::run(&mut enter, b"")?.text()
}

/// Namespaces that are held by mounts outlive their PID 1 and are joined by the next one.
#[test]
fn n15_kept_namespaces_survive_a_stop() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--keep-ns",
        "-h",
        "first",
        "--cap-add",
        "SYS_ADMIN",
        "--cap-add",
        "NET_ADMIN",
        "--security-opt",
        "seccomp=unconfined",
        "busybox",
        "sleep",
        "1000",
    ])?;
    daemon.ok(&[
        "exec",
        "c1",
        "sh",
        "-c",
        "hostname old-name; ip addr add 10.9.8.7/32 dev lo",
    ])?;
    let template = "{{.Namespaces.ipc}} {{.Namespaces.net}} {{.Namespaces.user}} {{.Namespaces.uts}}";
    let before = daemon.inspect("c1", template)?;
    daemon.ok(&["stop", "-t", "0", "c1"])?;
    let id = daemon.inspect("c1", "{{.Id}}")?;
    let pins = daemon.place().exec_root().join("run").join(&id).join("ns");
    assert_eq!(in_pinned("uts", &pins.join("uts"), &["hostname"])?, "old-name");
    assert!(
        in_pinned(
            "net",
            &pins.join("net"),
            &["ip", "-4", "addr", "show", "dev", "lo"]
        )?
        .contains("10.9.8.7")
    );
    // Another daemon finds them as well.
    daemon.crash()?;
    daemon.ok(&["start", "c1"])?;
    assert_eq!(daemon.inspect("c1", template)?, before);
    assert_eq!(daemon.ok(&["exec", "c1", "hostname"])?, "old-name");
    assert!(daemon.ok(&["exec", "c1", "ip", "addr"])?.contains("10.9.8.7"));
    // What belongs to them is mounted from them, not from the host's.
    assert_eq!(daemon.ok(&["exec", "c1", "ls", "/sys/class/net"])?, "lo");
    daemon.ok(&["rm", "-f", "c1"])?;
    testkit::until(
        "the namespaces to be let go",
        std::time::Duration::from_secs(2),
        || Ok(!pins.exists()),
    )?;
    // One that ends at once has been held before it ran; a restart by policy joins as well.
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c2",
        "--keep-ns",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "readlink /proc/self/ns/uts; readlink /proc/self/ns/net; exit 3",
    ])?;
    daemon.wait_for("c2", "{{.State.Status}}", "exited")?;
    let lines = daemon.ok(&["logs", "c2"])?;
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!((lines[0], lines[1]), (lines[2], lines[3]));
    assert_eq!((lines[0], lines[1]), (lines[4], lines[5]));
    for (flags, reason) in [
        (&["--keep-ns", "--rm"][..], "--rm"),
        (
            &["--keep-ns", "--network", "host", "--ipc", "host", "--uts", "host"],
            "nothing to keep",
        ),
        (&["--keep-ns", "--network", "container:c2"], "another container"),
    ] {
        let output = daemon
            .berth(&[&["run"][..], flags, &["busybox", "true"]].concat())?
            .expect(125)?;
        assert!(output.stderr.contains(reason), "{flags:?}: {}", output.stderr);
    }
    daemon.finish()
}

/// What a killed daemon and a wiped data root leave held is let go by the next daemon.
#[test]
fn n15_namespaces_of_nobody_are_let_go() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--name", "c1", "--keep-ns", "busybox", "true"])?;
    assert!(!testkit::residue::mounts(daemon.place())?.is_empty());
    let id = daemon.inspect("c1", "{{.Id}}")?;
    daemon.kill()?;
    // Neither the store nor the file beside the container knows it any more.
    let record = format!("containers/{id}/record.json");
    for name in ["state.db", "state.db-wal", "state.db-shm", &record] {
        drop(std::fs::remove_file(daemon.place().data_root().join(name)));
    }
    daemon.launch()?;
    testkit::until(
        "the namespaces to be let go",
        std::time::Duration::from_secs(5),
        || Ok(testkit::residue::mounts(daemon.place())?.is_empty()),
    )?;
    daemon.finish()
}

/// Deletes a network namespace in the end.
struct NetworkNamespace(String);

impl NetworkNamespace {
    fn make(name: String) -> Result<Self> {
        command::run(Command::new("ip").args(["netns", "add", &name]), b"")?.expect(0)?;
        Ok(Self(name))
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).status());
    }
}

#[test]
fn n16_foreign_namespaces_by_path() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    if !has("ip") {
        return skip("iproute2 is not here");
    }
    let daemon = Daemon::with_busybox()?;
    let network = NetworkNamespace::make(format!("berth-n16-{}", std::process::id()))?;
    command::run(
        Command::new("ip").args(["-n", &network.0, "addr", "add", "10.9.8.7/32", "dev", "lo"]),
        b"",
    )?
    .expect(0)?;
    let mode = format!("ns:{}", network.path());
    let inode = std::fs::metadata(network.path())?.ino();
    let program = "readlink /proc/self/ns/net; ip -4 addr show dev lo | grep -c 10.9.8.7; cat /proc/self/uid_map | tr -s ' ' | cut -d' ' -f4";
    let text = daemon.ok(&["run", "--rm", "--network", &mode, "busybox", "sh", "-c", program])?;
    assert_eq!(text, format!("net:[{inode}]\n1\n65536"));
    let host = daemon.ok(&[
        "run",
        "--rm",
        "--network",
        &mode,
        "--userns",
        "host",
        "busybox",
        "readlink",
        "/proc/self/ns/net",
    ])?;
    assert_eq!(host, format!("net:[{inode}]"));
    for (flag, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        let mode = format!("ns:/proc/{}/ns/{kind}", std::process::id());
        for other in ["pid", "ipc", "uts", "net", "mnt"] {
            let same = namespace_with(&daemon, &[flag, &mode], other)? == host_namespace(other)?;
            assert_eq!(same, other == kind, "{flag} {mode}: {other}");
        }
    }
    for (mode, reason) in [
        ("ns:/no/such/file", "/no/such/file"),
        ("ns:relative", "absolute"),
        ("ns:/etc/hosts", "namespace"),
    ] {
        let output = daemon
            .berth(&["run", "--rm", "--network", mode, "busybox", "true"])?
            .expect(125)?;
        assert!(output.stderr.contains(reason), "{mode}: {}", output.stderr);
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

/// The uptime of the host, in seconds.
fn uptime() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

#[test]
fn n18_clocks_are_shifted() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let uptime_with = |offset: &str| -> Result<f64> {
        let flags = ["run", "--rm", "--time-offset", offset];
        let program = ["busybox", "cut", "-d ", "-f1", "/proc/uptime"];
        Ok(daemon.ok(&[&flags[..], &program].concat())?.parse()?)
    };
    // Whole seconds, and with a fraction as /proc/uptime has it.
    let seconds = uptime_with(&format!("boottime=-{:.0}", uptime()?.floor()))?;
    assert!((0.0..10.0).contains(&seconds), "{seconds}");
    let seconds = uptime_with(&format!("boottime=-{:.2}", uptime()?))?;
    assert!((0.0..10.0).contains(&seconds), "{seconds}");
    let seconds = uptime_with("boottime=100h")?;
    assert!(seconds >= 360_000.0, "{seconds}");
    // Exec, restart and inspect know it too.
    let offset = format!("boottime=-{:.0}", uptime()?.floor());
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--time-offset",
        &offset,
        "busybox",
        "sleep",
        "1000",
    ])?;
    assert!(
        daemon
            .inspect("c1", "{{.HostConfig.BerthTimeOffsets}}")?
            .contains("boottime:-")
    );
    daemon.ok(&["restart", "-t", "0", "c1"])?;
    let seconds: f64 = daemon
        .ok(&["exec", "c1", "cut", "-d ", "-f1", "/proc/uptime"])?
        .parse()?;
    assert!((0.0..30.0).contains(&seconds), "{seconds}");
    let output = daemon
        .berth(&[
            "run",
            "--rm",
            "--time-offset",
            "boottime=-99999h",
            "busybox",
            "true",
        ])?
        .expect(125)?;
    assert!(output.stderr.contains("time offsets"), "{}", output.stderr);
    daemon.finish()
}
