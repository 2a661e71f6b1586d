//! Container logs: the writer that a shim holds and the reader that the daemon serves `logs` with.
//!
//! Drivers are `json-file` (docker's own line format), `local` (a compact binary format, see [`local`]) and `none`.
//! Files are bounded (20 MiB × 5 by default) and rotated: `<path>` is written, `<path>.1` is the newest rotated file
//! (`<path>.1.gz` when compressed). Nothing here is asynchronous and nothing starts a thread. Start with [`options`].

pub mod control;
mod files;
pub mod json;
pub mod local;
pub mod options;
pub mod reader;
pub mod record;
mod rotate;
pub mod writer;
