//! Statistics in the form of `runc events`.

use std::collections::BTreeMap;
use std::time::Duration;

use cgroup::{BlockEntry, Stats};
use serde_json::{Value, json};

/// Returns the event `{"type": "stats", …}`; times are nanoseconds, sizes bytes.
pub(crate) fn event(id: &str, stats: &Stats) -> Value {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let per_cpu: Vec<u64> = stats.cpu.per_cpu.iter().map(|time| nanos(*time)).collect();
    let memory = &stats.memory;
    let hugetlb: BTreeMap<&str, Value> = stats
        .hugepages
        .iter()
        .map(|(size, pages)| {
            let value =
                json!({"usage": pages.usage, "max": pages.max_usage.unwrap_or(0), "failcnt": pages.failures});
            (size.as_str(), value)
        })
        .collect();
    json!({
        "type": "stats",
        "id": id,
        "data": {
            "cpu": {
                "usage": {
                    "total": nanos(stats.cpu.total),
                    "percpu": per_cpu,
                    "kernel": nanos(stats.cpu.system),
                    "user": nanos(stats.cpu.user),
                },
                "throttling": {
                    "periods": stats.cpu.periods,
                    "throttledPeriods": stats.cpu.throttled_periods,
                    "throttledTime": nanos(stats.cpu.throttled),
                },
            },
            "memory": {
                "cache": memory.stat.get("cache").or(memory.stat.get("file")).copied().unwrap_or(0),
                "usage": {
                    "usage": memory.usage,
                    "max": memory.max_usage.unwrap_or(0),
                    "limit": memory.limit.unwrap_or(u64::MAX),
                    "failcnt": memory.failures,
                },
                "swap": {
                    "usage": memory.swap_usage.unwrap_or(0),
                    "limit": memory.swap_limit.unwrap_or(u64::MAX),
                    "failcnt": 0,
                },
                "raw": memory.stat,
            },
            "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
            "blkio": {
                "ioServiceBytesRecursive": table(&stats.block.service_bytes),
                "ioServicedRecursive": table(&stats.block.serviced),
            },
            "hugetlb": hugetlb,
        },
    })
}

fn table(entries: &[BlockEntry]) -> Vec<Value> {
    entries
        .iter()
        .map(|entry| json!({"major": entry.major, "minor": entry.minor, "op": entry.operation, "value": entry.value}))
        .collect()
}
