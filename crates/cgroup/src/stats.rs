//! What a group has used.
//!
//! Sources: the kernel's `Documentation/admin-guide/cgroup-v1/` and `cgroup-v2.rst`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::node;

/// Everything that the group's controllers count; what a host does not count is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Number of tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub block: BlockStats,
    /// Huge pages by page size, such as `2MB`.
    pub hugepages: BTreeMap<String, HugepageStats>,
}

/// CPU time used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// In all.
    pub total: Duration,
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// By CPU (v1 only).
    pub per_cpu: Vec<Duration>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the group had to wait.
    pub throttled_periods: u64,
    /// How long it waited.
    pub throttled: Duration,
}

/// Memory used; bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// The present use, with the page cache.
    pub usage: u64,
    /// The greatest use so far, where the kernel keeps it.
    pub max_usage: Option<u64>,
    /// The limit; `None` is no limit.
    pub limit: Option<u64>,
    /// How often the limit was met.
    pub failures: u64,
    /// Memory and swap together (v1) or swap alone (v2).
    pub swap_usage: Option<u64>,
    /// The limit of the same; `None` is no limit.
    pub swap_limit: Option<u64>,
    /// How many processes were killed for want of memory.
    pub oom_kills: u64,
    /// Every line of `memory.stat`, by the version's own names.
    pub stat: BTreeMap<String, u64>,
}

/// Number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit; `None` is no limit.
    pub limit: Option<u64>,
}

/// One line of a block device table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`.
    pub operation: String,
    /// Bytes or operations.
    pub value: u64,
}

/// Block devices, in the form of Docker's API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Bytes by device and operation.
    pub service_bytes: Vec<BlockEntry>,
    /// Operations by device and kind.
    pub serviced: Vec<BlockEntry>,
}

/// Huge pages of one size; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugepageStats {
    /// Now.
    pub usage: u64,
    /// The greatest use so far, where the kernel keeps it.
    pub max_usage: Option<u64>,
    /// How often the limit was met.
    pub failures: u64,
}

impl Cgroup {
    /// Reads all counters.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: self.memory_stats()?,
            pids: self.pids_stats()?,
            block: self.block_stats()?,
            hugepages: self.hugepage_stats()?,
        })
    }

    fn cpu_stats(&self) -> Result<CpuStats, CgroupError> {
        let mut stats = CpuStats::default();
        if let Some((Version::V1, directory)) = self.directory(Controller::Cpuacct) {
            let number = |file: &str| -> Result<u64, CgroupError> {
                let text = self.read_optional(directory, file)?;
                Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
            };
            stats.total = Duration::from_nanos(number("cpuacct.usage")?);
            stats.user = Duration::from_nanos(number("cpuacct.usage_user")?);
            stats.system = Duration::from_nanos(number("cpuacct.usage_sys")?);
            stats.per_cpu = self
                .read_optional(directory, "cpuacct.usage_percpu")?
                .unwrap_or_default()
                .split_whitespace()
                .filter_map(|number| number.parse().ok())
                .map(Duration::from_nanos)
                .collect();
        } else if let Some(directory) = self.unified() {
            // There with and without the controller.
            let text = self.read_optional(directory, "cpu.stat")?.unwrap_or_default();
            let time = |key| Duration::from_micros(value_of(&text, key).unwrap_or(0));
            stats.total = time("usage_usec");
            stats.user = time("user_usec");
            stats.system = time("system_usec");
        }
        if let Some((version, directory)) = self.directory(Controller::Cpu) {
            let text = self.read_optional(directory, "cpu.stat")?.unwrap_or_default();
            let number = |key| value_of(&text, key).unwrap_or(0);
            stats.periods = number("nr_periods");
            stats.throttled_periods = number("nr_throttled");
            stats.throttled = match version {
                Version::V1 => Duration::from_nanos(number("throttled_time")),
                Version::V2 => Duration::from_micros(number("throttled_usec")),
            };
        }
        Ok(stats)
    }

    fn memory_stats(&self) -> Result<MemoryStats, CgroupError> {
        let Some((version, directory)) = self.directory(Controller::Memory) else {
            return Ok(MemoryStats::default());
        };
        let number = |file: &str| -> Result<Option<u64>, CgroupError> {
            Ok(self
                .read_optional(directory, file)?
                .and_then(|text| limit_of(&text)))
        };
        let text =
            |file: &str| Ok::<_, CgroupError>(self.read_optional(directory, file)?.unwrap_or_default());
        let mut stats = MemoryStats {
            stat: table(&text("memory.stat")?),
            ..MemoryStats::default()
        };
        match version {
            Version::V1 => {
                stats.usage = number("memory.usage_in_bytes")?.unwrap_or(0);
                stats.max_usage = number("memory.max_usage_in_bytes")?;
                stats.limit = number("memory.limit_in_bytes")?;
                stats.failures = number("memory.failcnt")?.unwrap_or(0);
                stats.swap_usage = number("memory.memsw.usage_in_bytes")?;
                stats.swap_limit = number("memory.memsw.limit_in_bytes")?;
                stats.oom_kills = value_of(&text("memory.oom_control")?, "oom_kill").unwrap_or(0);
            }
            Version::V2 => {
                let events = text("memory.events")?;
                stats.usage = number("memory.current")?.unwrap_or(0);
                stats.max_usage = number("memory.peak")?;
                stats.limit = number("memory.max")?;
                stats.failures = value_of(&events, "max").unwrap_or(0);
                stats.swap_usage = number("memory.swap.current")?;
                stats.swap_limit = number("memory.swap.max")?;
                stats.oom_kills = value_of(&events, "oom_kill").unwrap_or(0);
            }
        }
        Ok(stats)
    }

    fn pids_stats(&self) -> Result<PidsStats, CgroupError> {
        let Some((_, directory)) = self.directory(Controller::Pids) else {
            return Ok(PidsStats::default());
        };
        let number = |file: &str| -> Result<Option<u64>, CgroupError> {
            Ok(self
                .read_optional(directory, file)?
                .and_then(|text| limit_of(&text)))
        };
        Ok(PidsStats {
            current: number("pids.current")?.unwrap_or(0),
            limit: number("pids.max")?,
        })
    }

    fn block_stats(&self) -> Result<BlockStats, CgroupError> {
        let Some((version, directory)) = self.directory(Controller::Io) else {
            return Ok(BlockStats::default());
        };
        let text =
            |file: &str| Ok::<_, CgroupError>(self.read_optional(directory, file)?.unwrap_or_default());
        if version == Version::V2 {
            return Ok(block_stats_v2(&text("io.stat")?));
        }
        // BFQ counts only on disks that it schedules; the throttle layer counts on all others.
        let either = |bfq: &str, throttle: &str| -> Result<Vec<BlockEntry>, CgroupError> {
            let entries = block_table(&text(bfq)?);
            if entries.is_empty() {
                Ok(block_table(&text(throttle)?))
            } else {
                Ok(entries)
            }
        };
        Ok(BlockStats {
            service_bytes: either(
                "blkio.bfq.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes_recursive",
            )?,
            serviced: either(
                "blkio.bfq.io_serviced_recursive",
                "blkio.throttle.io_serviced_recursive",
            )?,
        })
    }

    fn hugepage_stats(&self) -> Result<BTreeMap<String, HugepageStats>, CgroupError> {
        let mut stats = BTreeMap::new();
        let Some((version, directory)) = self.directory(Controller::Hugetlb) else {
            return Ok(stats);
        };
        let number = |file: String| -> Result<Option<u64>, CgroupError> {
            Ok(self
                .read_optional(directory, &file)?
                .and_then(|text| limit_of(&text)))
        };
        let suffix = match version {
            Version::V1 => ".usage_in_bytes",
            Version::V2 => ".current",
        };
        let files = node::names(directory, rustix::fs::FileType::RegularFile)
            .map_err(|source| node::file_error("list", &self.path_for_display(directory, ""), source))?;
        for file in files {
            let size = file
                .strip_prefix("hugetlb.")
                .and_then(|rest| rest.strip_suffix(suffix))
                .filter(|size| !size.ends_with(".rsvd"));
            let Some(size) = size else { continue };
            let entry = match version {
                Version::V1 => HugepageStats {
                    usage: number(format!("hugetlb.{size}.usage_in_bytes"))?.unwrap_or(0),
                    max_usage: number(format!("hugetlb.{size}.max_usage_in_bytes"))?,
                    failures: number(format!("hugetlb.{size}.failcnt"))?.unwrap_or(0),
                },
                Version::V2 => {
                    let events = self.read_optional(directory, &format!("hugetlb.{size}.events"))?;
                    HugepageStats {
                        usage: number(format!("hugetlb.{size}.current"))?.unwrap_or(0),
                        max_usage: None,
                        failures: value_of(&events.unwrap_or_default(), "max").unwrap_or(0),
                    }
                }
            };
            stats.insert(size.to_owned(), entry);
        }
        Ok(stats)
    }
}

/// Returns the number behind `key` in lines of `key number`.
pub(crate) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Parses lines of `key number`.
fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, number)| Some((key.to_owned(), number.trim().parse().ok()?)))
        .collect()
}

/// Parses one number; `None` for `max`, and for what v1 shows for "no limit": 2^63 rounded down to a page.
fn limit_of(text: &str) -> Option<u64> {
    const NO_LIMIT: u64 = 0x7fff_ffff_ffff_0000;
    text.trim().parse().ok().filter(|number| *number < NO_LIMIT)
}

/// Parses v1 lines of `8:0 Read 4096`; the line `Total 4096` without a device is left out.
fn block_table(text: &str) -> Vec<BlockEntry> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.split_whitespace();
            let (major, minor) = parts.next()?.split_once(':')?;
            Some(BlockEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                operation: parts.next()?.to_owned(),
                value: parts.next()?.parse().ok()?,
            })
        })
        .collect()
}

/// Parses v2 lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn block_stats_v2(text: &str) -> BlockStats {
    let mut stats = BlockStats::default();
    for line in text.lines() {
        let mut parts = line.split_whitespace();
        let Some((major, minor)) = parts.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            continue;
        };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (operation, list) = match key {
                "rbytes" => ("Read", &mut stats.service_bytes),
                "wbytes" => ("Write", &mut stats.service_bytes),
                "dbytes" => ("Discard", &mut stats.service_bytes),
                "rios" => ("Read", &mut stats.serviced),
                "wios" => ("Write", &mut stats.serviced),
                "dios" => ("Discard", &mut stats.serviced),
                _ => continue,
            };
            list.extend(value.parse().ok().map(|value| BlockEntry {
                major,
                minor,
                operation: operation.to_owned(),
                value,
            }));
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_both_versions() {
        let v1 = block_table("8:0 Read 4096\n8:0 Write 1\n8:0 Total 4097\nTotal 4097\n");
        assert_eq!(v1.len(), 3);
        assert_eq!((v1[0].major, v1[0].value), (8, 4096));
        let v2 = block_stats_v2("8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\nbad\n");
        assert_eq!(v2.service_bytes[1].value, 20);
        assert_eq!(v2.serviced[0].operation, "Read");
        assert_eq!(limit_of("9223372036854771712\n"), None);
        assert_eq!(limit_of("max\n"), None);
        assert_eq!(limit_of("5\n"), Some(5));
        assert_eq!(value_of("oom_kill_disable 0\noom_kill 3\n", "oom_kill"), Some(3));
    }
}
