//! `berth-shim`: one process per container, forked from a zygote, that runs it without the daemon.
//!
//! A shim clones PID 1 through `runtime`, holds its standard streams, writes its log, serves attached clients, runs
//! more processes in it, applies its restart policy and records how it ended before it tells anyone. It is
//! single-threaded and has no async runtime: one poll loop ([`shim`]), with the protocol of `shim-api`.
//!
//! ```text
//! (forked) ── Start ──▶ Running ── PID 1 ends ──▶ Exited ── Release, or nobody is connected ──▶ (gone)
//!                          ▲            │
//!                          └ Restarting ◀┘  as long as the policy says so
//! ```
//!
//! It knows nothing of images or the engine's store, and of networks only where the container is plugged in ([`plug`]). Start with [`zygote`], then `shim`.

mod client;
mod connection;
mod container;
mod exec;
mod exit;
mod keep;
mod launch;
mod plug;
mod request;
mod session;
mod shim;
mod zygote;

pub use zygote::zygote_main;
