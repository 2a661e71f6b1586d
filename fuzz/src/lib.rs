//! One function for each target: it takes any bytes, and panics when something is wrong.

mod archives;
mod dns;
mod documents;
mod place;
mod registries;
mod rest;

pub use archives::{load, pax, tar_read, tar_unpack, whiteouts};
pub use dns::dns;
pub use documents::{documents, names, policy, signatures};
pub use registries::registry_headers;
pub use rest::{log, mountinfo, runtime_document, seccomp, users};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("tar_read", tar_read),
    ("tar_unpack", tar_unpack),
    ("pax", pax),
    ("whiteouts", whiteouts),
    ("documents", documents),
    ("load", load),
    ("names", names),
    ("policy", policy),
    ("signatures", signatures),
    ("runtime_document", runtime_document),
    ("users", users),
    ("mountinfo", mountinfo),
    ("seccomp", seccomp),
    ("log", log),
    ("dns", dns),
    ("registry_headers", registry_headers),
];
