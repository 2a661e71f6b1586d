//! Stats: what a container uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::Timestamp;

use super::pause::open_cgroup;
use super::view::{LookupError, View};
use crate::Engine;

/// Bytes or operations of one block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockCount {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// `read`, `write`, …
    pub operation: String,
    /// How many.
    pub value: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use.
    pub usage: u64,
    /// The most bytes ever in use (cgroup v1).
    pub max_usage: u64,
    /// The limit in bytes; the host's memory without one.
    pub limit: u64,
    /// How often the limit was hit.
    pub fail_count: u64,
    /// The kernel's counters (`total_inactive_file` on v1, `inactive_file` on v2, …).
    pub counters: BTreeMap<String, u64>,
}

/// One sample; every count is since the container's start. All zero when it does not run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The container.
    pub view: Arc<View>,
    /// When it was taken; never when it does not run.
    pub time: Timestamp,
    /// CPU nanoseconds.
    pub cpu_total: u64,
    /// CPU nanoseconds in user mode.
    pub cpu_user: u64,
    /// CPU nanoseconds in kernel mode.
    pub cpu_kernel: u64,
    /// CPU nanoseconds on each CPU, where the kernel counts them.
    pub cpu_each: Vec<u64>,
    /// CPU nanoseconds of the whole host.
    pub system_cpu: u64,
    /// CPUs that are online.
    pub online_cpus: u32,
    /// Periods with a quota.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Nanoseconds without CPU for that.
    pub throttled_time: u64,
    /// Memory.
    pub memory: MemoryUse,
    /// Processes.
    pub pids: u64,
    /// The most processes; `None`: without limit.
    pub pids_limit: Option<u64>,
    /// Bytes by block device.
    pub block_bytes: Vec<BlockCount>,
    /// Operations by block device.
    pub block_operations: Vec<BlockCount>,
}

/// Takes one sample.
pub async fn stats(engine: &Arc<Engine>, name: &str) -> Result<Sample, LookupError> {
    let container = engine.registry.find(name)?;
    let view = container.view();
    let host = &engine.host;
    let mut sample = Sample {
        time: Timestamp::NEVER,
        cpu_total: 0,
        cpu_user: 0,
        cpu_kernel: 0,
        cpu_each: Vec::new(),
        system_cpu: system_cpu(),
        online_cpus: host.facts.cpus,
        periods: 0,
        throttled_periods: 0,
        throttled_time: 0,
        memory: MemoryUse::default(),
        pids: 0,
        pids_limit: None,
        block_bytes: Vec::new(),
        block_operations: Vec::new(),
        view,
    };
    // A container that does not run has no group; one that ends now may lose it.
    let Some(stats) = open_cgroup(engine, &container)
        .ok()
        .and_then(|group| group.stats().ok())
    else {
        return Ok(sample);
    };
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    sample.time = Timestamp::now();
    sample.cpu_total = nanos(stats.cpu.total);
    sample.cpu_user = nanos(stats.cpu.user);
    sample.cpu_kernel = nanos(stats.cpu.system);
    sample.cpu_each = stats.cpu.per_cpu.into_iter().map(nanos).collect();
    sample.periods = stats.cpu.periods;
    sample.throttled_periods = stats.cpu.throttled_periods;
    sample.throttled_time = nanos(stats.cpu.throttled);
    sample.memory = MemoryUse {
        usage: stats.memory.usage,
        max_usage: stats.memory.max_usage.unwrap_or(0),
        limit: stats.memory.limit.unwrap_or(u64::MAX).min(host.facts.memory),
        fail_count: stats.memory.failures,
        counters: stats.memory.stat,
    };
    sample.pids = stats.pids.current;
    sample.pids_limit = stats.pids.limit;
    sample.block_bytes = stats
        .block
        .service_bytes
        .into_iter()
        .filter_map(block_count)
        .collect();
    sample.block_operations = stats.block.serviced.into_iter().filter_map(block_count).collect();
    Ok(sample)
}

fn block_count(entry: cgroup::BlockEntry) -> Option<BlockCount> {
    Some(BlockCount {
        major: u32::try_from(entry.major).ok()?,
        minor: u32::try_from(entry.minor).ok()?,
        operation: entry.operation,
        value: entry.value,
    })
}

/// Returns the CPU nanoseconds of the whole host: the first seven counters of `/proc/stat`, in ticks of 10 ms.
fn system_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: u64 = line
        .split_whitespace()
        .skip(1)
        .take(7)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    ticks.saturating_mul(10_000_000)
}
