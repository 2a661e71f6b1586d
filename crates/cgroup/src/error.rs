//! What can go wrong with control groups.

use std::io;
use std::path::PathBuf;

use base::error::{Kind, Kinded, kind_of_io};

use crate::layout::Controller;

/// The hierarchies of this host could not be found.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The mount table could not be read.
    #[error("read \"{}\"", path.display())]
    MountTable {
        /// The mount table.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A hierarchy's mount point could not be opened.
    #[error("open the cgroup mount \"{}\"", path.display())]
    Open {
        /// The mount point.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Nothing of type cgroup or cgroup2 is mounted.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
}

impl Kinded for DetectError {
    fn kind(&self) -> Kind {
        match self {
            Self::MountTable { .. } | Self::Open { .. } => Kind::Internal,
            Self::NoHierarchy => Kind::Unsupported,
        }
    }
}

/// A group could not be made, read, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The path is not absolute, is the root, or has an empty, `.` or `..` component.
    #[error("\"{path}\" is not a cgroup path: it has to be absolute, below the root and without \"..\"")]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// The group exists in no hierarchy.
    #[error("cgroup \"{path}\" does not exist")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A file or directory of the group failed.
    #[error("{call} \"{}\"", path.display())]
    File {
        /// What was done, such as `write "5" to`.
        call: String,
        /// The file, for the message only.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the kernel has a form that is not known.
    #[error("\"{}\" has an unexpected form: \"{text}\"", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The part that was not understood.
        text: String,
    },
    /// The host has no such controller, so what was asked cannot be known or done.
    #[error("this host has no {controller} cgroup controller")]
    NoController {
        /// The controller.
        controller: Controller,
    },
    /// Processes stayed in the group although they were killed.
    #[error("cgroup \"{path}\" still has processes after {milliseconds} ms")]
    Stragglers {
        /// The path.
        path: String,
        /// How long was waited.
        milliseconds: u128,
    },
    /// The group did not freeze or thaw in time.
    #[error("cgroup \"{path}\" is not {wanted} after {milliseconds} ms")]
    FreezeTimeout {
        /// The path.
        path: String,
        /// `frozen` or `thawed`.
        wanted: &'static str,
        /// How long was waited.
        milliseconds: u128,
    },
}

impl Kinded for CgroupError {
    fn kind(&self) -> Kind {
        match self {
            Self::InvalidPath { .. } => Kind::Invalid,
            Self::NotFound { .. } => Kind::NotFound,
            Self::File { source, .. } => kind_of_io(source),
            Self::Form { .. } => Kind::Internal,
            Self::NoController { .. } => Kind::Unsupported,
            Self::Stragglers { .. } | Self::FreezeTimeout { .. } => Kind::Busy,
        }
    }
}

/// A limit could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The host has no controller that could enforce the limit.
    #[error("cannot limit {limit}: this host has no {controller} cgroup controller")]
    NoController {
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
        /// The controller.
        controller: Controller,
    },
    /// The controller is there, but this kernel or version of it has no such limit.
    #[error("cannot limit {limit}: the {controller} controller of this host has no \"{file}\"")]
    NoFile {
        /// The limit.
        limit: &'static str,
        /// The controller.
        controller: Controller,
        /// The file that is missing.
        file: String,
    },
    /// The value cannot be enforced by any controller.
    #[error("{limit}: {reason}")]
    Value {
        /// The limit.
        limit: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused the value.
    #[error("limit {limit}")]
    Write {
        /// The limit.
        limit: &'static str,
        /// The write.
        source: CgroupError,
    },
    /// The device program was refused.
    #[error("load the device program of cgroup \"{path}\"")]
    DeviceProgram {
        /// The group.
        path: String,
        /// The cause.
        source: io::Error,
    },
}

impl Kinded for LimitError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoController { .. } | Self::NoFile { .. } => Kind::Unsupported,
            Self::Value { .. } => Kind::Invalid,
            Self::Write { source, .. } => source.kind(),
            Self::DeviceProgram { source, .. } => kind_of_io(source),
        }
    }
}
