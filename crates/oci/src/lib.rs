//! The documents of the Open Container Initiative as plain data: digests, references, image and runtime documents,
//! platforms, and Berth's two additions, the recipes of a root file system and of an endpoint.
//!
//! Pure: nothing here opens a file or makes a system call. Raw bytes of manifests are kept by `image`; a document
//! is never written back from its parsed form.

pub mod digest;
pub mod endpoint;
pub mod image;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod rootfs;

pub use digest::{ChainId, Digest};
pub use oci_spec::runtime;
pub use reference::Reference;
