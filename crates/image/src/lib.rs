//! Images: the content store (an OCI image layout on disk), names, and the verbs on them.
//!
//! [`Store`] is everything; each verb has a file of its own: [`Store::import`], [`Store::load`], [`Store::list`],
//! [`Store::resolve`], [`Store::tag`], [`Store::remove`], [`Store::save`], [`Store::pack`].
//!
//! This crate knows blobs, not directories: what a layer looks like unpacked is `storage`'s business. The engine takes
//! [`Image::layers`], opens each with [`Store::open_layer`] and hands the reader to `storage::add_layer`.

mod store;

mod document;
mod index;

pub mod policy;

mod change;
mod check;
mod commit;
mod compress;
mod copy;
mod create;
mod elf;
mod import;
mod libraries;
mod list;
mod load;
mod pack;
pub mod pull;
mod push;
mod remove;
mod resolve;
mod save;
mod sink;
mod tag;
mod words;

#[cfg(test)]
mod tests;

pub use change::ChangeError;
pub use check::{BlobDamage, BlobReport};
pub use commit::{CommitError, CommitOptions, LayerDraft};
pub use compress::CompressError;
pub use content::{BlobError, Reader as LayerReader};
pub use copy::ImageBlobs;
pub use create::{CreateError, NewImage, NewLayer};
pub use import::{ImportError, ImportOptions};
pub use load::{LoadError, LoadEvent, LoadOptions, Loaded};
pub use pack::{PackError, PackOptions};
pub use push::{PushError, PushEvent, PushState, Pushed};
pub use remove::{ImageUser, Removal, RemoveError, RemoveOptions, Removed};
pub use resolve::ResolveError;
pub use save::{SaveError, SaveOptions};
pub use sink::{LayerSink, Pin, SinkError, StagedLayer};
pub use store::{Image, Layer, OpenError, Problem, Store, Tag};
pub use tag::TagError;
