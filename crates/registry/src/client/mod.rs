//! The client: everything that Berth asks of a registry that is not its own.
//!
//! A [`Client`] is made once and cloned freely; clones share connections. [`Client::repository`] gives the calls on one
//! repository: manifests, blobs, uploads, tags, referrers. [`Client::login`] and [`Client::search`] are the calls on a
//! whole registry.
//!
//! Rules that hold for every request, because a registry's answers are hostile input:
//!
//! * `https`, unless the registry is listed as insecure or is a loopback address; never a silent step down otherwise.
//! * Credentials go to the registry that they were given for, and to the token server that it names if that one is
//!   reached by `https` (or is as insecure as the registry itself and on its host); never along a redirect to another
//!   origin, never to a URL in a manifest.
//! * Every count, size, wait and number of attempts has a limit.
//! * What has a digest is checked against it before it is returned; only the bytes of [`Repository::blob`] are checked
//!   by the caller, who hashes them anyway while storing them.

mod blob;
mod config;
mod credentials;
mod error;
mod login;
mod manifest;
mod repository;
mod search;
mod upload;

pub use blob::{BlobBody, BlobRange};
pub use config::{ClientConfig, Mirror, Proxies, Timeouts};
pub use credentials::Credentials;
pub use error::{ApiError, RegistryError};
pub use login::Login;
pub use manifest::{Fetched, ManifestHead, Target};
pub use repository::{Access, Client, Repository, TagsPage};
pub use search::SearchResult;
pub use upload::{BlobSource, ByteStream, Mount, Upload};
