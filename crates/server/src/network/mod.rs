//! Networks: the two that there are, to be looked at.

pub(crate) mod inspect;
pub(crate) mod list;
