//! From a seccomp profile to the kernel's filter program.
//!
//! [`Profile`] is Docker's JSON document. [`Profile::resolve`] decides its conditions (capabilities, architecture,
//! kernel) for one container and gives a [`Policy`]; an OCI document's `linux.seccomp` becomes a [`Policy`] directly.
//! [`compile`] turns a policy into a [`Filter`], a classic BPF program, without libseccomp.
//!
//! This crate is pure: it makes no system call and reads no file but a profile that it is asked to
//! [load](Profile::load). Loading a filter into the kernel is the runtime's business.
//!
//! What differs from libseccomp, always on the strict side: when several rules of one call match, the strictest action
//! wins (libseccomp drops conditional rules beside an unconditional one); arguments that the kernel reads as 32 bits
//! are compared as 32 bits (CVE-2019-10063); x32 calls are refused whatever the profile says; numbers that are no
//! known call fail with `ENOSYS` where the profile's default is another errno, so that libraries fall back.

mod action;
mod arch;
mod assembler;
mod compile;
mod evaluate;
mod filter;
mod oci;
mod policy;
mod profile;
mod table;

pub use crate::action::Action;
pub use crate::arch::Arch;
pub use crate::compile::{CompileError, compile};
pub use crate::evaluate::{Call, evaluate};
pub use crate::filter::{Filter, FilterFlags, FromBytesError, Instruction};
pub use crate::policy::{Comparison, Condition, Policy, Rule};
pub use crate::profile::{Facts, KernelVersion, LoadError, Profile, ResolveError};
pub use crate::table::{name as call_name, number as call_number};

#[cfg(test)]
mod tests;
