//! What a container may use, independent of the cgroup version.
//!
//! Every field is optional: `None` leaves what the group has. Values are those of the OCI runtime specification
//! (microseconds, bytes); −1 means "no limit" where the specification says so.

/// All limits of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time and CPU sets.
    pub cpu: CpuLimits,
    /// Memory and swap.
    pub memory: MemoryLimits,
    /// The greatest number of processes and threads; −1 is no limit, 0 leaves it alone (as runc reads it).
    pub pids: Option<i64>,
    /// Block devices.
    pub block: BlockLimits,
    /// Huge pages, one entry per page size.
    pub hugepages: Vec<HugepageLimit>,
    /// Device nodes that may be opened or made. `Some` closes everything that no rule opens; later rules win.
    pub devices: Option<Vec<DeviceRule>>,
    /// Network class and priorities (v1 only).
    pub network: NetworkLimits,
    /// Raw v2 files and their values, applied last (`linux.resources.unified`).
    pub unified: Vec<(String, String)>,
    /// Parts of the request that no kernel has any more (kernel memory); to be shown to the user.
    pub warnings: Vec<String>,
}

/// Limits of CPU time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuLimits {
    /// Relative weight in v1's scale, 2 to 262144 (1024 is the default); 0 leaves it alone.
    pub shares: Option<u64>,
    /// Microseconds of CPU time per period; −1 is no limit; 0 leaves it alone.
    pub quota: Option<i64>,
    /// The period in microseconds; 0 leaves it alone.
    pub period: Option<u64>,
    /// Microseconds that may be saved up for a burst.
    pub burst: Option<u64>,
    /// Microseconds of realtime scheduling per period (v1 only).
    pub realtime_runtime: Option<i64>,
    /// The realtime period in microseconds (v1 only).
    pub realtime_period: Option<u64>,
    /// 1: `SCHED_IDLE` for the whole group; 0: normal.
    pub idle: Option<i64>,
    /// The CPUs to run on, such as `0-2,7`.
    pub cpus: Option<String>,
    /// The memory nodes to use.
    pub mems: Option<String>,
}

/// Limits of memory; bytes, −1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// The hard limit.
    pub limit: Option<i64>,
    /// The soft limit.
    pub reservation: Option<i64>,
    /// The limit of memory and swap together.
    pub swap: Option<i64>,
    /// 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Whether the kernel lets processes wait instead of killing one (v1 only).
    pub disable_oom_killer: Option<bool>,
    /// Whether a new limit below the present use is refused instead of reclaimed.
    pub check_before_update: bool,
}

/// Limits of block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// Relative weight, 10 to 1000; 0 leaves it alone.
    pub weight: Option<u16>,
    /// Relative weight against child groups (CFQ only: refused by kernels since 5.0).
    pub leaf_weight: Option<u16>,
    /// Weights of single devices.
    pub weight_devices: Vec<DeviceWeight>,
    /// Bytes read per second.
    pub read_bps: Vec<DeviceThrottle>,
    /// Bytes written per second.
    pub write_bps: Vec<DeviceThrottle>,
    /// Reads per second.
    pub read_iops: Vec<DeviceThrottle>,
    /// Writes per second.
    pub write_iops: Vec<DeviceThrottle>,
}

/// The weight of one block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The device's major number.
    pub major: i64,
    /// The device's minor number.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: u16,
}

/// The rate of one block device; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceThrottle {
    /// The device's major number.
    pub major: i64,
    /// The device's minor number.
    pub minor: i64,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// The limit of one huge page size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugepageLimit {
    /// The page size as the kernel's file names spell it, such as `2MB`.
    pub page_size: String,
    /// Bytes; −1 is no limit.
    pub limit: i64,
}

/// Network class and priorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLimits {
    /// The class id of packets (net_cls).
    pub class_id: Option<u32>,
    /// Interface and priority (net_prio).
    pub priorities: Vec<(String, u32)>,
}

/// One rule of the device list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether the rule opens or closes.
    pub allow: bool,
    /// Which kind of node.
    pub kind: DeviceKind,
    /// The major number; `None` is every one.
    pub major: Option<u32>,
    /// The minor number; `None` is every one.
    pub minor: Option<u32>,
    /// What may or may not be done.
    pub access: DeviceAccess,
}

/// Which device nodes a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices.
    Character,
    /// Block devices.
    Block,
}

/// What is done with a device node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceAccess {
    /// Opening for reading.
    pub read: bool,
    /// Opening for writing.
    pub write: bool,
    /// Making the node.
    pub mknod: bool,
}

impl DeviceAccess {
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        mknod: true,
    };

    /// Returns the access that letters of `rwm` name, `None` if there is another letter.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut access = Self::default();
        for letter in letters.chars() {
            match letter {
                'r' => access.read = true,
                'w' => access.write = true,
                'm' => access.mknod = true,
                _ => return None,
            }
        }
        Some(access)
    }
}
