//! How a command ends when it does not end well: what is printed, and the exit code.

use base::error::chain;
use client::ClientError;

/// The exit code of errors of the daemon or of the command line.
pub(crate) const DAEMON_ERROR: u8 = 125;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong; shown with the usage.
    Usage {
        /// What is wrong.
        message: String,
        /// The exit code.
        code: u8,
    },
    /// Shown as it is.
    Message {
        /// What happened.
        message: String,
        /// The exit code.
        code: u8,
    },
    /// A call failed; exit code 1.
    Call(ClientError),
    /// Nobody reads our output any more; not an error.
    BrokenPipe,
}

impl Failure {
    /// Returns a failure that shows `message` and exits with 1.
    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self::Message {
            message: message.into(),
            code: 1,
        }
    }

    /// Returns a failure that shows `message` and exits with 125.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Message {
            message: message.into(),
            code: DAEMON_ERROR,
        }
    }

    /// Returns a failure of the command line that shows the usage and exits with 125.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            code: DAEMON_ERROR,
        }
    }

    /// Returns the failure of doing something to a local file, terminal or stream.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::message(format!("{doing}: {}", describe_io(error)))
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

/// Returns what a failed call looks like to people.
pub(crate) fn describe(error: &ClientError) -> String {
    match error {
        ClientError::Status { message, .. } => format!("Error response from daemon: {message}"),
        ClientError::Connect { endpoint, source } => format!(
            "Cannot connect to the Berth daemon at {endpoint}. Is the daemon running? ({})",
            describe_io(source)
        ),
        _ => chain(error).to_string(),
    }
}

/// Returns the text of an error without Rust's `(os error N)`.
pub(crate) fn describe_io(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text
                .strip_suffix(&format!(" (os error {number})"))
                .unwrap_or(&text);
            lower_first(text)
        }
        None => error.to_string(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
