//! Facts of the host, read once when the engine opens.

use std::collections::BTreeSet;

use cgroup::{Controller, Layout, Mode};
use spec::resources::Limitable;

use crate::system::HostFacts;

/// What the engine knows of the machine it runs on.
#[derive(Debug)]
pub(crate) struct Host {
    /// What anybody may ask for.
    pub(crate) facts: HostFacts,
    /// The id of this boot.
    pub(crate) boot_id: String,
    /// The hierarchies of control groups.
    pub(crate) cgroups: Layout,
    /// What can be limited.
    pub(crate) limitable: Limitable,
    /// The daemon's bounding set.
    pub(crate) capabilities: BTreeSet<String>,
    /// CPUs with thermal counters.
    pub(crate) thermal_cpus: Vec<u32>,
}

impl Host {
    /// Reads the facts.
    pub(crate) fn read() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let cgroups = Layout::detect()?;
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let release = OsRelease::read();
        let cpu_list = read_trimmed("/sys/devices/system/cpu/online");
        let cpus = count(&cpu_list).max(1);
        let node_list = read_trimmed("/sys/devices/system/node/online");
        let facts = HostFacts {
            kernel_version: text(uname.release()),
            operating_system: release.pretty_name,
            os_version: release.version_id,
            machine: text(uname.machine()),
            architecture: oci::platform::Platform::host().architecture,
            name: text(uname.nodename()),
            cpus,
            memory: rustix::system::sysinfo().totalram * u64::from(rustix::system::sysinfo().mem_unit),
        };
        Ok(Self {
            facts,
            boot_id: base::clock::boot_id()?,
            limitable: Limitable {
                swap: has_swap_limit(&cgroups),
                cpus,
                cpu_list,
                node_list: if node_list.is_empty() {
                    "0".to_owned()
                } else {
                    node_list
                },
            },
            capabilities: bounding_set(),
            thermal_cpus: (0..cpus)
                .filter(|&cpu| std::path::Path::new(&spec::paths::thermal_throttle(cpu)).exists())
                .collect(),
            cgroups,
        })
    }

    /// Returns whether a controller can be used.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.cgroups.version_of(controller).is_some()
    }

    /// Returns `1` or `2`; a hybrid host limits through version 1.
    pub(crate) fn cgroup_version(&self) -> &'static str {
        match self.cgroups.mode() {
            Mode::Unified => "2",
            Mode::Legacy | Mode::Hybrid => "1",
        }
    }
}

/// What os-release(5) says.
struct OsRelease {
    pretty_name: String,
    version_id: String,
}

impl OsRelease {
    fn read() -> Self {
        let text = std::fs::read_to_string("/etc/os-release")
            .or_else(|_missing| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let get = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let name = get("PRETTY_NAME");
        Self {
            pretty_name: if name.is_empty() { "Linux".to_owned() } else { name },
            version_id: get("VERSION_ID"),
        }
    }
}

/// Returns the names in `CapBnd` of proc(5).
fn bounding_set() -> BTreeSet<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    let set = spec::capabilities::ALL.iter().enumerate();
    set.filter(|(number, _)| bits >> number & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Returns whether the memory controller counts swap: version 2 does where the kernel has swap, version 1 only when
/// `swapaccount` is on.
fn has_swap_limit(cgroups: &Layout) -> bool {
    let Some(memory) = cgroups.find(Controller::Memory) else {
        return false;
    };
    match memory.version() {
        cgroup::Version::V1 => memory.mount_point().join("memory.memsw.limit_in_bytes").exists(),
        cgroup::Version::V2 => true,
    }
}

/// Returns the number of CPUs in a list such as `0-3,6`.
fn count(list: &str) -> u32 {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            Some(last.checked_sub(first)?.saturating_add(1))
        })
        .sum()
}

fn read_trimmed(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lists() {
        assert_eq!(
            (count("0-3"), count("0"), count("0-1,4,6-7"), count("")),
            (4, 1, 5, 0)
        );
    }
}
