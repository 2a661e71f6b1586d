//! Registries: the protocol by which images travel (OCI distribution 1.1 and Docker Registry HTTP API V2).
//!
//! [`client`] speaks to any registry; [`server`] is one. Both know manifests only as bytes with a media type and a
//! digest: what is in an image, and what becomes of it, is the concern of `image` and `engine` above.
//! Start with [`client::Client`] and [`server`].

pub mod client;
pub mod server;
