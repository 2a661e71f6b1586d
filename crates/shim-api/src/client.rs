//! The daemon's side (tokio): the zygote that makes shims, and connections to shims.
//!
//! ```text
//! let zygote = Zygote::spawn(&ZygoteOptions { .. }).await?;       // once per daemon
//! let shim = zygote.new_shim().await?;                             // does not wait for a fork
//! let mut events = shim.subscribe().await?;                        // may come before both
//! shim.prepare(task, None)?;                                       // it gets ready beside the daemon
//! let started = shim.start_prepared(attaches, 0).await?;           // or both at once: `start`
//! while let Some(event) = events.next().await { .. }               // None: the shim is gone
//! ```
//!
//! One [`ShimConnection`] carries requests, replies and events at once and is cheap to clone. When the shim dies every
//! pending request fails with [`RequestError::Gone`] and [`Events::next`] returns `None`; the exit record file then
//! tells whether the container had ended before.

mod connection;
mod spawn;

pub use connection::{Attach, ConnectError, Events, RequestError, ShimConnection, Started, stream_pair};
pub use spawn::{Zygote, ZygoteError, ZygoteOptions};
