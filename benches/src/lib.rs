//! What `cargo xtask bench` runs: the floor program, and the comparison of Berth with it and with other engines.
//!
//! Nothing here is part of the engine. [`runner`] times one command at a time from a small process of its own,
//! [`peer`] knows how each engine is set up and called, [`site`] has engines with networks on hosts of their own,
//! [`sample`] turns times into medians, and [`row`] has one module per row of docs/performance.md. All engines of a row
//! take turns within one run, so that a slow minute of the machine is shared by all of them. What is not installed is
//! reported as missing.

pub mod memory;
pub mod peer;
pub mod row;
pub mod runner;
pub mod sample;
pub mod site;
pub mod table;
