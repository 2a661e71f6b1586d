//! A module's name is a noun of the glossary, never a drawer for things without a place.

use super::{Finding, Tree};

const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.sources() {
        let parts = file.path.split('/').map(|part| part.trim_end_matches(".rs"));
        for part in parts {
            if DRAWERS.contains(&part) {
                findings.push(Finding::error(
                    &file.path,
                    1,
                    format!("\"{part}\" says nothing: name the module after what it is about"),
                ));
            }
        }
        for (index, line) in super::source::code(&file.text).lines().enumerate() {
            let declared = line
                .trim()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ")
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(" {"));
            if declared.is_some_and(|name| DRAWERS.contains(&name)) {
                findings.push(Finding::error(
                    &file.path,
                    index + 1,
                    "name the module after what it is about",
                ));
            }
        }
        let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
        if is_root && !file.text.starts_with("//!") {
            findings.push(Finding::error(
                &file.path,
                1,
                "begins without a module comment: what the crate does, what it must not know, where to start",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_found_as_files_directories_and_inline() {
        let tree = Tree::of(&[
            ("crates/a/src/utils.rs", "//! x\n"),
            ("crates/a/src/common/x.rs", "//! x\n"),
            ("crates/a/src/b.rs", "//! x\nmod helpers {\n}\n"),
            ("crates/a/src/container.rs", "//! x\nmod tests {\n}\n"),
        ]);
        let found: Vec<_> = check(&tree).iter().map(|f| (f.path.clone(), f.line)).collect();
        assert_eq!(
            found,
            [
                ("crates/a/src/utils.rs".to_owned(), 1),
                ("crates/a/src/common/x.rs".to_owned(), 1),
                ("crates/a/src/b.rs".to_owned(), 2)
            ]
        );
    }

    #[test]
    fn a_crate_says_what_it_is() {
        assert_eq!(check(&Tree::of(&[("crates/a/src/lib.rs", "mod x;\n")])).len(), 1);
    }
}
