//! What processes hold in memory, from `/proc/PID/smaps_rollup` (proc(5)).

use anyhow::{Context, Result};

/// Sizes in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, shared pages divided among their users.
    pub pss: u64,
    /// Resident and nobody else's (USS).
    pub private: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            private: self.private + other.private,
        }
    }
}

/// Returns what the process holds.
pub fn of(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Memory {
    let field = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| {
                line.strip_prefix(name)?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .sum()
    };
    Memory {
        rss: field("Rss:"),
        pss: field("Pss:"),
        private: field("Private_Clean:") + field("Private_Dirty:"),
    }
}

/// Returns the parent of the process.
pub fn parent(pid: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("stat")?.1;
    Ok(rest.split_whitespace().nth(1).context("stat")?.parse()?)
}

/// Returns the children of the process, and theirs.
pub fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    let pairs: Vec<(u32, u32)> = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| {
            let child = entry.file_name().to_str()?.parse().ok()?;
            Some((child, parent(child).ok()?))
        })
        .collect();
    while let Some(next) = open.pop() {
        for &(child, parent) in &pairs {
            if parent == next {
                found.push(child);
                open.push(child);
            }
        }
    }
    Ok(found)
}

/// A memory control group of one process and of those that it starts from now on, in which the kernel counts what it
/// keeps for them: pages of tables, sockets, elements of the packet filter's sets (cgroup-v1/memory.rst, cgroup-v2.rst).
#[derive(Debug)]
pub struct Ledger {
    group: std::path::PathBuf,
}

impl Ledger {
    /// Moves the process into a group of its own.
    pub fn open(pid: u32) -> Result<Self> {
        let mounts = testkit::residue::cgroup_mounts()?;
        let has_memory = |mount: &&std::path::PathBuf| mount.join("memory.stat").exists();
        let mount = mounts.iter().find(has_memory);
        let mount = mount.context("no control group counts memory")?;
        let group = mount.join(format!("bench-ledger-{pid}"));
        std::fs::create_dir(&group).context("make a memory control group")?;
        let ledger = Self { group };
        enter(&ledger.group, pid)?;
        Ok(ledger)
    }

    /// Returns how many KiB the kernel keeps.
    pub fn kernel(&self) -> Result<u64> {
        if let Ok(bytes) = std::fs::read_to_string(self.group.join("memory.kmem.usage_in_bytes")) {
            return Ok(bytes.trim().parse::<u64>()? / 1024);
        }
        let text = std::fs::read_to_string(self.group.join("memory.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("kernel "));
        Ok(line.context("memory.stat")?.trim().parse::<u64>()? / 1024)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // netd and others that were started meanwhile go too.
        let inside = std::fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        let Some(parent) = self.group.parent() else { return };
        for pid in inside.lines().filter_map(|pid| pid.parse::<u32>().ok()) {
            drop(enter(parent, pid));
        }
        drop(std::fs::remove_dir(&self.group));
    }
}

fn enter(group: &std::path::Path, pid: u32) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))?;
    std::io::Write::write_all(&mut file, pid.to_string().as_bytes()).context("enter a control group")
}

/// Writes KiB as MiB.
pub fn show(kib: u64) -> String {
    let tenths = (kib * 10).div_ceil(1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollup_is_read() {
        let memory =
            parse("Rss:  100 kB\nPss:  50 kB\nPss_Dirty: 7 kB\nPrivate_Clean: 3 kB\nPrivate_Dirty: 4 kB\n");
        assert_eq!(
            memory,
            Memory {
                rss: 100,
                pss: 50,
                private: 7
            }
        );
        assert_eq!(show(1536), "1.5 MiB");
    }
}
