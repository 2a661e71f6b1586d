//! Addresses: subnets for networks, addresses for endpoints, hardware addresses.

mod mac;
mod pool;
mod range;

pub use mac::mac_address;
pub use pool::{Family, Pools};
pub use range::{Range, RangeError, RangeSettings, TakeError};
