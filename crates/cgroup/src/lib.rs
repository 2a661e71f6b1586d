//! Control groups: v1, v2 and hybrid behind one interface.
//!
//! A [`Layout`] is found once per process: it holds an open directory for each hierarchy, and a [`Cgroup`] holds one
//! directory per hierarchy for one container, so that nothing here walks a path from `/` twice. [`Limits`] say what a
//! container may use; a limit that this host cannot enforce is an error that names the controller.
//!
//! This crate knows nothing of containers, of the engine's configuration or of systemd's D-Bus interface: it is
//! given an absolute path below the hierarchies' mounts, such as `/berth/<id>`.
//!
//! **Joining is where the time goes.** A write of another process's pid to `cgroup.procs` (either version) waits for
//! an RCU grace period, 6 to 8 ms on an idle machine. A single-threaded process that writes `0` to the v1 file
//! `tasks` moves itself without one (10 µs per hierarchy), and `clone3` with `CLONE_INTO_CGROUP` joins a v2 group for
//! nothing. Start with [`Cgroup::entry`], which hands out exactly these files.

mod apply;
mod block;
mod cpu;
mod device_program;
mod devices;
mod entry;
mod error;
mod freeze;
mod group;
mod hugetlb;
mod kill;
mod layout;
mod limits;
mod memory;
mod node;
mod oci;
mod oom;
mod pressure;
mod processes;
mod remove;
mod stats;

pub use crate::entry::Entry;
pub use crate::error::{CgroupError, DetectError, LimitError};
pub use crate::group::Cgroup;
pub use crate::layout::{Controller, Hierarchy, Layout, Mode, Version};
pub use crate::limits::{
    BlockLimits, CpuLimits, DeviceAccess, DeviceKind, DeviceRule, DeviceThrottle, DeviceWeight,
    HugepageLimit, Limits, MemoryLimits, NetworkLimits,
};
pub use crate::oom::OomEvents;
pub use crate::pressure::{Pressure, PressureAverages, PressureLine, Resource};
pub use crate::stats::{BlockEntry, BlockStats, CpuStats, HugepageStats, MemoryStats, PidsStats, Stats};

#[cfg(test)]
mod tests;
