//! Execs: one file per verb.

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod start;
