//! `regex-lite` under the name of `regex` (`[patch.crates-io]` in the workspace).
//!
//! oci-spec has one regular expression, for `execCPUAffinity`, and asks for all of `regex` with it: 1 MB of code and
//! Unicode tables, and a quarter of what is relocated at every start of the program. Its classes are ASCII's here.

pub use regex_lite::Regex;
