//! The daemon itself.

pub(crate) mod check;
pub(crate) mod disk_usage;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod login;
pub(crate) mod ping;
pub(crate) mod refusals;
pub(crate) mod version;
