//! Containers: one file per verb.

pub(crate) mod attach;
pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod resize;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;
