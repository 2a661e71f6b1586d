//! The engine as a whole: facts, events, use of the disk.

mod disk_usage;
mod events;
pub(crate) mod filter;
mod info;
mod login;

pub use disk_usage::{DiskUsage, disk_usage};
pub(crate) use events::EventHub;
pub use events::{Event, EventKind, EventStream, events};
pub use filter::FilterError;
pub(crate) use filter::{check_names, label_fits, switch, until, value_error};
pub use info::{HostFacts, Info, host_facts, info};
pub use login::{Login, login};
