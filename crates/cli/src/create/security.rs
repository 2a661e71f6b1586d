//! `--security-opt`, `--cap-add` and `--cap-drop` in the forms that the API takes.

use std::collections::BTreeSet;

use crate::create::files;
use crate::failure::Failure;

/// What the security options say.
#[derive(Debug, Default)]
pub(crate) struct Security {
    /// What the daemon reads itself.
    pub options: Option<Vec<String>>,
    /// Whether nothing of `/proc` and `/sys` is hidden.
    pub system_paths_unconfined: bool,
}

/// Reads the options; seccomp profiles are read from their files.
pub(crate) fn parse(options: &[&str]) -> Result<Security, Failure> {
    let mut security = Security::default();
    let mut kept = Vec::new();
    for &option in options {
        if option == "systempaths=unconfined" {
            security.system_paths_unconfined = true;
            continue;
        }
        if option == "no-new-privileges" {
            kept.push(option.to_owned());
            continue;
        }
        // The colon is docker's spelling of old.
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(Failure::invalid(format!(
                "berth: Invalid --security-opt: \"{option}\""
            )));
        };
        if key == "seccomp" && !["unconfined", "builtin"].contains(&value) {
            kept.push(format!("seccomp={}", files::seccomp_profile(value)?));
        } else {
            kept.push(option.to_owned());
        }
    }
    if !options.is_empty() {
        security.options = Some(kept);
    }
    Ok(security)
}

/// Returns the names as `CAP_X` or `ALL`, sorted, each once.
pub(crate) fn capabilities(names: &[&str]) -> Option<Vec<String>> {
    let names: BTreeSet<String> = names
        .iter()
        .map(|name| {
            let name = name.trim().to_ascii_uppercase();
            if name == "ALL" || name.starts_with("CAP_") {
                name
            } else {
                format!("CAP_{name}")
            }
        })
        .collect();
    if names.is_empty() {
        None
    } else {
        Some(names.into_iter().collect())
    }
}
