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
