//! A full disk: F-07 of docs/security-tests.md. The data root is a small file system of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::command::Output;
use testkit::{Daemon, Host, RegistryServer, Start, command, has, skip};

/// A file system in a file, mounted where a data root is to be. Dropping it unmounts it.
struct Disk {
    mount: PathBuf,
    ballast: PathBuf,
}

impl Disk {
    /// Makes one of `megabytes` with `inodes`, mounted at `mount`.
    fn mount(image: &Path, mount: &Path, megabytes: u64, inodes: u64) -> Result<Self> {
        std::fs::File::create_new(image)?.set_len(megabytes << 20)?;
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-m", "0", "-N", &inodes.to_string()])
            .arg(image);
        command::run(&mut make, b"")?.expect(0)?;
        std::fs::create_dir(mount)?;
        let mut attach = Command::new("mount");
        attach.args(["-t", "ext4", "-o", "loop"]).arg(image).arg(mount);
        command::run(&mut attach, b"")?.expect(0)?;
        let ballast = mount.join("ballast");
        std::fs::create_dir(&ballast)?;
        Ok(Self {
            mount: mount.to_owned(),
            ballast,
        })
    }

    /// Fills it up to `left` bytes; may be repeated.
    fn fill(&self, left: u64) -> Result<()> {
        let mut large = true;
        loop {
            let state = rustix::fs::statvfs(&self.mount)?;
            let too_much = (state.f_bavail * state.f_bsize).saturating_sub(left);
            if too_much < 4096 {
                break;
            }
            let Ok(file) = self.ballast_file() else { break };
            // What the kernel says is free and what it gives at once are not the same.
            let length = if large { too_much } else { 4096 };
            large = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length).is_ok();
            if !large && length == 4096 {
                break;
            }
        }
        if left == 0
            && let Ok(mut file) = self.ballast_file()
        {
            while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok_and(|()| file.sync_all().is_ok()) {}
        }
        Ok(())
    }

    /// Takes every inode; may be repeated.
    fn take_inodes(&self) {
        while self.ballast_file().is_ok() {}
    }

    fn ballast_file(&self) -> std::io::Result<std::fs::File> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::fs::File::create_new(self.ballast.join(number.to_string()))
    }

    fn release(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.ballast)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    fn unmount(&self) -> bool {
        rustix::mount::unmount(&self.mount, rustix::mount::UnmountFlags::empty()).is_ok()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.unmount() {
            rustix::mount::unmount(&self.mount, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }
}

/// A daemon on a disk of its own, with a container that counts and what operations need.
struct World {
    daemon: Daemon,
    disk: Disk,
    registry: RegistryServer,
}

impl World {
    /// Returns `None` where no file system can be mounted.
    fn new(inodes: u64) -> Result<Option<Self>> {
        if !can_mount() {
            return Ok(None);
        }
        let mut daemon = Daemon::prepare(Start::default())?;
        let disk = Disk::mount(
            &daemon.directory().join("disk"),
            &daemon.place().data_root(),
            64,
            inodes,
        )?;
        daemon.launch()?;
        let registry = RegistryServer::berth(&[])?;
        let world = Self {
            daemon,
            disk,
            registry,
        };
        let archive = testkit::image::busybox_tar(world.daemon.directory())?;
        let daemon = &world.daemon;
        daemon.ok(&["import", &text(&archive), "busybox"])?;
        daemon.ok(&[
            "run",
            "--name",
            "changed",
            "busybox",
            "sh",
            "-c",
            "head -c 300000 /dev/urandom > /new",
        ])?;
        let other = format!("{}/team/other:v1", world.registry.address());
        daemon.ok(&["commit", "changed", &other])?;
        daemon.ok(&["push", &other])?;
        daemon.ok(&["save", "-o", &text(&world.file("other.tar")), &other])?;
        daemon.ok(&["rmi", &other])?;
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            "steady",
            "busybox",
            "sh",
            "-c",
            "i=0; while true; do i=$((i+1)); echo line $i; echo $i > /dev/shm/count; usleep 10000; done",
        ])?;
        Ok(Some(world))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.daemon.directory().join(name)
    }

    /// The container that counts goes on, whatever the disk has.
    fn is_steady(&self) -> Result<()> {
        let count = || -> Result<u64> {
            let said = self.daemon.ok(&["exec", "steady", "cat", "/dev/shm/count"])?;
            Ok(said.parse().unwrap_or_default())
        };
        let before = count()?;
        testkit::until("a container to go on", std::time::Duration::from_secs(10), || {
            Ok(count()? > before)
        })
    }

    fn finish(self) -> Result<()> {
        let Self {
            mut daemon,
            disk,
            registry,
        } = self;
        drop(registry);
        let all = daemon.ok(&["ps", "-aq"])?;
        for id in all.lines() {
            daemon.ok(&["rm", "-f", "-v", id])?;
        }
        daemon.terminate()?;
        // Namespaces of what ran until just now take a moment.
        let patience = std::time::Duration::from_secs(20);
        testkit::until("the data root to be let go", patience, || Ok(disk.unmount()))?;
        std::mem::forget(disk);
        daemon.finish()
    }
}

fn can_mount() -> bool {
    has("mkfs.ext4") && Path::new("/dev/loop-control").exists()
}

/// How the kernel and the store say that there is no room.
const CAUSES: [&str; 2] = ["No space left on device", "database or disk is full"];

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Something that needs room, and how it is undone.
type Operation<'a> = (
    &'static str,
    Box<dyn Fn() -> Result<Output> + 'a>,
    Vec<&'static str>,
);

fn operations(world: &World) -> Vec<Operation<'_>> {
    let daemon = &world.daemon;
    let run = |arguments: Vec<String>| -> Box<dyn Fn() -> Result<Output> + '_> {
        Box::new(move || daemon.berth(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let other = format!("{}/team/other:v1", world.registry.address());
    let other_tar = text(&world.file("other.tar"));
    let tar = text(&daemon.directory().join("busybox.tar"));
    vec![
        (
            "pull",
            run(words(&format!("pull -q {other}"))),
            vec!["rmi", "OTHER"],
        ),
        (
            "load",
            run(words(&format!("load -q -i {other_tar}"))),
            vec!["rmi", "OTHER"],
        ),
        (
            "import",
            run(words(&format!("import {tar} imported"))),
            vec!["rmi", "imported"],
        ),
        (
            "commit",
            run(words("commit changed committed")),
            vec!["rmi", "committed"],
        ),
        ("tag", run(words("tag busybox tagged")), vec!["rmi", "tagged"]),
        (
            "create",
            run(words("create --name made busybox true")),
            vec!["rm", "made"],
        ),
        (
            "run",
            run(words("run -d --name made busybox sleep 1000")),
            vec!["rm", "-f", "made"],
        ),
        (
            "volume create",
            run(words("volume create kept")),
            vec!["volume", "rm", "kept"],
        ),
        ("cp", run(words(&format!("cp {tar} changed:/copied"))), vec!["ps"]),
    ]
}

/// Does `operation` on a disk that `prepare` has filled, and again when there is room.
fn on_a_full_disk(world: &World, (name, act, undo): &Operation<'_>, full: &str) -> Result<()> {
    let told = format!("{name}, {full}");
    let daemon = &world.daemon;
    let undo: Vec<String> = undo
        .iter()
        .map(|word| word.replace("OTHER", &format!("{}/team/other:v1", world.registry.address())))
        .collect();
    let undo: Vec<&str> = undo.iter().map(String::as_str).collect();
    let done = act().with_context(|| told.clone())?;
    if done.code != 0 {
        ensure!(
            CAUSES.iter().any(|cause| done.stderr.contains(cause)),
            "{told}: the cause is not named: {done:?}"
        );
    } else {
        // What can be had without room can be given back without.
        daemon.ok(&undo).with_context(|| told.clone())?;
    }
    world.is_steady().with_context(|| told.clone())?;
    world.disk.release()?;
    let checked = daemon.berth(&["system", "check"])?;
    ensure!(checked.code == 0, "{told}: {checked:?}");
    // A run that failed has made its container, as docker's.
    if done.code != 0 && *name == "run" {
        drop(daemon.berth(&undo)?);
    }
    act()?
        .expect(0)
        .with_context(|| format!("{told}, with room again"))?;
    daemon.ok(&undo).with_context(|| told.clone())?;
    Ok(())
}

/// F-07: ten operations on a disk with little room or none name the cause, leave nothing torn, and work when there is room.
#[test]
fn f_07_operations_on_a_full_disk() -> Result<()> {
    let Some(mut world) = World::new(8192)? else {
        return skip("no file system can be mounted");
    };
    let steps: Vec<u64> = match std::env::var("BERTH_F07_STEPS") {
        Ok(steps) => (0..steps.parse()?).collect(),
        Err(_) => vec![0, 1, 3, 8, 20],
    };
    for step in steps {
        for operation in operations(&world) {
            world.disk.fill(step * (64 << 10))?;
            on_a_full_disk(&world, &operation, &format!("{} KiB left", step * 64))?;
        }
    }
    // And the next daemon finds everything.
    let before = world.daemon.ok(&["images", "-q", "--no-trunc"])?;
    world.daemon.crash()?;
    assert_eq!(world.daemon.ok(&["images", "-q", "--no-trunc"])?, before);
    world.daemon.ok(&["system", "check"])?;
    world.finish()
}

/// F-07: the same without an inode.
#[test]
fn f_07_operations_without_inodes() -> Result<()> {
    let Some(world) = World::new(2000)? else {
        return skip("no file system can be mounted");
    };
    for operation in operations(&world) {
        world.disk.take_inodes();
        on_a_full_disk(&world, &operation, "no inode left")?;
    }
    world.finish()
}

/// F-07: what makes room works when there is none.
#[test]
fn f_07_removal_works_on_a_full_disk() -> Result<()> {
    for full in ["bytes", "inodes"] {
        let Some(mut world) = World::new(2000)? else {
            return skip("no file system can be mounted");
        };
        let daemon = &world.daemon;
        for name in ["one", "two", "three", "pruned"] {
            daemon.ok(&["create", "--name", name, "busybox", "true"])?;
        }
        daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"])?;
        daemon.ok(&["volume", "create", "some"])?;
        daemon.ok(&["volume", "create", "more"])?;
        daemon.ok(&["load", "-q", "-i", &text(&world.file("other.tar"))])?;
        daemon.ok(&["import", &text(&daemon.directory().join("busybox.tar"))])?;
        daemon.ok(&["tag", "busybox", "second"])?;
        let other = format!("{}/team/other:v1", world.registry.address());
        for arguments in [
            &["stop", "-t", "0", "runs"][..],
            &["rm", "one"],
            &["rm", "-f", "runs"],
            &["rmi", "second"],
            &["rmi", &other],
            &["volume", "rm", "some"],
            &["rm", "two", "three"],
            &["container", "prune", "-f"],
            &["volume", "prune", "-a", "-f"],
            &["image", "prune", "-f"],
            &["system", "prune", "-f"],
        ] {
            // Somebody else takes what becomes free.
            match full {
                "bytes" => world.disk.fill(0)?,
                _ => world.disk.take_inodes(),
            }
            let done = daemon.berth(arguments)?;
            ensure!(done.code == 0, "no {full}: {done:?}");
        }
        assert_eq!(
            daemon.ok(&["ps", "-a", "--format", "{{.Names}}"])?,
            "steady",
            "{full}"
        );
        world.is_steady()?;
        world.disk.release()?;
        daemon.ok(&["system", "check"])?;
        world.daemon.crash()?;
        let daemon = &world.daemon;
        assert_eq!(
            daemon.ok(&["ps", "-a", "--format", "{{.Names}}"])?,
            "steady",
            "{full}"
        );
        assert_eq!(daemon.ok(&["volume", "ls", "-q"])?, "", "{full}");
        daemon.ok(&["run", "--rm", "busybox", "true"])?;
        world.finish()?;
    }
    Ok(())
}

/// F-07: networks are made and removed, or refused with the cause, on a full disk.
#[test]
fn f_07_networks_on_a_full_disk() -> Result<()> {
    if !can_mount() {
        return skip("no file system can be mounted");
    }
    let mut daemon = Daemon::prepare(Start {
        host: Some(Host::new("machine")?),
        ..Start::default()
    })?;
    let disk = Disk::mount(
        &daemon.directory().join("disk"),
        &daemon.place().data_root(),
        16,
        2000,
    )?;
    daemon.launch()?;
    for left in [0, 1, 2, 4, 8, 16] {
        for name in ["one", "two", "three"] {
            daemon.ok(&["network", "create", name])?;
        }
        disk.fill(left * 4096)?;
        let made = daemon.berth(&["network", "create", "net"])?;
        ensure!(
            made.code == 0 || CAUSES.iter().any(|cause| made.stderr.contains(cause)),
            "{made:?}"
        );
        disk.fill(left * 4096)?;
        daemon.ok(&["network", "rm", "one", "two"])?;
        daemon.ok(&["network", "prune", "-f"])?;
        disk.release()?;
        daemon.ok(&["network", "create", "net"])?;
        daemon.crash()?;
        let left = daemon.ok(&["network", "ls", "-f", "type=custom", "--format", "{{.Name}}"])?;
        assert_eq!(left, "net");
        daemon.ok(&["network", "rm", "net"])?;
    }
    daemon.terminate()?;
    let patience = std::time::Duration::from_secs(20);
    testkit::until("the data root to be let go", patience, || Ok(disk.unmount()))?;
    std::mem::forget(disk);
    daemon.finish()
}

/// F-07: a log that cannot be written does not stop its container, and goes on when there is room.
#[test]
fn f_07_logs_on_a_full_disk() -> Result<()> {
    let Some(world) = World::new(8192)? else {
        return skip("no file system can be mounted");
    };
    let daemon = &world.daemon;
    let last = || -> Result<u64> {
        let line = daemon.ok(&["logs", "--tail", "1", "steady"])?;
        Ok(line
            .rsplit(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_default())
    };
    world.disk.fill(0)?;
    // More lines than a pipe holds.
    let write = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo a long line of words $i; done; echo end > /dev/shm/end";
    daemon.ok(&["exec", "steady", "sh", "-c", &format!("({write}) > /proc/1/fd/1")])?;
    assert_eq!(daemon.ok(&["exec", "steady", "cat", "/dev/shm/end"])?, "end");
    world.is_steady()?;
    world.disk.release()?;
    let count: u64 = daemon.ok(&["exec", "steady", "cat", "/dev/shm/count"])?.parse()?;
    testkit::until("the log to go on", std::time::Duration::from_secs(10), || {
        Ok(last()? > count)
    })?;
    world.finish()
}

/// F-07: without room for what only a run needs, a start says so; what runs goes on.
#[test]
fn f_07_a_full_run_directory() -> Result<()> {
    let mut daemon = Daemon::prepare(Start::default())?;
    let run = daemon.place().exec_root();
    std::fs::create_dir(&run)?;
    let mut attach = Command::new("mount");
    attach
        .args(["-t", "tmpfs", "-o", "size=1m,mode=711", "tmpfs"])
        .arg(&run);
    command::run(&mut attach, b"")?.expect(0)?;
    daemon.launch()?;
    daemon.ok(&["image", "pack", "-t", "busybox", testkit::image::busybox()?])?;
    daemon.ok(&["run", "-d", "--name", "steady", "busybox", "sleep", "1000"])?;
    let ballast = run.join("ballast");
    for left in [0, 1, 2, 3, 5] {
        let mut file = std::fs::File::create_new(&ballast)?;
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        let length = file.metadata()?.len();
        file.set_len(length.saturating_sub(left * 4096))?;
        drop(file);
        let done = daemon.berth(&["run", "--rm", "busybox", "true"])?;
        ensure!(
            done.code == 0 || done.stderr.to_lowercase().contains("no space left on device"),
            "{left} pages: {done:?}"
        );
        assert_eq!(daemon.inspect("steady", "{{.State.Status}}")?, "running");
        std::fs::remove_file(&ballast)?;
        daemon.ok(&["exec", "steady", "true"])?;
        daemon.ok(&["run", "--rm", "busybox", "true"])?;
    }
    assert_eq!(daemon.ok(&["ps", "-aq"])?.lines().count(), 1);
    daemon.ok(&["rm", "-f", "steady"])?;
    daemon.terminate()?;
    rustix::mount::unmount(&run, rustix::mount::UnmountFlags::DETACH)?;
    daemon.finish()
}
