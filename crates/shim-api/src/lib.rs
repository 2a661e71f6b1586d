//! The contract between the daemon and `berth-shim`: the task document, the messages and their framing.
//!
//! One shim serves one container. The daemon asks the zygote for a shim by sending a connected stream socket; the
//! shim also listens on [`task::Task::socket`], so that the next daemon finds it. `client` is the daemon's side
//! (tokio), `frame` the shim's (blocking). Start with [`message`].

pub mod client;
pub mod frame;
pub mod message;
pub mod task;
pub mod zygote;
