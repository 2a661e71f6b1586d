//! Resource use of one container: one JSON document per second.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

wire! {
    "snake_case";

    /// One sample.
    pub struct Stats {
        pub name: String,
        pub id: String,
        /// When it was read.
        pub read: String,
        pub preread: String,
        pub pids_stats: PidsStats,
        pub blkio_stats: BlkioStats,
        pub num_procs: u32,
        pub storage_stats: StorageStats,
        pub cpu_stats: CpuStats,
        pub precpu_stats: CpuStats,
        pub memory_stats: MemoryStats,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub networks: BTreeMap<String, NetworkStats>,
        /// Berth only: what the container has received of its budget.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub berth_net_budget_in: Option<SpentBudget>,
        /// Berth only: what the container has sent of its budget.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub berth_net_budget_out: Option<SpentBudget>,
    }

    /// A budget of bytes in a time, and what is spent of it (Berth only).
    pub struct SpentBudget {
        pub bytes: u64,
        pub used: u64,
        /// Whole seconds.
        pub seconds: u64,
        /// When the time is over; empty while none has begun, or of one that does not end.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub until: String,
    }

    pub struct PidsStats {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub current: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub limit: u64,
    }

    pub struct BlkioStats {
        pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
        pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
        pub io_queue_recursive: Option<Vec<BlkioEntry>>,
        pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
        pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
        pub io_merged_recursive: Option<Vec<BlkioEntry>>,
        pub io_time_recursive: Option<Vec<BlkioEntry>>,
        pub sectors_recursive: Option<Vec<BlkioEntry>>,
    }

    pub struct BlkioEntry {
        pub major: u64,
        pub minor: u64,
        /// `Read`, `Write`, …
        pub op: String,
        pub value: u64,
    }

    /// Only used on Windows; always empty.
    pub struct StorageStats {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub read_count_normalized: u64,
    }

    pub struct CpuStats {
        pub cpu_usage: CpuUsage,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub system_cpu_usage: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub online_cpus: u32,
        pub throttling_data: ThrottlingData,
    }

    /// Nanoseconds.
    pub struct CpuUsage {
        pub total_usage: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub percpu_usage: Vec<u64>,
        pub usage_in_kernelmode: u64,
        pub usage_in_usermode: u64,
    }

    pub struct ThrottlingData {
        pub periods: u64,
        pub throttled_periods: u64,
        pub throttled_time: u64,
    }

    /// Bytes.
    pub struct MemoryStats {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub usage: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub max_usage: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub stats: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub failcnt: u64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub limit: u64,
    }

    pub struct NetworkStats {
        pub rx_bytes: u64,
        pub rx_packets: u64,
        pub rx_errors: u64,
        pub rx_dropped: u64,
        pub tx_bytes: u64,
        pub tx_packets: u64,
        pub tx_errors: u64,
        pub tx_dropped: u64,
    }
}
