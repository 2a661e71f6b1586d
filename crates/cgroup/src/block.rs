//! Block devices.

use rustix::io::Errno;

use crate::apply::LimitFiles;
use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::{BlockLimits, DeviceThrottle};

impl Cgroup {
    pub(crate) fn apply_block(&self, limits: &BlockLimits) -> Result<(), LimitError> {
        let files = |limit| self.limit_files(Controller::Io, limit);
        if let Some(weight) = limits.weight.filter(|weight| *weight != 0) {
            set_weight(&files("block weight")?, None, weight)?;
        }
        if let Some(weight) = limits.leaf_weight.filter(|weight| *weight != 0) {
            files("block leaf weight")?.set("blkio.leaf_weight", &weight.to_string())?;
        }
        for device in &limits.weight_devices {
            let files = files("block weight of a device")?;
            set_weight(&files, Some((device.major, device.minor)), device.weight)?;
        }
        for (limit, v1, v2, throttles) in [
            (
                "block read bandwidth",
                "blkio.throttle.read_bps_device",
                "rbps",
                &limits.read_bps,
            ),
            (
                "block write bandwidth",
                "blkio.throttle.write_bps_device",
                "wbps",
                &limits.write_bps,
            ),
            (
                "block read operations",
                "blkio.throttle.read_iops_device",
                "riops",
                &limits.read_iops,
            ),
            (
                "block write operations",
                "blkio.throttle.write_iops_device",
                "wiops",
                &limits.write_iops,
            ),
        ] {
            for DeviceThrottle { major, minor, rate } in throttles {
                let files = files(limit)?;
                match files.version {
                    Version::V1 => files.set(v1, &format!("{major}:{minor} {rate}"))?,
                    Version::V2 if *rate == 0 => {
                        files.set("io.max", &format!("{major}:{minor} {v2}=max"))?;
                    }
                    Version::V2 => files.set("io.max", &format!("{major}:{minor} {v2}={rate}"))?,
                }
            }
        }
        Ok(())
    }
}

/// Sets a weight in whichever file this kernel has: the old CFQ and v2's own, or that of the BFQ scheduler.
fn set_weight(files: &LimitFiles<'_>, device: Option<(i64, i64)>, weight: u16) -> Result<(), LimitError> {
    if !(10..=1000).contains(&weight) {
        return Err(files.bad_value(format!("{weight} is not between 10 and 1000")));
    }
    let value = match device {
        Some((major, minor)) => format!("{major}:{minor} {weight}"),
        None => weight.to_string(),
    };
    let choices: [(&str, String); 2] = match (files.version, device) {
        (Version::V1, None) => [
            ("blkio.weight", value.clone()),
            ("blkio.bfq.weight", value.clone()),
        ],
        (Version::V1, Some(_)) => [
            ("blkio.weight_device", value.clone()),
            ("blkio.bfq.weight_device", value.clone()),
        ],
        (Version::V2, device) => {
            let wide = 1 + (u32::from(weight) - 10) * 9999 / 990;
            let wide = match device {
                Some((major, minor)) => format!("{major}:{minor} {wide}"),
                None => format!("default {wide}"),
            };
            [("io.bfq.weight", value.clone()), ("io.weight", wide)]
        }
    };
    for (file, value) in &choices {
        match files.try_set(file, value) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(source) => return Err(files.error(file, value, source)),
        }
    }
    Err(files.no_file(choices[0].0))
}
