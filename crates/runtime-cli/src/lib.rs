//! runtime-cli
