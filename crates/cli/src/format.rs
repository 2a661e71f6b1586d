//! How results look: tables, Go templates, JSON, times and sizes.

pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod time;
