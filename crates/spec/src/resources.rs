//! Limits: docker's rules and units into OCI's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::check::{InvalidError, shown};
use crate::config::{DeviceLimit, Resources};

/// The smallest memory limit: a static program lives in it. docker's, 6 MiB, is what its runtime needs for a start.
const MINIMUM_MEMORY: i64 = 512 << 10;

/// docker's CFS period in microseconds.
const PERIOD: i64 = 100_000;

/// What the host can limit, and how much it has.
#[derive(Clone, Debug)]
pub struct Limitable {
    /// Whether swap can be limited.
    pub swap: bool,
    /// CPUs that are online.
    pub cpus: u32,
    /// The CPUs of the host as a list (`0-3`).
    pub cpu_list: String,
    /// The memory nodes of the host as a list.
    pub node_list: String,
}

/// Checks limits by docker's rules and with its texts; returns warnings.
pub fn check(resources: &Resources, host: &Limitable) -> Result<Vec<String>, InvalidError> {
    let mut warnings = Vec::new();
    let fail = |text: &str| Err(InvalidError::new(text.to_owned()));
    let r = resources;
    if r.memory != 0 && r.memory < MINIMUM_MEMORY {
        return fail("Minimum memory limit allowed is 512kB");
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return fail("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 {
        return fail("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if r.memory_swap < -1 || r.memory_reservation < 0 {
        return fail("invalid memory limit");
    }
    if r.memory > 0 && !host.swap && r.memory_swap != -1 {
        warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".to_owned());
    }
    if let Some(swappiness) = r.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return Err(InvalidError::new(format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )));
    }
    if r.memory_reservation > 0 && r.memory_reservation < MINIMUM_MEMORY {
        return fail("Minimum memory reservation allowed is 512kB");
    }
    if r.memory > 0 && r.memory_reservation > 0 && r.memory < r.memory_reservation {
        return fail("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if r.kernel_memory != 0 {
        return fail("kernel-memory is not supported: the kernel ignores it since Linux 5.16");
    }
    if r.nano_cpus > 0 && r.cpu_period > 0 {
        return fail("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    }
    if r.nano_cpus > 0 && r.cpu_quota > 0 {
        return fail("Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
    }
    if r.nano_cpus < 0 || r.nano_cpus > i64::from(host.cpus) * 1_000_000_000 {
        return Err(InvalidError::new(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            host.cpus
        )));
    }
    if r.cpu_period != 0 && !(1_000..=1_000_000).contains(&r.cpu_period) {
        return fail("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1_000 {
        return fail("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if r.cpu_shares < 0 {
        return fail("invalid CPU shares");
    }
    let realtime_period = if r.cpu_realtime_period == 0 {
        1_000_000
    } else {
        r.cpu_realtime_period
    };
    if r.cpu_realtime_runtime > realtime_period || realtime_period < 0 {
        return fail("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    check_set(&r.cpuset_cpus, &host.cpu_list, "cpuset.cpus", "CPUs")?;
    check_set(&r.cpuset_mems, &host.node_list, "cpuset.mems", "memory nodes")?;
    if r.blkio_weight != 0 && !(10..=1000).contains(&r.blkio_weight) {
        return fail("Range of blkio weight is from 10 to 1000");
    }
    if r.oom_kill_disable == Some(true) && r.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
    }
    Ok(warnings)
}

/// The most characters of a CPU list; longer ones only cost time (CVE-2018-20699).
const LONGEST_SET: usize = 1024;

fn check_set(wanted: &str, available: &str, name: &str, what: &str) -> Result<(), InvalidError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let invalid = || InvalidError::new(format!("Invalid value {} for {name}", shown(wanted)));
    if wanted.len() > LONGEST_SET {
        return Err(invalid());
    }
    let wanted_ranges = ranges(wanted).ok_or_else(invalid)?;
    let available_ranges = ranges(available).unwrap_or_default();
    let covered = |&(first, last): &(u32, u32)| {
        let mut next = first;
        while next <= last {
            let Some(&(_, end)) = available_ranges
                .iter()
                .find(|&&(start, end)| start <= next && next <= end)
            else {
                return false;
            };
            let Some(after) = end.checked_add(1) else {
                return true;
            };
            next = after;
        }
        true
    };
    if wanted_ranges.iter().all(covered) {
        Ok(())
    } else {
        Err(InvalidError::new(format!(
            "Requested {what} are not available - requested {wanted}, available: {available}"
        )))
    }
}

/// Reads `0-3,6` as inclusive ranges.
fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    list.trim()
        .split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last && last < 8192).then_some((first, last))
        })
        .collect()
}

/// Returns the OCI `resources` without devices. `blocks` has the numbers of every device that a limit names.
pub(crate) fn to_oci(
    resources: &Resources,
    default_pids: i64,
    swap: bool,
    blocks: &BTreeMap<String, (u32, u32)>,
) -> Result<Map<String, Value>, InvalidError> {
    let r = resources;
    let mut all = Map::new();
    let mut insert = |name: &str, fields: Vec<(&str, Value)>| {
        if !fields.is_empty() {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            all.insert(name.to_owned(), Value::Object(fields));
        }
    };

    let mut cpu = Vec::new();
    if r.cpu_shares > 0 {
        cpu.push(("shares", r.cpu_shares.into()));
    }
    if r.nano_cpus > 0 {
        cpu.push(("period", PERIOD.into()));
        cpu.push((
            "quota",
            (r.nano_cpus.saturating_mul(PERIOD) / 1_000_000_000)
                .max(1_000)
                .into(),
        ));
    }
    if r.cpu_period > 0 {
        cpu.push(("period", r.cpu_period.into()));
    }
    if r.cpu_quota != 0 {
        cpu.push(("quota", r.cpu_quota.into()));
    }
    if r.cpu_realtime_period != 0 {
        cpu.push(("realtimePeriod", r.cpu_realtime_period.into()));
    }
    if r.cpu_realtime_runtime != 0 {
        cpu.push(("realtimeRuntime", r.cpu_realtime_runtime.into()));
    }
    if !r.cpuset_cpus.is_empty() {
        cpu.push(("cpus", r.cpuset_cpus.clone().into()));
    }
    if !r.cpuset_mems.is_empty() {
        cpu.push(("mems", r.cpuset_mems.clone().into()));
    }
    insert("cpu", cpu);

    let mut memory = Vec::new();
    if r.memory > 0 {
        memory.push(("limit", r.memory.into()));
    }
    if r.memory_reservation > 0 {
        memory.push(("reservation", r.memory_reservation.into()));
    }
    let swap_limit = match r.memory_swap {
        // docker: as much swap again as memory.
        0 if r.memory > 0 => r.memory.saturating_mul(2),
        limit => limit,
    };
    if swap_limit != 0 && swap {
        memory.push(("swap", swap_limit.into()));
    }
    if let Some(swappiness) = r.memory_swappiness.filter(|&value| value >= 0) {
        memory.push(("swappiness", swappiness.into()));
    }
    if let Some(disable) = r.oom_kill_disable {
        memory.push(("disableOOMKiller", disable.into()));
    }
    insert("memory", memory);

    let pids = r.pids_limit.unwrap_or(default_pids);
    if pids > 0 {
        insert("pids", vec![("limit", pids.into())]);
    }

    let mut block = Vec::new();
    if r.blkio_weight > 0 {
        block.push(("weight", r.blkio_weight.into()));
    }
    for (name, field, limits) in [
        ("weightDevice", "weight", &r.blkio_weight_device),
        ("throttleReadBpsDevice", "rate", &r.blkio_device_read_bps),
        ("throttleWriteBpsDevice", "rate", &r.blkio_device_write_bps),
        ("throttleReadIOPSDevice", "rate", &r.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", "rate", &r.blkio_device_write_iops),
    ] {
        if !limits.is_empty() {
            let limits = limits.iter().map(|limit| device_limit(limit, field, blocks));
            block.push((name, limits.collect::<Result<Vec<_>, _>>()?.into()));
        }
    }
    insert("blockIO", block);
    Ok(all)
}

fn device_limit(
    limit: &DeviceLimit,
    field: &str,
    blocks: &BTreeMap<String, (u32, u32)>,
) -> Result<Value, InvalidError> {
    let (major, minor) = blocks
        .get(&limit.path)
        .ok_or_else(|| InvalidError::new(format!("\"{}\" is not a device", shown(&limit.path))))?;
    Ok(json!({"major": major, "minor": minor, field: limit.value}))
}

/// Returns every device that a limit names.
pub fn limited_devices(resources: &Resources) -> impl Iterator<Item = &str> {
    [
        &resources.blkio_weight_device,
        &resources.blkio_device_read_bps,
        &resources.blkio_device_write_bps,
        &resources.blkio_device_read_iops,
        &resources.blkio_device_write_iops,
    ]
    .into_iter()
    .flatten()
    .map(|limit| limit.path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Limitable {
        Limitable {
            swap: true,
            cpus: 4,
            cpu_list: "0-3".to_owned(),
            node_list: "0".to_owned(),
        }
    }

    #[test]
    fn dockers_refusals() {
        let base = Resources::default;
        for (resources, good) in [
            (base(), true),
            (
                Resources {
                    memory: (512 << 10) - 1,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    memory: 512 << 10,
                    ..base()
                },
                true,
            ),
            (
                Resources {
                    memory: 64 << 20,
                    memory_swap: 32 << 20,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    memory_swap: 32 << 20,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    memory: 64 << 20,
                    memory_reservation: 128 << 20,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    memory_swappiness: Some(101),
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    nano_cpus: 5_000_000_000,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    nano_cpus: 500_000_000,
                    cpu_quota: 5000,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    cpuset_cpus: "0,2-3".to_owned(),
                    ..base()
                },
                true,
            ),
            (
                Resources {
                    cpuset_cpus: "0-4".to_owned(),
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    cpuset_cpus: "x".to_owned(),
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    cpuset_cpus: "1,".repeat(2000),
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    blkio_weight: 5,
                    ..base()
                },
                false,
            ),
            (
                Resources {
                    kernel_memory: 1 << 30,
                    ..base()
                },
                false,
            ),
        ] {
            assert_eq!(check(&resources, &host()).is_ok(), good, "{resources:?}");
        }
    }

    #[test]
    fn swap_defaults_to_twice_the_memory() {
        let resources = Resources {
            memory: 64 << 20,
            nano_cpus: 1_500_000_000,
            ..Resources::default()
        };
        let all = to_oci(&resources, 2048, true, &BTreeMap::new()).unwrap();
        assert_eq!(
            Value::Object(all),
            json!({
                "cpu": {"period": 100_000, "quota": 150_000},
                "memory": {"limit": 64 << 20, "swap": 128 << 20},
                "pids": {"limit": 2048},
            })
        );
    }
}
