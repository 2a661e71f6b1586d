//! Tar layers: unpacking them below a directory, and packing directories into them.
//!
//! Archives are hostile input. Every entry is opened below the target with `openat2` (`RESOLVE_IN_ROOT`, no magic
//! links), nothing is followed at the last step, and limits bound what an archive can cost. This crate knows nothing
//! of images and storage: it has a reader, a directory and options.
//!
//! Start with [`unpack`]; [`TarReader`] is the parser below it and [`TarWriter`] its opposite.

mod compression;
mod entry;
mod error;
mod gzip;
mod ids;
mod limits;
mod reader;

mod header;
mod pax;

mod pieces;
mod remove;
mod target;
mod unpack;

mod pack;
mod writer;

pub use compression::{Compression, Decoder};
pub use entry::{Entry, EntryKind};
pub use error::{ReadError, UnpackError};
pub use gzip::compress_gzip;
pub use ids::{IdRange, IdShift};
pub use limits::Limits;
pub use pack::{
    Attribute, PackError, PackOptions, PackSummary, Packer, Sparse, attributes, is_of_kernel, pack,
};
pub use reader::TarReader;
pub use remove::{remove_tree, remove_tree_at};
pub use unpack::{UnpackOptions, UnpackSummary, Whiteouts, inspect, inspect_beside, unpack, unpack_beside};
pub use writer::TarWriter;
