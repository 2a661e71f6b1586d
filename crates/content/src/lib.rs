//! The content store: blobs of an OCI image layout on disk, each named by the digest of its bytes.
//!
//! [`Content`] opens a directory, and stores and reads blobs in it. It knows bytes and digests, not images: which blobs
//! belong together, and which are still needed, is told by those who use it (`image` for the images of a daemon,
//! `registry` for the repositories of a server), each with a directory of its own.
//!
//! ```text
//! <directory>/
//!   oci-layout             the layout's version
//!   blobs/sha256/<hex>     complete, verified, synced
//!   ingest/<random>        blobs in the making; whatever is here at start is thrown away
//!   ingest/<hex>.part      the first bytes of a blob that comes from elsewhere; kept as long as a lease names it
//!   aside/<hex>            blobs that were found to be damaged, until they are here again
//!   leases/<name>          digests that are kept though nothing refers to them yet, one per line
//! ```

mod blob;
mod check;
mod layout;
mod lease;
mod partial;

pub use blob::{BlobError, Content, Draft, Ingest, Reader, Stored};
pub use layout::OpenError;
pub use lease::Lease;
pub use partial::Partial;
