//! Memory and swap.

use rustix::io::Errno;

use crate::apply::LimitFiles;
use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::MemoryLimits;

impl Cgroup {
    pub(crate) fn apply_memory(&self, limits: &MemoryLimits) -> Result<(), LimitError> {
        let files = |limit| self.limit_files(Controller::Memory, limit);
        let limit = limits.limit.filter(|limit| *limit != 0);
        let swap = limits.swap.filter(|swap| *swap != 0);
        if limit.is_some() || swap.is_some() {
            let files = files("memory")?;
            if let (Some(limit), Some(swap)) = (limit, swap)
                && swap >= 0
                && (limit < 0 || swap < limit)
            {
                return Err(files.bad_value(format!(
                    "memory and swap together ({swap}) cannot be less than memory alone ({limit})"
                )));
            }
            match files.version {
                Version::V1 => set_limits_v1(&files, limit, swap)?,
                Version::V2 => set_limits_v2(&files, limit, swap, limits.check_before_update)?,
            }
        }
        if let Some(reservation) = limits.reservation.filter(|reservation| *reservation != 0) {
            let files = files("memory reservation")?;
            match files.version {
                Version::V1 => files.set("memory.soft_limit_in_bytes", &reservation.to_string())?,
                Version::V2 => files.set("memory.low", &max_or(reservation))?,
            }
        }
        if let Some(swappiness) = limits.swappiness {
            let files = files("memory swappiness")?;
            files.set("memory.swappiness", &swappiness.to_string())?;
        }
        if let Some(disable) = limits.disable_oom_killer {
            disable_oom_killer(&files("memory OOM killer")?, disable)?;
        }
        Ok(())
    }
}

const LIMIT_V1: &str = "memory.limit_in_bytes";
const SWAP_V1: &str = "memory.memsw.limit_in_bytes";

/// The kernel keeps "memory and swap" at or above "memory" at every moment, so the order depends on the direction.
fn set_limits_v1(files: &LimitFiles<'_>, limit: Option<i64>, swap: Option<i64>) -> Result<(), LimitError> {
    let set_swap = |swap: i64| match files.try_set(SWAP_V1, &swap.to_string()) {
        Ok(()) => Ok(()),
        // Without swap accounting there is no limit to lift.
        Err(Errno::NOENT) if swap < 0 => Ok(()),
        Err(source) => Err(files.error(SWAP_V1, &swap.to_string(), source)),
    };
    match (limit, swap) {
        (Some(limit), None) if limit < 0 => {
            set_swap(-1)?;
            files.set(LIMIT_V1, "-1")
        }
        (Some(limit), None) => files.set(LIMIT_V1, &limit.to_string()),
        (None, Some(swap)) => set_swap(swap),
        (Some(limit), Some(swap)) => {
            let present: u64 = files.get(LIMIT_V1)?.trim().parse().unwrap_or(u64::MAX);
            let raise = u64::try_from(swap).map_or(true, |swap| swap > present);
            if raise {
                set_swap(swap)?;
                files.set(LIMIT_V1, &limit.to_string())
            } else {
                files.set(LIMIT_V1, &limit.to_string())?;
                set_swap(swap)
            }
        }
        (None, None) => Ok(()),
    }
}

/// On v2 swap is limited by itself: what the caller gives is the sum.
fn set_limits_v2(
    files: &LimitFiles<'_>,
    limit: Option<i64>,
    swap: Option<i64>,
    check: bool,
) -> Result<(), LimitError> {
    if let Some(limit) = limit.filter(|limit| check && *limit > 0) {
        let usage: i64 = files.get("memory.current")?.trim().parse().unwrap_or(0);
        if limit < usage {
            return Err(files.bad_value(format!("{limit} is less than the present use ({usage})")));
        }
    }
    if let Some(swap) = swap {
        let value =
            if swap < 0 {
                "max".to_owned()
            } else {
                let limit =
                    match limit {
                        Some(limit) => limit,
                        None => files.get("memory.max")?.trim().parse().map_err(
                            |_max: std::num::ParseIntError| {
                                files.bad_value("swap cannot be limited where memory is not")
                            },
                        )?,
                    };
                if swap < limit {
                    return Err(files.bad_value(format!(
                        "memory and swap together ({swap}) cannot be less than memory alone ({limit})"
                    )));
                }
                (swap - limit).to_string()
            };
        match files.try_set("memory.swap.max", &value) {
            Ok(()) => {}
            Err(Errno::NOENT) if swap < 0 => {}
            Err(source) => return Err(files.error("memory.swap.max", &value, source)),
        }
    }
    match limit {
        Some(limit) => files.set("memory.max", &max_or(limit)),
        None => Ok(()),
    }
}

fn disable_oom_killer(files: &LimitFiles<'_>, disable: bool) -> Result<(), LimitError> {
    const FILE: &str = "memory.oom_control";
    if files.version == Version::V2 {
        return if disable { Err(files.no_file(FILE)) } else { Ok(()) };
    }
    let present = files.get(FILE)?;
    let is_disabled = present.lines().any(|line| line.trim() == "oom_kill_disable 1");
    if is_disabled == disable {
        return Ok(());
    }
    files.set(FILE, if disable { "1" } else { "0" })
}

fn max_or(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}
