//! CPU time and CPU sets.

use rustix::io::Errno;

use crate::apply::LimitFiles;
use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::CpuLimits;

impl Cgroup {
    pub(crate) fn apply_cpu(&self, limits: &CpuLimits) -> Result<(), LimitError> {
        let files = |limit| self.limit_files(Controller::Cpu, limit);
        // SCHED_IDLE first: the kernel refuses a weight while it is on, and resets the weight when it is switched.
        if let Some(idle) = limits.idle {
            files("cpu idle")?.set("cpu.idle", &idle.to_string())?;
        }
        if let Some(shares) = limits.shares.filter(|shares| *shares != 0) {
            let files = files("cpu shares")?;
            match files.version {
                Version::V1 => files.set("cpu.shares", &shares.to_string())?,
                Version::V2 => files.set("cpu.weight", &weight_of_shares(shares).to_string())?,
            }
        }
        let quota = limits.quota.filter(|quota| *quota != 0);
        let period = limits.period.filter(|period| *period != 0);
        if quota.is_some() || period.is_some() || limits.burst.is_some() {
            let files = files("cpu quota")?;
            match files.version {
                Version::V1 => set_quota_v1(&files, quota, period, limits.burst)?,
                Version::V2 => set_quota_v2(&files, quota, period, limits.burst)?,
            }
        }
        if limits.realtime_runtime.is_some() || limits.realtime_period.is_some() {
            set_realtime(
                &files("cpu realtime")?,
                limits.realtime_runtime,
                limits.realtime_period,
            )?;
        }
        for (limit, file, value) in [
            ("cpuset cpus", "cpuset.cpus", &limits.cpus),
            ("cpuset mems", "cpuset.mems", &limits.mems),
        ] {
            let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else {
                continue;
            };
            let files = self.limit_files(Controller::Cpuset, limit)?;
            // The kernel parses the list; a text of absurd length is refused before it has to (CVE-2018-20699).
            let is_list = value.len() < 4096
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b",-:/ \n".contains(&byte));
            if !is_list {
                return Err(files.bad_value(format!("\"{value:.80}\" is not a list of numbers")));
            }
            files.set(file, value.trim())?;
        }
        Ok(())
    }
}

/// Writes quota, period and burst in an order in which each step is valid: the kernel checks the quota against the
/// parent's at each write, and the burst against the quota.
fn set_quota_v1(
    files: &LimitFiles<'_>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
) -> Result<(), LimitError> {
    let mut waiting: Vec<(&str, String)> = Vec::new();
    waiting.extend(burst.map(|burst| ("cpu.cfs_burst_us", burst.to_string())));
    waiting.extend(period.map(|period| ("cpu.cfs_period_us", period.to_string())));
    waiting.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
    while !waiting.is_empty() {
        let mut refused = Vec::new();
        let before = waiting.len();
        for (file, value) in waiting {
            match files.try_set(file, &value) {
                Ok(()) => {}
                Err(Errno::INVAL) => refused.push((file, value)),
                Err(source) => return Err(files.error(file, &value, source)),
            }
        }
        if refused.len() == before {
            let (file, value) = &refused[0];
            return Err(files.error(file, value, Errno::INVAL));
        }
        waiting = refused;
    }
    Ok(())
}

fn set_quota_v2(
    files: &LimitFiles<'_>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
) -> Result<(), LimitError> {
    let burst = burst.map(|burst| burst.to_string());
    // The burst may not be greater than the quota: lower it before, raise it after.
    let mut burst_is_set = false;
    if let Some(burst) = &burst {
        match files.try_set("cpu.max.burst", burst) {
            Ok(()) => burst_is_set = true,
            Err(Errno::INVAL) => {}
            Err(source) => return Err(files.error("cpu.max.burst", burst, source)),
        }
    }
    let quota = match (quota, period) {
        (None, None) => None,
        (Some(quota), _) if quota < 0 => Some("max".to_owned()),
        (Some(quota), _) => Some(quota.to_string()),
        (None, Some(_)) => {
            let present = files.get("cpu.max")?;
            Some(present.split_whitespace().next().unwrap_or("max").to_owned())
        }
    };
    if let Some(quota) = quota {
        let value = period.map_or(quota.clone(), |period| format!("{quota} {period}"));
        files.set("cpu.max", &value)?;
    }
    match burst {
        Some(burst) if !burst_is_set => files.set("cpu.max.burst", &burst),
        _ => Ok(()),
    }
}

fn set_realtime(files: &LimitFiles<'_>, runtime: Option<i64>, period: Option<u64>) -> Result<(), LimitError> {
    if files.version == Version::V2 {
        return Err(files.no_file("cpu.rt_runtime_us"));
    }
    // A longer period is valid with the old runtime, a shorter one perhaps only with the new.
    let mut period_is_set = period.is_none();
    if let Some(period) = period {
        match files.try_set("cpu.rt_period_us", &period.to_string()) {
            Ok(()) => period_is_set = true,
            Err(Errno::INVAL) => {}
            Err(source) => return Err(files.error("cpu.rt_period_us", &period.to_string(), source)),
        }
    }
    if let Some(runtime) = runtime {
        files.set("cpu.rt_runtime_us", &runtime.to_string())?;
    }
    match period {
        Some(period) if !period_is_set => files.set("cpu.rt_period_us", &period.to_string()),
        _ => Ok(()),
    }
}

/// Returns the v2 weight (1 to 10000) for v1 shares (2 to 262144), on the curve on which both defaults (1024 and 100)
/// and both ends meet, as runc 1.3 and crun 1.23 have it: `10^((l² + 125 l)/612 − 7/34)` with `l = log2(shares)`.
fn weight_of_shares(shares: u64) -> u32 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let logarithm = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            let weight = 10f64.powf(exponent).ceil().clamp(1.0, 10_000.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was clamped above"
            )]
            let weight = weight as u32;
            weight
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weights_meet_at_ends_and_defaults() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!(weight_of_shares(512) < 100 && weight_of_shares(2048) > 100);
    }
}
