//! netd as a process, in network namespaces that each test makes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "figures")]

mod forward;
mod life;
mod load;
mod names;
mod ports;
mod proxy;
mod world;
