//! Networks: one file per verb.

pub(crate) mod audit;
pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod disconnect;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod move_address;
pub(crate) mod prune;
pub(crate) mod remove;
