//! The snapshot contract and its drivers: unpacked layers, and the writable file systems of containers upon them.
//!
//! Start with [`Driver`], the contract: its documentation has the vocabulary, the life cycle and what a caller may
//! assume. [`open`] picks a driver; [`add_layer`] is the one way to fill a layer; [`conformance`] is the suite that
//! every driver passes.
//!
//! This crate knows nothing of images, containers' states and mounts: layers are chain ids, a snapshot belongs to a
//! container's id, and what `runtime` has to mount is returned as plain data ([`oci::rootfs::Rootfs`]).

mod driver;
mod error;

mod add_layer;
mod check;
mod difference;
mod merge;
mod tree;

mod base_directory;
mod layout;
mod overlay;
mod vfs;

pub mod conformance;

pub use add_layer::{AddError, LayerSource, Unpacked, add_layer, unpack_layer};
pub use check::{LayerCheck, check_layer};
pub use difference::{
    Change, ChangeKind, DifferenceError, DifferenceOptions, View, changes, pack_all, pack_changes,
};
pub use driver::{
    Base, Committed, CopyOutcome, Driver, DriverKind, LayerFacts, Owners, SnapshotOptions, Staging,
    SweepReport, Usage, open,
};
pub use error::StorageError;
