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

mod config;
mod credentials;
mod error;
mod repository;
mod shared;

mod blob;
mod list;
mod login;
mod manifest;
mod search;
mod upload;

mod auth;
mod challenge;
mod connect;
mod dns;
mod endpoint;
mod header;
mod host;
mod origin;
mod proxy;
mod tls;
mod transport;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use blob::{BlobBody, BlobRange};
pub use config::{ClientConfig, Mirror, Timeouts};
pub use credentials::Credentials;
pub use dns::NameSources;
pub use error::{ApiError, RegistryError};
pub use list::TagsPage;
pub use login::Login;
pub use manifest::{Fetched, ManifestHead, Target};
pub use proxy::Proxies;
pub use repository::{Access, Repository};
pub use search::SearchResult;
pub use shared::Client;
pub use upload::{BlobSource, ByteStream, Mount, Upload};

#[cfg(test)]
mod tests;
