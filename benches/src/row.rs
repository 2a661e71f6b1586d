//! The rows of docs/performance.md.

use anyhow::Result;

use crate::table::Table;

pub mod archive;
pub mod dns;
pub mod exec;
pub mod many;
pub mod memory;
pub mod pull;
pub mod push;
pub mod registry;
pub mod run;
pub mod size;
pub mod start;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Enough to see that it works.
    Quick,
    /// Enough for the document.
    Full,
}

impl Effort {
    /// Returns the number for this effort.
    pub fn of(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A measurement that makes a table.
pub type Row = fn(Effort) -> Result<Table>;

/// All rows by name, in the order of the document.
pub const ROWS: &[(&str, Row)] = &[
    ("run", run::measure),
    ("exec", exec::measure),
    ("many", many::measure),
    ("memory", memory::measure),
    ("start", start::measure),
    ("size", size::measure),
    ("registry", registry::measure),
    ("pull", pull::measure),
    ("archive", archive::measure),
    ("push", push::measure),
    ("dns", dns::measure),
];
