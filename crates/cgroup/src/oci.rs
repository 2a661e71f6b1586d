//! The OCI runtime document's `linux.resources` as limits.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

use crate::limits::{
    BlockLimits, CpuLimits, DeviceAccess, DeviceKind, DeviceRule, DeviceThrottle, DeviceWeight,
    HugepageLimit, Limits, MemoryLimits, NetworkLimits,
};

impl From<&LinuxResources> for Limits {
    /// Translates every field; values are checked when they are applied.
    ///
    /// A device list gets the devices that the specification's "default devices" promise in addition; without a list
    /// (`devices` absent) devices are left alone. A weight is taken over for devices that have one only as
    /// `leafWeight`, which no kernel since 5.0 has, as a warning.
    fn from(resources: &LinuxResources) -> Self {
        let mut warnings = Vec::new();
        let memory = resources
            .memory()
            .as_ref()
            .map(|memory| memory_limits(memory, &mut warnings));
        let cpu = resources.cpu().as_ref().map(|cpu| CpuLimits {
            shares: cpu.shares(),
            quota: cpu.quota(),
            period: cpu.period(),
            burst: cpu.burst(),
            realtime_runtime: cpu.realtime_runtime(),
            realtime_period: cpu.realtime_period(),
            idle: cpu.idle(),
            cpus: cpu.cpus().clone(),
            mems: cpu.mems().clone(),
        });
        let block = resources
            .block_io()
            .as_ref()
            .map(|block| block_limits(block, &mut warnings));
        let network = resources.network().as_ref().map(|network| NetworkLimits {
            class_id: network.class_id(),
            priorities: network
                .priorities()
                .iter()
                .flatten()
                .map(|priority| (priority.name().clone(), priority.priority()))
                .collect(),
        });
        Self {
            cpu: cpu.unwrap_or_default(),
            memory: memory.unwrap_or_default(),
            pids: resources.pids().as_ref().map(|pids| pids.limit()),
            block: block.unwrap_or_default(),
            hugepages: resources
                .hugepage_limits()
                .iter()
                .flatten()
                .map(|limit| HugepageLimit {
                    page_size: limit.page_size().clone(),
                    limit: limit.limit(),
                })
                .collect(),
            devices: resources.devices().as_deref().map(device_rules),
            network: network.unwrap_or_default(),
            unified: resources
                .unified()
                .iter()
                .flatten()
                .map(|(file, value)| (file.clone(), value.clone()))
                .collect(),
            warnings,
        }
    }
}

fn memory_limits(memory: &LinuxMemory, warnings: &mut Vec<String>) -> MemoryLimits {
    let kernel = memory.kernel();
    if kernel.is_some_and(|kernel| kernel != 0) || memory.kernel_tcp().is_some_and(|kernel| kernel != 0) {
        warnings.push("kernel memory is not limited: Linux has had no such limit since 5.4".to_owned());
    }
    MemoryLimits {
        limit: memory.limit(),
        reservation: memory.reservation(),
        swap: memory.swap(),
        swappiness: memory.swappiness(),
        disable_oom_killer: memory.disable_oom_killer(),
        check_before_update: memory.check_before_update().unwrap_or(false),
    }
}

fn block_limits(block: &LinuxBlockIo, warnings: &mut Vec<String>) -> BlockLimits {
    let throttles = |devices: &Option<Vec<LinuxThrottleDevice>>| -> Vec<DeviceThrottle> {
        devices
            .iter()
            .flatten()
            .map(|device| DeviceThrottle {
                major: device.major(),
                minor: device.minor(),
                rate: device.rate(),
            })
            .collect()
    };
    let mut weight_devices = Vec::new();
    for device in block.weight_device().iter().flatten() {
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            warnings
                .push("leafWeight of a block device is not used: Linux has had none since 5.0".to_owned());
        }
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            weight_devices.push(DeviceWeight {
                major: device.major(),
                minor: device.minor(),
                weight,
            });
        }
    }
    BlockLimits {
        weight: block.weight(),
        leaf_weight: block.leaf_weight(),
        weight_devices,
        read_bps: throttles(block.throttle_read_bps_device()),
        write_bps: throttles(block.throttle_write_bps_device()),
        read_iops: throttles(block.throttle_read_iops_device()),
        write_iops: throttles(block.throttle_write_iops_device()),
    }
}

/// The devices every container has, by "Default Devices" of the specification: null, zero, full, random, urandom,
/// tty, ptmx and its terminals; and any node may be made (it cannot be opened without a rule of its own). Not 5:1: a
/// container's /dev/console is one of its terminals, and that number is the machine's own console (RT-12).
const DEFAULT_DEVICES: [(Option<u32>, Option<u32>); 8] = [
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(2)),
    (Some(136), None),
];

fn device_rules(rules: &[LinuxDeviceCgroup]) -> Vec<DeviceRule> {
    let mut list: Vec<DeviceRule> = rules.iter().filter_map(device_rule).collect();
    let opens_all = list
        .iter()
        .rposition(is_everything)
        .is_some_and(|at| list[at].allow);
    if opens_all {
        return list;
    }
    let default = |kind, major, minor, access| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access,
    };
    let mknod = DeviceAccess {
        read: false,
        write: false,
        mknod: true,
    };
    list.push(default(DeviceKind::Character, None, None, mknod));
    list.push(default(DeviceKind::Block, None, None, mknod));
    list.extend(
        DEFAULT_DEVICES
            .iter()
            .map(|&(major, minor)| default(DeviceKind::Character, major, minor, DeviceAccess::ALL)),
    );
    list
}

fn is_everything(rule: &DeviceRule) -> bool {
    rule.kind == DeviceKind::All
        && rule.major.is_none()
        && rule.minor.is_none()
        && rule.access == DeviceAccess::ALL
}

/// Translates one rule; `None` if it names nothing (no access, or pipes, which are not controlled).
///
/// A rule with an access that is not known is read strictly: it opens nothing, or closes everything it names.
fn device_rule(rule: &LinuxDeviceCgroup) -> Option<DeviceRule> {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => DeviceKind::All,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character,
        LinuxDeviceType::P => return None,
    };
    // Absent and negative numbers are wild cards; a number that no device can have names nothing.
    let number = |number: Option<i64>| match number {
        None => Some(None),
        Some(number) if number < 0 => Some(None),
        Some(number) => u32::try_from(number).ok().map(Some),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => DeviceAccess::ALL,
        Some(letters) => match DeviceAccess::parse(letters) {
            Some(access) => access,
            None if rule.allow() => return None,
            None => DeviceAccess::ALL,
        },
    };
    Some(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates_a_document() {
        let document = r#"{
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                        {"allow": true, "type": "b", "major": 8, "access": "r"}],
            "memory": {"limit": 100, "swap": 200, "kernel": 5, "disableOOMKiller": false},
            "cpu": {"shares": 512, "quota": 1000, "period": 100000, "cpus": "0"},
            "pids": {"limit": 7},
            "blockIO": {"weight": 100, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "unified": {"memory.high": "5"}}"#;
        let resources: LinuxResources = serde_json::from_str(document).unwrap();
        let limits = Limits::from(&resources);
        assert_eq!(
            (limits.pids, limits.cpu.shares, limits.memory.swap),
            (Some(7), Some(512), Some(200))
        );
        assert_eq!(limits.warnings.len(), 1);
        assert_eq!(limits.block.read_bps[0].rate, 5);
        assert_eq!(limits.unified, [("memory.high".to_owned(), "5".to_owned())]);
        let devices = limits.devices.unwrap();
        assert!(is_everything(&devices[0]) && !devices[0].allow);
        assert_eq!(devices[1].minor, Some(229));
        assert_eq!((devices[2].major, devices[2].minor), (Some(8), None));
        assert_eq!(devices.len(), 3 + 2 + DEFAULT_DEVICES.len());
    }

    #[test]
    fn an_open_list_stays_open() {
        let document = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
        let resources: LinuxResources = serde_json::from_str(document).unwrap();
        assert_eq!(Limits::from(&resources).devices.unwrap().len(), 1);
        assert_eq!(Limits::from(&LinuxResources::default()).devices, None);
    }
}
