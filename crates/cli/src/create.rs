//! From the flags of `run` and `create` to the body of the request.

mod files;
mod flags;
mod mount;
mod network;
mod ports;
mod request;
mod resources;
mod security;

pub(crate) use files::{environment_file, from_environment};
pub(crate) use flags::FLAGS;
pub(crate) use network::{check_link, driver_opt};
pub(crate) use ports::number as port_number;
pub(crate) use request::{Request, net_budget, net_rate};
pub(crate) use resources::{check_net_budget, check_net_rate, pairs, restart_policy};

#[cfg(test)]
mod tests;
