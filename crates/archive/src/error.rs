//! Why an archive cannot be read or unpacked.

use std::io;

use base::error::{Kind, Kinded, kind_of_io};

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed, its compression is broken or it ends too early.
    #[error("read archive at byte {offset}")]
    Source {
        /// Where, in the uncompressed stream.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A header is wrong, or can be read in two ways.
    #[error("invalid archive header at byte {offset}: {problem}")]
    Header {
        /// Where the header's block begins in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The archive costs more than allowed.
    #[error("archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl Kinded for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Source { source, .. } => match source.kind() {
                io::ErrorKind::UnexpectedEof => Kind::Invalid,
                _ => kind_of_io(source),
            },
            Self::Header { .. } | Self::Limit { .. } => Kind::Invalid,
        }
    }
}

/// Why an archive cannot be unpacked. What was unpacked before the error stays: the caller throws the target away.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry asks for something that no honest archive needs.
    #[error("refuse \"{path}\": {problem}")]
    Refused {
        /// The entry.
        path: String,
        /// What it asks for.
        problem: &'static str,
    },
    /// An entry could not be made.
    #[error("{doing} \"{path}\"")]
    Make {
        /// The step.
        doing: &'static str,
        /// The entry.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Kinded for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Refused { .. } => Kind::Invalid,
            Self::Make { source, .. } => match source.kind() {
                // What an archive asks for and a file system refuses is the archive's fault.
                io::ErrorKind::NotFound
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::CrossesDevices
                | io::ErrorKind::TooManyLinks
                | io::ErrorKind::InvalidFilename
                // It is cut off in the content of this member.
                | io::ErrorKind::UnexpectedEof => Kind::Invalid,
                // A path of the archive that leads through a link.
                _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Kind::Invalid,
                _ => kind_of_io(source),
            },
        }
    }
}
