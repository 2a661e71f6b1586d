//! Images: one file per verb.

pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod distribution;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod pack;
pub(crate) mod prune;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod tag;
