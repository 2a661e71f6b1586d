//! Files that flags name: environment, labels, seccomp profiles.

use std::path::Path;

use crate::failure::{Failure, describe_io};

/// The largest such file.
const LIMIT: u64 = 4 << 20;

/// Returns the variables of an `--env-file`: a bare name takes the value from our own environment, if there is one.
pub(crate) fn environment_file(path: &str) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for line in lines(path)? {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.as_str(), None),
        };
        let name = name.trim_start();
        if name.is_empty() {
            return Err(Failure::invalid(format!(
                "berth: {path}: no variable name on line '{line}'"
            )));
        }
        if name.contains(char::is_whitespace) {
            return Err(Failure::invalid(format!(
                "berth: {path}: variable '{name}' contains whitespaces"
            )));
        }
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(from_environment(name)),
        }
    }
    Ok(variables)
}

/// Returns `NAME=VALUE` of our own environment.
pub(crate) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| format!("{name}={value}"))
}

/// Returns the labels of a `--label-file`; lines without a value do not count, as docker has it.
pub(crate) fn label_file(path: &str) -> Result<Vec<(String, String)>, Failure> {
    let lines = lines(path)?;
    let labels = lines.iter().filter_map(|line| line.trim_start().split_once('='));
    Ok(labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Returns the lines that are neither empty nor a comment.
fn lines(path: &str) -> Result<Vec<String>, Failure> {
    let text = read(path).map_err(|reason| Failure::invalid(format!("berth: open {path}: {reason}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    Ok(lines.map(str::to_owned).collect())
}

/// Returns a seccomp profile as one line of JSON, the form in which it travels.
pub(crate) fn seccomp_profile(path: &str) -> Result<String, Failure> {
    let failed = |reason: String| {
        Failure::invalid(format!(
            "berth: opening seccomp profile ({path}) failed: {reason}"
        ))
    };
    let text = read(path).map_err(|reason| failed(format!("open {path}: {reason}")))?;
    compact(&text).ok_or_else(|| {
        Failure::invalid(format!(
            "berth: compacting json for seccomp profile ({path}) failed"
        ))
    })
}

/// Takes the white space out of a JSON document without changing anything else; `None` if it is none.
fn compact(text: &str) -> Option<String> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let mut compacted = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            compacted.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if !character.is_ascii_whitespace() {
            compacted.push(character);
            in_string = character == '"';
        }
    }
    Some(compacted)
}

fn read(path: &str) -> Result<String, String> {
    let content =
        base::file::read_optional(Path::new(path), LIMIT).map_err(|error| describe_io(error.io()))?;
    let content = content.ok_or_else(|| "no such file or directory".to_owned())?;
    String::from_utf8(content).map_err(|_reason: std::string::FromUtf8Error| "it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_strings() {
        assert_eq!(
            compact("{ \"a b\" : [1, \"x \\\" y\"]\n}").unwrap(),
            "{\"a b\":[1,\"x \\\" y\"]}"
        );
        assert_eq!(compact("{"), None);
    }
}
