//! The crate against the kernel, in network namespaces of each test's own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod budgets;
mod drivers;
mod hosts;
mod plug;
mod shaping;
mod world;
