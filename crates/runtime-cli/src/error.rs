//! Why a command failed: one line, for a person or for the program that called.

use std::error::Error;

use base::error::chain;

/// A command failed. The text is the whole chain already, because it goes to a log that has one line per error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    message: String,
}

impl CommandError {
    /// Returns an error with this text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Makes a [`CommandError`] of any error, with what was being done.
pub(crate) trait Context<T> {
    /// Adds what was being done.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, CommandError>;

    /// Takes the error's own words.
    fn plain(self) -> Result<T, CommandError>;
}

impl<T, E: Error + 'static> Context<T> for Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, CommandError> {
        self.map_err(|error| CommandError::new(format!("{}: {}", doing(), chain(&error))))
    }

    fn plain(self) -> Result<T, CommandError> {
        self.map_err(|error| CommandError::new(chain(&error).to_string()))
    }
}
