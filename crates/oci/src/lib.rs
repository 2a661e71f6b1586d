//! The documents of the Open Container Initiative as plain data: digests, references, image and runtime documents,
//! platforms, and Berth's one addition, the recipe of a root file system.
//!
//! Pure: nothing here opens a file or makes a system call. Raw bytes of manifests are kept by `image`; a document
//! is never written back from its parsed form.

pub mod rootfs;
