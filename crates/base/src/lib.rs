//! The ground every other crate stands on: ids, error kinds, the clock, sizes and atomic files.
//!
//! This crate knows nothing of containers beyond the shape of their ids, makes no policy and holds no state.
//! Start with [`error`]: every fallible operation of Berth answers to [`error::Kind`].

pub mod base64;
pub mod clock;
pub mod error;
pub mod file;
pub mod id;
pub mod secret;
pub mod size;
