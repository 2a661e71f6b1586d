//! What an engine left on the host, and its removal.
//!
//! Only traces of one [`Place`] are looked for: they hold its directory's unique name, so tests running side by side
//! do not see each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use crate::place::Place;

/// Returns one line for every trace of the engine: mounts, cgroups, processes, loop devices, sockets, files of
/// containers. Empty when the host is as it was (the place's own directory aside).
pub fn find(place: &Place) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for mount in mounts(place)? {
        found.push(format!("mount {mount}"));
    }
    for group in cgroups(place)? {
        found.push(format!("cgroup {}", group.display()));
    }
    for process in processes(place)? {
        found.push(format!("process {} {}", process.pid, process.command));
    }
    for device in loop_devices(place)? {
        found.push(format!("loop device {}", device.display()));
    }
    for socket in sockets(place)? {
        found.push(format!("socket {socket}"));
    }
    for directory in [place.data_root().join("containers"), place.exec_root()] {
        container_files(&directory, &mut found)?;
    }
    Ok(found)
}

/// Removes every trace; used after a failed test too, so each step is tried whatever happened to the others. Returns
/// what could not be removed.
pub fn remove(place: &Place) -> Result<Vec<String>> {
    let gone = crate::wait::until("processes to end", Duration::from_secs(10), || {
        let left = processes(place)?;
        for process in &left {
            if let Some(pid) = Pid::from_raw(process.pid) {
                // It may be gone already.
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
        Ok(left.is_empty())
    });
    let mut left = mounts(place)?;
    while let Some(mount) = left.pop() {
        // Children are listed after their parents; a detached parent takes its children along.
        rustix::mount::unmount(mount.as_str(), UnmountFlags::DETACH).ok();
    }
    for device in loop_devices(place)? {
        drop(
            std::process::Command::new("losetup")
                .arg("-d")
                .arg(device)
                .status(),
        );
    }
    for group in cgroups(place)?.iter().rev() {
        drop(std::fs::remove_dir(group));
    }
    for parent in cgroup_parents(place)? {
        drop(std::fs::remove_dir(parent));
    }
    let mut found = find(place)?;
    found.retain(|line| {
        line.starts_with("mount") || line.starts_with("cgroup") || line.starts_with("process")
    });
    if let Err(error) = gone {
        found.push(format!("{error:#}"));
    }
    Ok(found)
}

/// Returns the mount points whose line in mountinfo names the place's directory.
pub fn mounts(place: &Place) -> Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    let name = place.name();
    Ok(text
        .lines()
        .filter(|line| line.contains(&name))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| path.replace("\\040", " "))
        .collect())
}

/// Returns every cgroup below the place's parent, parents before children, in all hierarchies.
pub fn cgroups(place: &Place) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for parent in cgroup_parents(place)? {
        directories_below(&parent, &mut groups)?;
    }
    Ok(groups)
}

/// Returns the place's cgroup parent in each hierarchy where it exists.
pub fn cgroup_parents(place: &Place) -> Result<Vec<PathBuf>> {
    let parent = place.cgroup_parent();
    Ok(cgroup_mounts()?
        .into_iter()
        .map(|mount| mount.join(parent.trim_start_matches('/')))
        .filter(|path| path.is_dir())
        .collect())
}

/// Returns where the cgroup hierarchies are mounted, v1 and v2.
pub fn cgroup_mounts() -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let kind = after.split(' ').next()?;
            matches!(kind, "cgroup" | "cgroup2").then(|| before.split(' ').nth(4))?
        })
        .map(PathBuf::from)
        .collect())
}

fn directories_below(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path.clone());
            directories_below(&path, found)?;
        }
    }
    Ok(())
}

/// A process of the engine under test.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its command line, words joined by spaces.
    pub command: String,
}

/// Returns the processes that were started for the place: by environment, command line, cgroup, or open files.
pub fn processes(place: &Place) -> Result<Vec<Process>> {
    let name = place.name();
    let own = i32::try_from(std::process::id()).context("own pid")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list /proc")? {
        let path = entry?.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<i32>().ok());
        let Some(pid) = pid.filter(|&pid| pid != own) else {
            continue;
        };
        if belongs(&path, &name) && !is_zombie(&path) {
            let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(Process {
                pid,
                command: command.trim().to_owned(),
            });
        }
    }
    Ok(found)
}

/// Whether the process directory `path` holds `name` where an engine's process would have it.
fn belongs(path: &Path, name: &str) -> bool {
    let holds = |file: &str| {
        std::fs::read(path.join(file))
            .is_ok_and(|bytes| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
    };
    let points_to =
        |link: &Path| std::fs::read_link(link).is_ok_and(|target| target.to_string_lossy().contains(name));
    holds("cgroup")
        || holds("cmdline")
        || holds("environ")
        || points_to(&path.join("cwd"))
        || std::fs::read_dir(path.join("fd")).is_ok_and(|fds| fds.flatten().any(|fd| points_to(&fd.path())))
            && !is_test_process(path)
}

/// A test process (ours or a sibling thread's) may hold files of a place open without being part of the engine.
fn is_test_process(path: &Path) -> bool {
    std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe.to_string_lossy().contains("/deps/"))
}

fn is_zombie(path: &Path) -> bool {
    std::fs::read_to_string(path.join("stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"))
    })
}

/// Returns the loop devices whose backing file is in the place.
fn loop_devices(place: &Place) -> Result<Vec<PathBuf>> {
    let name = place.name();
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/sys/block") else {
        return Ok(found);
    };
    for entry in entries {
        let entry = entry?;
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|file| file.contains(&name)) {
            found.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(found)
}

/// Returns the bound unix sockets of the place, abstract ones too.
fn sockets(place: &Place) -> Result<Vec<String>> {
    let name = place.name();
    let text = std::fs::read_to_string("/proc/net/unix").context("read /proc/net/unix")?;
    let mut found: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|path| path.contains(&name))
        .map(str::to_owned)
        .collect();
    found.dedup();
    Ok(found)
}

/// Adds what is named after a container (64 hex digits) below `directory`.
fn container_files(directory: &Path, found: &mut Vec<String>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_string_lossy();
        let digits = stem.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == 64 {
            found.push(format!("file {}", entry.path().display()));
        } else if entry.file_type()?.is_dir() {
            container_files(&entry.path(), found)?;
        }
    }
    Ok(())
}
