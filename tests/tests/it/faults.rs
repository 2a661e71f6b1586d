//! Containers and machines that misbehave around a daemon that stays well (F-13 to F-25).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use testkit::Daemon;

use crate::{probe, wire};

fn signal(pid: i32, signal: Signal) -> Result<()> {
    rustix::process::kill_process(Pid::from_raw(pid).context("pid")?, signal)?;
    Ok(())
}

fn parent_of(pid: i32) -> Result<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("stat")?.1;
    Ok(rest.split_whitespace().nth(1).context("ppid")?.parse()?)
}

fn shim_of(daemon: &Daemon, container: &str) -> Result<i32> {
    parent_of(daemon.inspect(container, "{{.State.Pid}}")?.parse()?)
}

/// A stopped process that goes on at the end, so that nothing is left behind a failed test.
struct Stopped(i32);

impl Stopped {
    fn new(pid: i32) -> Result<Self> {
        signal(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(signal(self.0, Signal::CONT));
    }
}

/// F-13: one container whose shim is stopped, and one that is frozen, block nobody else; force removes the frozen one,
/// and the stopped one is told of in time.
#[test]
fn f_13_a_stuck_container_blocks_no_other() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for name in ["stuck", "frozen", "fine"] {
        daemon.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    daemon.ok(&["pause", "frozen"])?;
    let stopped = Stopped::new(shim_of(&daemon, "stuck")?)?;
    for _ in 0..10 {
        for path in [
            "/containers/json?all=1",
            "/info",
            "/containers/fine/json",
            "/containers/stuck/json",
            "/version",
        ] {
            let start = Instant::now();
            assert_eq!(daemon.api("GET", path, None)?.status, 200, "{path}");
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{path}: {:?}",
                start.elapsed()
            );
        }
        assert_eq!(daemon.ok(&["exec", "fine", "echo", "on"])?, "on");
    }
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "new"])?, "new");
    daemon.ok(&["rm", "-f", "frozen"])?;
    let start = Instant::now();
    let output = daemon.berth(&["stop", "-t", "1", "stuck"])?;
    assert!(start.elapsed() < Duration::from_secs(40), "{output:?}");
    drop(stopped);
    daemon.ok(&["rm", "-f", "stuck"])?;
    daemon.finish()
}

/// F-15: removal when something still holds the root: a descriptor, a working directory, a mount namespace; twice at
/// once; and while it is being stopped.
#[test]
fn f_15_removal_while_something_holds_on() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for round in 0..4 {
        daemon.ok(&[
            "run", "-d", "--name", "c1", "-v", "/data", "busybox", "sleep", "1000",
        ])?;
        let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
        let root = std::fs::File::open(format!("/proc/{pid}/root"))?;
        let data = std::fs::File::open(format!("/proc/{pid}/root/data"))?;
        // Another mount namespace that has copied all mounts of the container.
        let mut holder = std::process::Command::new("nsenter");
        holder.args(["-t", &pid, "-m", "unshare", "-m", "/bin/busybox", "sleep", "1000"]);
        let holder = holder
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let start = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let first = scope.spawn(|| daemon.berth(&["rm", "-f", "-v", "c1"]));
            let second = scope.spawn(|| {
                if round % 2 == 0 {
                    daemon.berth(&["rm", "-f", "-v", "c1"])
                } else {
                    daemon.berth(&["stop", "-t", "1", "c1"])
                }
            });
            for result in [first.join(), second.join()] {
                let output = result.map_err(|_panic| anyhow::anyhow!("thread"))??;
                let known = [
                    "No such container",
                    "already in progress",
                    "is not running",
                    "being removed",
                ];
                assert!(
                    output.code == 0 || known.iter().any(|text| output.stderr.contains(text)),
                    "{output:?}"
                );
            }
            Ok(())
        })?;
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        daemon.berth(&["rm", "-f", "c1"])?;
        assert_eq!(daemon.ok(&["ps", "-aq"])?, "", "round {round}");
        daemon.ok(&["run", "--rm", "--name", "c1", "busybox", "true"])?;
        if let Ok(mut holder) = holder {
            drop(holder.kill());
            holder.wait()?;
        }
        drop((root, data));
    }
    daemon.finish()
}

/// F-17: a fork bomb and a memory hog stay in their limits; the daemon answers, and removing them works.
#[test]
fn f_17_bombs_stay_in_their_limits() -> Result<()> {
    let daemon = probe::daemon()?;
    // Few processors' worth, so that tests beside this one go on.
    let limits = ["--pids-limit", "300", "--cpus", "0.3", "--memory", "256m"];
    daemon.ok(&[
        &["run", "-d", "--name", "bomb"][..],
        &limits,
        &["busybox", "/probe", "bomb"],
    ]
    .concat())?;
    daemon.wait_for_log("bomb", "bombing")?;
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(daemon.api("GET", "/_ping", None)?.status, 200);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "on"])?, "on");
    }
    let start = Instant::now();
    daemon.ok(&["rm", "-f", "bomb"])?;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // The default has a limit too: no container is without one.
    let pids = daemon.ok(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
    ])?;
    assert_eq!(pids, "2048");
    daemon.finish()
}

/// F-18: orphans and many short execs leave no zombie outside and no wrong exit code.
#[test]
fn f_18_orphans_and_short_execs() -> Result<()> {
    let daemon = probe::daemon()?;
    daemon.ok(&["run", "-d", "--init", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&["exec", "c1", "/probe", "orphans", "1000"])?;
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let daemon = &daemon;
                scope.spawn(move || -> Result<()> {
                    for round in 0..25 {
                        let code = (thread * 25 + round) % 120;
                        let program = format!("exit {code}");
                        daemon
                            .berth(&["exec", "c1", "sh", "-c", &program])?
                            .expect(code)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_panic| anyhow::anyhow!("thread"))??;
        }
        Ok(())
    })?;
    let shim = shim_of(&daemon, "c1")?;
    testkit::until(
        "no zombie of the shim or of PID 1",
        Duration::from_secs(5),
        || {
            let pid: i32 = daemon.inspect("c1", "{{.State.Pid}}")?.parse()?;
            Ok(zombies(&[shim, pid])? == 0)
        },
    )?;
    daemon.finish()
}

/// How many zombies have one of `parents` as theirs.
fn zombies(parents: &[i32]) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // Processes come and go.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let is_zombie = stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"));
        if is_zombie && parent_of(pid).is_ok_and(|parent| parents.contains(&parent)) {
            count += 1;
        }
    }
    Ok(count)
}

/// F-23: cycles of create, run, exec and rm leave nothing that grows.
#[test]
fn f_23_cycles_leave_nothing() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let cycle = || -> Result<()> {
        daemon.ok(&[
            "run", "-d", "--name", "c1", "-v", "/data", "busybox", "sleep", "1000",
        ])?;
        daemon.ok(&["exec", "c1", "true"])?;
        daemon.ok(&["logs", "c1"])?;
        daemon.ok(&["rm", "-f", "-v", "c1"])?;
        daemon.ok(&["run", "--rm", "busybox", "true"])?;
        Ok(())
    };
    let figures = || -> Result<(usize, usize, usize)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()?))?.count();
        let files = files_below(&daemon.place().data_root())?;
        Ok((wire::descriptors(&daemon)?, tasks, files))
    };
    for _ in 0..20 {
        cycle()?;
    }
    let before = (figures()?, wire::memory(&daemon, "VmRSS")?);
    for _ in 0..50 {
        cycle()?;
    }
    testkit::until("figures to be what they were", Duration::from_secs(10), || {
        let now = figures()?;
        // Spare snapshots are made ahead, blocking threads go after ten seconds: both have bounds of their own.
        Ok(now.0 <= before.0.0 + 1 && now.1 <= before.0.1 + 2 && now.2 <= before.0.2 + 100)
    })?;
    let grown = wire::memory(&daemon, "VmRSS")?.saturating_sub(before.1);
    assert!(grown < 4096, "{grown} KiB in 50 cycles");
    daemon.finish()
}

fn files_below(directory: &std::path::Path) -> Result<usize> {
    let mut find = std::process::Command::new("find");
    find.arg(directory);
    Ok(testkit::command::run(&mut find, b"")?.stdout.lines().count())
}

/// F-24: signals to the daemon: a broken reload, a broken pipe, a pause, two requests to end. No container notices.
#[test]
fn f_24_signals_to_the_daemon() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for index in 0..5 {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            &format!("c{index}"),
            "busybox",
            "sleep",
            "1000",
        ])?;
    }
    let state = |daemon: &Daemon| -> Result<Vec<String>> {
        (0..5)
            .map(|index| daemon.inspect(&format!("c{index}"), "{{.State.Pid}} {{.State.StartedAt}}"))
            .collect()
    };
    let before = state(&daemon)?;
    let pid = i32::try_from(daemon.pid()?)?;
    for number in [Signal::HUP, Signal::PIPE, Signal::HUP] {
        signal(pid, number)?;
        assert_eq!(daemon.api("GET", "/_ping", None)?.status, 200, "{number:?}");
    }
    let stopped = Stopped::new(pid)?;
    let mut waiting = daemon
        .command(["ps", "-q"])?
        .stdout(std::process::Stdio::null())
        .spawn()?;
    drop(stopped);
    assert_eq!(testkit::command::wait(&mut waiting, "ps of a stopped daemon")?, 0);
    assert_eq!(state(&daemon)?, before);
    let start = Instant::now();
    signal(pid, Signal::TERM)?;
    // The second may come when it is gone already.
    drop(signal(pid, Signal::TERM));
    daemon.wait_for_end(Duration::from_secs(10))?;
    assert!(start.elapsed() < Duration::from_secs(10));
    daemon.launch()?;
    assert_eq!(state(&daemon)?, before);
    daemon.finish()
}

/// F-25: a daemon without descriptors to spare refuses with a reason and recovers when it has them again.
#[test]
fn f_25_starved_of_descriptors() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let pid = Pid::from_raw(i32::try_from(daemon.pid()?)?).context("pid")?;
    // The daemon inherited its hard limit from here; only the soft one is lowered.
    let own = rustix::process::getrlimit(Resource::Nofile);
    let used = wire::descriptors(&daemon)? as u64;
    let low = Rlimit {
        current: Some(used + 2),
        maximum: own.maximum,
    };
    let former = rustix::process::prlimit(Some(pid), Resource::Nofile, low)?;
    for _ in 0..4 {
        let mut command = daemon.command(["run", "-d", "busybox", "sleep", "1000"])?;
        let mut child = command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        // Refused or, when something was closed in time, done: never a hang, never the daemon's end.
        testkit::command::wait(&mut child, "run on a starved daemon")?;
    }
    assert!(std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
    rustix::process::prlimit(Some(pid), Resource::Nofile, former)?;
    testkit::until("the daemon to answer again", Duration::from_secs(10), || {
        Ok(daemon
            .api("GET", "/_ping", None)
            .is_ok_and(|reply| reply.status == 200))
    })?;
    assert_eq!(daemon.ok(&["exec", "c1", "echo", "on"])?, "on");
    assert_eq!(
        daemon.ok(&["run", "--rm", "busybox", "echo", "recovered"])?,
        "recovered"
    );
    for id in daemon.ok(&["ps", "-aq", "--no-trunc"])?.lines() {
        daemon.ok(&["rm", "-f", id])?;
    }
    // What could not be undone without descriptors is swept by the next daemon.
    daemon.crash()?;
    daemon.finish()
}

/// DS-05: what a container puts on the host beside its own root has a cap, or cannot be written.
#[test]
fn ds_05_bytes_outside_the_root_are_capped() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--log-opt",
        "max-size=100k",
        "--log-opt",
        "max-file=2",
        "busybox",
        "sh",
        "-c",
        "yes 0123456789012345678901234567890123456789 | head -c 4000000; echo; echo finished",
    ])?;
    daemon.wait_for("c1", "{{.State.Status}}", "exited")?;
    let directory = daemon.place().data_root().join("containers").join(&id);
    let mut du = std::process::Command::new("du");
    du.arg("-sk").arg(&directory);
    let used: u64 = testkit::command::run(&mut du, b"")?
        .text()?
        .split_whitespace()
        .next()
        .context("du")?
        .parse()?;
    assert!(used < 1000, "{used} KiB");
    let shm = daemon.berth(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null; stat -c %s /dev/shm/x",
    ])?;
    assert_eq!(shm.stdout.trim(), "67108864");
    // The engine's own files in a root that is read-only are read-only too.
    let text = daemon.ok(&["run", "--rm", "--read-only", "busybox", "sh", "-c", "for f in hosts hostname resolv.conf; do (echo x >> /etc/$f) 2>/dev/null && echo wrote $f; done; echo end"])?;
    assert_eq!(text, "end");
    daemon.finish()
}
