//! Groups on this machine's hierarchies (root is needed), and v2 on a tree of plain files.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use crate::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// A parent of a test's own, removed with everything below it.
struct Parent {
    layout: Layout,
    path: String,
}

impl Parent {
    fn new(test: &str) -> Self {
        Self {
            layout: Layout::detect().unwrap(),
            path: format!("/berth-test-{}-{test}", std::process::id()),
        }
    }

    fn create(&self, name: &str) -> Cgroup {
        Cgroup::create(&self.layout, &format!("{}/{name}", self.path)).unwrap()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        Cgroup::remove_path(&self.layout, &self.path, PATIENCE).unwrap();
    }
}

/// A process that waits for a line and then runs `script`; killed and reaped at the end.
struct Process(Child);

impl Process {
    fn new(script: &str) -> Self {
        let child = Command::new("/bin/busybox")
            .args(["sh", "-c", &format!("read line; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn read(group: &Cgroup, controller: Controller, file: &str) -> String {
    let (_, directory) = group.directory(controller).unwrap();
    group.read(directory, file).unwrap().trim().to_owned()
}

#[test]
fn groups_are_made_in_every_hierarchy_and_removed() {
    let parent = Parent::new("create");
    let group = parent.create("a/b");
    assert_eq!(group.directories().count(), parent.layout.hierarchies().len());
    if let Some((Version::V1, _)) = group.directory(Controller::Cpuset) {
        assert!(!read(&group, Controller::Cpuset, "cpuset.cpus").is_empty());
        assert!(!read(&group, Controller::Cpuset, "cpuset.mems").is_empty());
    }
    let path = group.path().to_owned();
    assert!(Cgroup::open(&parent.layout, &path).is_ok());
    group.remove(PATIENCE).unwrap();
    Cgroup::remove_path(&parent.layout, &path, PATIENCE).unwrap();
    assert!(matches!(
        Cgroup::open(&parent.layout, &path),
        Err(CgroupError::NotFound { .. })
    ));
    for path in ["relative", "/", "", "/a/../b"] {
        assert!(matches!(
            Cgroup::create(&parent.layout, path),
            Err(CgroupError::InvalidPath { .. })
        ));
        assert!(Cgroup::remove_path(&parent.layout, path, PATIENCE).is_err());
    }
}

#[test]
fn limits_are_set_and_changed_in_any_direction() {
    let parent = Parent::new("limits");
    let group = parent.create("x");
    let apply = |limits: &Limits| group.apply(limits);
    let memory = |limit: i64, swap: i64| Limits {
        memory: MemoryLimits {
            limit: Some(limit),
            swap: Some(swap),
            ..MemoryLimits::default()
        },
        ..Limits::default()
    };
    for (limit, swap) in [
        (64 << 20, 128 << 20),
        (256 << 20, 256 << 20),
        (32 << 20, 40 << 20),
        (-1, -1),
    ] {
        apply(&memory(limit, swap)).unwrap();
        let stats = group.stats().unwrap().memory;
        assert_eq!(stats.limit, u64::try_from(limit).ok());
        // On v2 swap is limited by itself.
        let swap = match parent.layout.version_of(Controller::Memory) {
            Some(Version::V2) if swap >= 0 => swap - limit,
            _ => swap,
        };
        assert_eq!(stats.swap_limit, u64::try_from(swap).ok());
    }
    assert!(matches!(
        apply(&memory(64 << 20, 32 << 20)),
        Err(LimitError::Value { .. })
    ));
    let cpu = |quota, period, burst| Limits {
        cpu: CpuLimits {
            shares: Some(512),
            quota,
            period,
            burst,
            cpus: Some("0".to_owned()),
            ..CpuLimits::default()
        },
        ..Limits::default()
    };
    for (quota, period, burst) in [
        (Some(50_000), Some(100_000), None),
        (Some(900_000), Some(1_000_000), Some(10_000)),
        (Some(2_000), Some(2_000), Some(0)),
        (Some(-1), None, None),
    ] {
        apply(&cpu(quota, period, burst)).unwrap();
    }
    assert_eq!(read(&group, Controller::Cpuset, "cpuset.cpus"), "0");
    let others = Limits {
        pids: Some(20),
        ..Limits::default()
    };
    apply(&others).unwrap();
    assert_eq!(group.stats().unwrap().pids.limit, Some(20));
    let error = apply(&Limits {
        network: NetworkLimits {
            class_id: Some(5),
            priorities: Vec::new(),
        },
        ..Limits::default()
    });
    if parent.layout.find(Controller::NetCls).is_none() {
        assert!(error.unwrap_err().to_string().contains("net_cls"));
    }
    for file in ["cgroup.procs", "../x", "memory", "no.such"] {
        let limits = Limits {
            unified: vec![(file.to_owned(), "1".to_owned())],
            ..Limits::default()
        };
        assert!(matches!(apply(&limits), Err(LimitError::Value { .. })), "{file}");
    }
}

#[test]
fn device_rules_on_v1() {
    let parent = Parent::new("devices");
    if parent.layout.version_of(Controller::Devices) != Some(Version::V1) {
        return;
    }
    let group = parent.create("x");
    let limits = |rules: &[&str]| Limits {
        devices: Some(
            rules
                .iter()
                .map(|text| crate::devices::tests::rule(text))
                .collect(),
        ),
        ..Limits::default()
    };
    group
        .apply(&limits(&[
            "- a *:* rwm",
            "+ c *:* m",
            "+ c 1:3 rwm",
            "+ c 136:* rw",
        ]))
        .unwrap();
    let list = read(&group, Controller::Devices, "devices.list");
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["c *:* m", "c 136:* rw", "c 1:3 rwm"]);
    group.apply(&limits(&["+ a *:* rwm"])).unwrap();
    assert_eq!(read(&group, Controller::Devices, "devices.list"), "a *:* rwm");
}

#[test]
fn processes_are_listed_frozen_and_killed() {
    let parent = Parent::new("processes");
    // v2 lets no process into a group whose children have controllers.
    let (first_group, nested) = (parent.create("x/one"), parent.create("x/two/three"));
    let group = Cgroup::open(&parent.layout, &format!("{}/x", parent.path)).unwrap();
    let (mut first, mut second) = (Process::new("exec sleep 1000"), Process::new("exec sleep 1000"));
    first_group.add(first.pid()).unwrap();
    nested.add(second.pid()).unwrap();
    let mut expected = [first.pid(), second.pid()];
    expected.sort_by_key(|pid| pid.as_raw_nonzero());
    assert_eq!(group.processes().unwrap(), expected);
    assert_eq!(nested.processes().unwrap(), [second.pid()]);

    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    group.thaw().unwrap();
    assert!(!group.is_frozen().unwrap());

    // A frozen group can be killed too.
    group.freeze().unwrap();
    group.kill(Signal::KILL).unwrap();
    for process in [&mut first, &mut second] {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(process.0.wait().unwrap().signal(), Some(9));
    }
    group.remove(PATIENCE).unwrap();
}

#[test]
fn processes_that_are_in_v1_groups_only_are_killed() {
    let parent = Parent::new("v1only");
    if parent.layout.mode() != Mode::Hybrid {
        return;
    }
    let group = parent.create("x");
    let mut process = Process::new("exec sleep 1000");
    group.add_v1(process.pid()).unwrap();
    group.kill(Signal::KILL).unwrap();
    assert!(!process.0.wait().unwrap().success());
}

#[test]
fn stragglers_do_not_stop_removal() {
    let parent = Parent::new("stragglers");
    let group = parent.create("x");
    let nested = parent.create("x/a/b");
    let processes: Vec<Process> = (0..4).map(|_| Process::new("sleep 1000")).collect();
    for process in &processes {
        nested.add(process.pid()).unwrap();
    }
    let path = group.path().to_owned();
    let reaper = std::thread::spawn(move || {
        for mut process in processes {
            process.0.wait().unwrap();
        }
    });
    group.remove(PATIENCE).unwrap();
    reaper.join().unwrap();
    assert!(Cgroup::open(&parent.layout, &path).is_err());
}

#[test]
fn a_thread_moves_itself_through_the_entry() {
    let parent = Parent::new("entry");
    let group = parent.create("x");
    let entry = group.entry().unwrap();
    assert_eq!(entry.unified().is_some(), parent.layout.unified().is_some());
    let path = group.path().to_owned();
    let own = std::thread::spawn(move || {
        entry.join_v1().unwrap();
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let own = own.join().unwrap();
    let joined = own.lines().filter(|line| line.ends_with(&path)).count();
    let v1 = parent
        .layout
        .hierarchies()
        .iter()
        .filter(|hierarchy| hierarchy.version() == Version::V1);
    assert_eq!(joined, v1.count(), "{own}");
}

#[test]
fn an_entry_beside_a_process_leads_to_where_it_went() {
    let parent = Parent::new("beside");
    if parent.layout.unified().is_none() {
        return;
    }
    let inner = parent.create("x/inner");
    let group = Cgroup::open(&parent.layout, &format!("{}/x", parent.path)).unwrap();
    let process = Process::new("exec sleep 1000");
    inner.add(process.pid()).unwrap();
    let inode = |directory| rustix::fs::fstat(directory).unwrap().st_ino;
    let beside = group.entry_beside(process.pid()).unwrap();
    assert_eq!(inode(beside.unified().unwrap()), inode(inner.unified().unwrap()));
    let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
    let outside = group.entry_beside(own).unwrap();
    assert_eq!(inode(outside.unified().unwrap()), inode(group.unified().unwrap()));
}

#[test]
fn running_out_of_memory_is_told_and_counted() {
    let parent = Parent::new("oom");
    let group = parent.create("x");
    group
        .apply(&Limits {
            memory: MemoryLimits {
                limit: Some(8 << 20),
                swap: Some(8 << 20),
                ..MemoryLimits::default()
            },
            ..Limits::default()
        })
        .unwrap();
    let events = group.oom_events().unwrap();
    assert_eq!(group.oom_kill_count().unwrap(), 0);
    let mut process = Process::new("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    group.add(process.pid()).unwrap();
    process.go();
    assert!(!process.0.wait().unwrap().success());
    let timeout = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&events.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ready, 1);
    events.drain();
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&events.as_fd(), PollFlags::IN)], Some(&none)).unwrap();
    assert_eq!(ready, 0);
    assert_eq!(group.oom_kill_count().unwrap(), 1);
    let stats = group.stats().unwrap();
    assert_eq!(stats.memory.oom_kills, 1);
    assert_eq!(stats.memory.limit, Some(8 << 20));
    assert!(!stats.cpu.total.is_zero());
    assert!(group.pressure(Resource::Memory).is_ok());
}

/// A v2 tree of plain files.
struct FakeTree {
    directory: tempfile::TempDir,
}

impl FakeTree {
    fn new() -> Self {
        let tree = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(tree.directory.path().join("cg/berth/x")).unwrap();
        tree.put("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
        tree
    }

    #[expect(clippy::disallowed_methods, reason = "a scratch file of the test")]
    fn put(&self, file: &str, content: &str) {
        std::fs::write(self.directory.path().join("cg").join(file), content).unwrap();
    }

    fn get(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join("cg").join(file)).unwrap()
    }

    fn layout(&self) -> Layout {
        let table = "41 31 0:38 / /cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        Layout::from_mountinfo(table, self.directory.path()).unwrap()
    }
}

#[test]
fn v2_controllers_are_enabled_down_the_path() {
    let tree = FakeTree::new();
    for (file, content) in [
        ("cgroup.subtree_control", "cpu memory\n"),
        ("berth/cgroup.subtree_control", ""),
        ("berth/x/cgroup.controllers", "memory\n"),
    ] {
        tree.put(file, content);
    }
    let layout = tree.layout();
    assert_eq!(layout.mode(), Mode::Unified);
    assert_eq!(layout.version_of(Controller::Devices), Some(Version::V2));
    assert_eq!(layout.version_of(Controller::NetCls), None);
    Cgroup::create(&layout, "/berth/x").unwrap();
    assert!(
        tree.get("cgroup.subtree_control")
            .starts_with("+cpuset +io +hugetlb +pids")
    );
    assert_eq!(
        tree.get("berth/cgroup.subtree_control"),
        "+cpuset +cpu +io +memory +hugetlb +pids"
    );
}

#[test]
fn v2_limits_are_written_in_v2s_units() {
    let tree = FakeTree::new();
    for file in [
        "cpu.weight",
        "cpu.max",
        "cpu.idle",
        "cpuset.cpus",
        "memory.max",
        "memory.low",
        "memory.swap.max",
        "pids.max",
        "io.weight",
        "io.max",
        "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max",
        "memory.high",
    ] {
        tree.put(&format!("berth/x/{file}"), "");
    }
    let group = Cgroup::open(&tree.layout(), "/berth/x").unwrap();
    let limits = Limits {
        cpu: CpuLimits {
            shares: Some(1024),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: Some("0-1".to_owned()),
            ..CpuLimits::default()
        },
        memory: MemoryLimits {
            limit: Some(100),
            swap: Some(250),
            reservation: Some(50),
            disable_oom_killer: Some(false),
            ..MemoryLimits::default()
        },
        pids: Some(-1),
        block: BlockLimits {
            weight: Some(1000),
            write_iops: vec![DeviceThrottle {
                major: 8,
                minor: 0,
                rate: 7,
            }],
            ..BlockLimits::default()
        },
        hugepages: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: -1,
        }],
        unified: vec![("memory.high".to_owned(), "90".to_owned())],
        ..Limits::default()
    };
    group.apply(&limits).unwrap();
    for (file, value) in [
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0-1"),
        ("memory.max", "100"),
        ("memory.low", "50"),
        ("memory.swap.max", "150"),
        ("pids.max", "max"),
        ("io.weight", "default 10000"),
        ("io.max", "8:0 wiops=7"),
        ("hugetlb.2MB.max", "max"),
        ("hugetlb.2MB.rsvd.max", "max"),
        ("memory.high", "90"),
    ] {
        assert_eq!(tree.get(&format!("berth/x/{file}")), value, "{file}");
    }
    let refuses = |limits: MemoryLimits| {
        group.apply(&Limits {
            memory: limits,
            ..Limits::default()
        })
    };
    assert!(matches!(
        refuses(MemoryLimits {
            swappiness: Some(10),
            ..MemoryLimits::default()
        }),
        Err(LimitError::NoFile { .. })
    ));
    assert!(matches!(
        refuses(MemoryLimits {
            disable_oom_killer: Some(true),
            ..MemoryLimits::default()
        }),
        Err(LimitError::NoFile { .. })
    ));
}

#[test]
fn v2_statistics() {
    let tree = FakeTree::new();
    for (file, content) in [
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
        ),
        ("memory.current", "4096\n"),
        ("memory.max", "max\n"),
        ("memory.swap.max", "100\n"),
        ("memory.stat", "anon 5\nfile 6\n"),
        ("memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n"),
        ("pids.current", "2\n"),
        ("pids.max", "9\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"),
        ("hugetlb.2MB.current", "7\n"),
        ("hugetlb.2MB.events", "max 8\n"),
        ("hugetlb.2MB.rsvd.current", "9\n"),
    ] {
        tree.put(&format!("berth/x/{file}"), content);
    }
    let group = Cgroup::open(&tree.layout(), "/berth/x").unwrap();
    let stats = group.stats().unwrap();
    assert_eq!(stats.cpu.total, Duration::from_micros(30));
    assert_eq!(stats.cpu.throttled, Duration::from_micros(1));
    assert_eq!(
        (stats.memory.usage, stats.memory.limit, stats.memory.swap_limit),
        (4096, None, Some(100))
    );
    assert_eq!((stats.memory.failures, stats.memory.oom_kills), (4, 1));
    assert_eq!(stats.memory.stat["file"], 6);
    assert_eq!((stats.pids.current, stats.pids.limit), (2, Some(9)));
    assert_eq!(stats.block.serviced.len(), 3);
    assert_eq!(stats.hugepages.len(), 1);
    assert_eq!(stats.hugepages["2MB"].failures, 8);
    assert_eq!(group.oom_kill_count().unwrap(), 1);
}
