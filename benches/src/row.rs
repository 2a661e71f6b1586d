//! The rows of docs/performance.md.

use anyhow::Result;

use crate::table::Table;

pub mod archive;
pub mod crowd;
pub mod dns;
pub mod exec;
pub mod many;
pub mod memory;
pub mod network;
pub mod ports;
pub mod pull;
pub mod push;
pub mod registry;
pub mod run;
pub mod size;
pub mod start;
pub mod throughput;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Only enough to see that it works, and not enough for the document.
    pub quick: bool,
    /// How many there are of what a row has many of, if not its own number.
    pub count: Option<usize>,
}

impl Effort {
    /// Returns the number for this effort.
    pub fn of(self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Returns how many were asked for, or the number for this effort.
    pub fn many(self, quick: usize, full: usize) -> usize {
        self.count.unwrap_or_else(|| self.of(quick, full))
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
    ("network", network::measure),
    ("crowd", crowd::measure),
    ("ports", ports::measure),
    ("throughput", throughput::measure),
    ("dns", dns::measure),
];
