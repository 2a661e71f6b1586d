//! The one error of this crate: what was asked of the kernel, and what it said.

use std::io;

use base::error::{Kind, Kinded};
use rustix::io::Errno;
use sys::SyscallError;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("{doing}{}", explanation.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What was asked, as in `add link "berth0"`.
        doing: String,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), where it has any.
        explanation: Option<String>,
        /// The errno.
        source: io::Error,
    },
    /// The request does not fit into a message.
    #[error("{doing}: too much for one message")]
    TooLarge {
        /// What was asked.
        doing: String,
    },
    /// The answer could not be understood.
    #[error("{doing}: the kernel's answer is cut short")]
    Malformed {
        /// What was asked.
        doing: String,
    },
    /// The socket failed.
    #[error("talk to the kernel's network")]
    Socket(#[source] SyscallError),
}

impl NetlinkError {
    pub(crate) fn refused(doing: &str, errno: Errno, explanation: Option<String>) -> Self {
        Self::Refused {
            doing: doing.to_owned(),
            explanation,
            source: errno.into(),
        }
    }

    /// Returns the errno with which the kernel refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => Errno::from_io_error(source),
            Self::Socket(error) => Some(error.errno()),
            Self::TooLarge { .. } | Self::Malformed { .. } => None,
        }
    }

    /// Tells whether what should be changed is not there, which is what an undo wants.
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::NOENT | Errno::NODEV | Errno::SRCH | Errno::NXIO | Errno::ADDRNOTAVAIL)
        )
    }

    /// Tells whether what should be made is there already.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }
}

impl Kinded for NetlinkError {
    fn kind(&self) -> Kind {
        if self.is_absent() {
            return Kind::NotFound;
        }
        match self.errno() {
            Some(Errno::EXIST) => Kind::Conflict,
            Some(Errno::BUSY) => Kind::Busy,
            Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => Kind::Unsupported,
            Some(errno) => base::error::kind_of_io(&errno.into()),
            None => Kind::Internal,
        }
    }
}
