//! A typed client of the Docker HTTP API, one method per call, over a unix socket or plain TCP to this machine.
//!
//! It knows the wire and nothing else: no terminal, no engine, no retries of requests that were sent. A few idle
//! connections are kept and reused; streams (attach, exec, logs, events, wait) get connections of their own.
//! Everything runs on the caller's tokio runtime, a current-thread one too.
//!
//! Start with [`Client`]; `transport` is how bytes get there, [`ClientError`] what may go wrong.

mod container;
mod copy;
mod endpoint;
mod error;
mod exec;
mod image;
mod network;
mod query;
mod registry;
mod session;
mod ssh;
mod stream;
mod system;
mod transport;
mod volume;

pub use container::{AttachOptions, ListOptions, LogOptions, RemoveOptions, Wait, WaitCondition};
pub use copy::CommitOptions;
pub use endpoint::{DEFAULT_SOCKET, Endpoint, EndpointError};
pub use error::ClientError;
pub use image::{ImportOptions, ListImages, Upload};
pub use query::{Filters, Query};
pub use registry::RegistryAuth;
pub use session::{Next, Session, SessionError};
pub use ssh::SshHost;
pub use stream::{Bytes, Hijacked, JsonStream, Reader, Socket, Writer};
pub use system::{EventsOptions, Ping};
pub use transport::{ApiVersion, Client, ParseVersionError};
