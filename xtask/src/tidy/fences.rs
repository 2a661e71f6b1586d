//! The two fences: the Docker API's structs stay at the edges, and the kernel stays behind `sys`.

use super::source::code;
use super::{Finding, Tree, manifest};

/// Who may name the structs of the Docker API.
const API_TYPES: &[&str] = &["cli", "client", "server"];

/// Who may use libc's constants besides sys: numbers of signals, errnos and flags need no call and no `unsafe`.
const CONSTANTS: &[&str] = &["cgroup", "cli", "runtime", "shim"];

/// Files outside `crates/sys` that may say `unsafe` or name libc's functions, each with its reason.
const KERNEL_EXCEPTIONS: &[(&str, &str)] = &[(
    "benches/src/bin/floor.rs",
    "measures the system calls themselves, without the wrappers of crates/sys",
)];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (member, file) in manifest::manifests(tree) {
        for dependency in manifest::dependencies(&file.text) {
            if dependency.name == "api-types" && !API_TYPES.contains(&member.name()) {
                findings.push(Finding::error(
                    &file.path,
                    dependency.line,
                    format!(
                        "only {} may use api-types: speak the engine's own types",
                        API_TYPES.join(", ")
                    ),
                ));
            }
            let may_use_libc = member.name() == "sys" || CONSTANTS.contains(&member.name());
            if dependency.name == "libc" && member.path.starts_with("crates/") && !may_use_libc {
                findings.push(Finding::error(
                    &file.path,
                    dependency.line,
                    format!(
                        "only sys may use libc, and for constants {}",
                        CONSTANTS.join(", ")
                    ),
                ));
            }
        }
    }
    for file in tree.sources() {
        let excepted = KERNEL_EXCEPTIONS.iter().any(|&(path, _)| path == file.path);
        if excepted || file.path.starts_with("crates/sys/") {
            continue;
        }
        for (index, line) in code(&file.text).lines().enumerate() {
            if has_word(line, "unsafe") {
                findings.push(Finding::error(
                    &file.path,
                    index + 1,
                    "`unsafe` outside crates/sys: add a safe function there",
                ));
            }
            if let Some(name) = libc_call(line) {
                findings.push(Finding::error(
                    &file.path,
                    index + 1,
                    format!("`libc::{name}` outside crates/sys: only its constants are free"),
                ));
            }
        }
    }
    findings
}

/// What `line` uses of libc that is no constant: a function, a type, or all of it.
fn libc_call(line: &str) -> Option<&str> {
    line.match_indices("libc::").find_map(|(at, path)| {
        let rest = &line[at + path.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let name = &rest[..end];
        let is_constant = !name.is_empty() && !name.contains(|c: char| c.is_ascii_lowercase());
        (!is_constant).then_some(name)
    })
}

/// Whether `line` holds `word` and no longer identifier around it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends_in_word = word.ends_with(part_of_word);
        !(before.is_some_and(part_of_word) || ends_in_word && after.is_some_and(part_of_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn unsafe_and_libc_stay_in_sys() {
        let text = "fn f() {\n    unsafe { libc::close(0) };\n}\n";
        assert!(found("crates/sys/src/fd.rs", text).is_empty());
        assert!(found("benches/src/bin/floor.rs", text).is_empty());
        assert_eq!(
            found("crates/engine/src/x.rs", text),
            [
                "crates/engine/src/x.rs:2: error: `unsafe` outside crates/sys: add a safe function there",
                "crates/engine/src/x.rs:2: error: `libc::close` outside crates/sys: only its constants are free"
            ]
        );
    }

    #[test]
    fn constants_of_libc_are_free() {
        assert!(
            found(
                "crates/shim/src/x.rs",
                "let a = libc::SIGTERM | libc::O_CLOEXEC;\n"
            )
            .is_empty()
        );
        assert_eq!(
            found("crates/shim/src/x.rs", "use libc::*;\nlet a: libc::c_int = 1;\n").len(),
            2
        );
    }

    #[test]
    fn words_in_comments_strings_and_names_are_free() {
        let text = "#![deny(unsafe_code)]\n// unsafe is for sys\nconst A: &str = \"libc::x\"; // unsafe\n";
        assert!(found("crates/engine/src/x.rs", text).is_empty());
    }

    #[test]
    fn api_types_stay_at_the_edges() {
        let root = "[workspace]\nmembers = [\n# tier 1\n\"crates/server\",\n\"crates/engine\",\n]\n";
        let manifest = "[dependencies]\napi-types.workspace = true\n";
        let tree = Tree::of(&[
            ("Cargo.toml", root),
            ("crates/server/Cargo.toml", manifest),
            ("crates/engine/Cargo.toml", manifest),
        ]);
        let paths: Vec<_> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["crates/engine/Cargo.toml"]);
    }
}
