//! Why a command failed: one line, for a person or for the program that called.

use std::error::Error;

use base::error::chain;

/// The longest text in bytes, more or less.
const MAX_TEXT: usize = 4000;

/// A command failed. The text is the whole chain already, because it goes to a log that has one line per error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    message: String,
}

impl CommandError {
    /// Returns an error with this text, as one line of bounded length whatever a document's own texts bring into it.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message: String = message.into();
        if message.len() <= MAX_TEXT && !message.contains(char::is_control) {
            return Self { message };
        }
        let mut line = String::new();
        for character in message.chars() {
            if line.len() >= MAX_TEXT {
                line.push('…');
                break;
            }
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        Self { message: line }
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
