//! Integration tests live in `tests/it`: one program, one file per subject, each test with a daemon of its own.
//!
//! They see Berth from outside only: the `berth` and `docker` command lines, the HTTP API, and what the host shows.
//! Every test ends with `Daemon::finish`, which fails when anything is left on the host. Start with `tests/it/main.rs`.
