//! Errors and warnings: on stderr for people, in `--log` for the program that called.

use std::fs::OpenOptions;
use std::io::Write;

use base::clock::Timestamp;

use crate::globals::{Globals, LogFormat};

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The command failed.
    Error,
    /// Something was done otherwise than asked.
    Warning,
}

/// Writes one line to the log, if there is one, and to stderr.
pub(crate) fn write(globals: &Globals, level: Level, message: &str) {
    let level = match level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    let time = Timestamp::now().to_string();
    let line = match globals.log_format {
        LogFormat::Json => serde_json::json!({"level": level, "msg": message, "time": time}).to_string(),
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
    };
    let mut stderr_line = &line;
    let plain = format!("{level}: {message}");
    if let Some(path) = &globals.log {
        let file = OpenOptions::new().append(true).create(true).open(path);
        // A log that cannot be written must not hide the error itself, which stderr has.
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        stderr_line = if written.is_ok() { &plain } else { &line };
    }
    // Nobody is left to tell when stderr is gone.
    match writeln!(std::io::stderr(), "{stderr_line}") {
        Ok(()) | Err(_) => {}
    }
}
