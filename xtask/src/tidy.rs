//! The rules of this source tree that no compiler knows.
//!
//! A check is a pure function from the [`Tree`] to [`Finding`]s, so that each is tested on a tree of a few lines.
//! Errors name the file and the line and say what to do instead.

mod docs;
mod fences;
mod lock;
mod manifest;
mod names;
mod source;
mod text;
mod tiers;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

/// A file of the source tree.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the top, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Everything that is checked: the text files that belong to the project.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the tree below `root`, without build output and hidden directories (but with `.ci`).
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn add(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let skipped = path == "target" || name.starts_with('.') && name != ".ci";
                if !skipped {
                    self.add(&entry.path(), &format!("{path}/"))?;
                }
            } else if kind.is_file() {
                // What is not UTF-8 is test data, not text of ours.
                if let Ok(text) = std::fs::read_to_string(entry.path()) {
                    self.files.push(File { path, text });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Rust sources.
    fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|&(path, text)| File {
                    path: path.to_owned(),
                    text: text.to_owned(),
                })
                .collect(),
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    severity: Severity,
    path: String,
    /// From 1.
    line: usize,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Finding {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, path, line, message)
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, path, line, message)
    }

    fn new(severity: Severity, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            severity,
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(
            formatter,
            "{}:{}: {severity}: {}",
            self.path, self.line, self.message
        )
    }
}

/// Runs every check.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let checks = [
        tiers::check,
        fences::check,
        names::check,
        text::check,
        lock::check,
        docs::check,
    ];
    let mut findings: Vec<_> = checks.iter().flat_map(|check| check(tree)).collect();
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    findings
}
