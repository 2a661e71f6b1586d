//! Documents name files and tests; both must exist.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        // The changelog speaks of files as they were.
        if file.path == "CHANGELOG.md" {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            for name in quoted(line) {
                if is_source_path(name) && !exists(tree, name) {
                    findings.push(Finding::error(
                        &file.path,
                        index + 1,
                        format!("there is no file `{name}`"),
                    ));
                }
            }
        }
    }
    for table in ["docs/seeds.md", "docs/security-tests.md"] {
        if let Some(table) = tree.get(table) {
            rows_name_their_tests(tree, table, &mut findings);
        }
    }
    findings
}

/// The words of `line` between single backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether `name` is meant as one file or directory of this repository.
fn is_source_path(name: &str) -> bool {
    let tops = [
        "crates/",
        "tests/",
        "testkit/",
        "benches/",
        "xtask/",
        "docs/",
        "packaging/",
    ];
    tops.iter().any(|top| name.starts_with(top)) && !name.contains(['*', ' ', '<', '…'])
}

fn exists(tree: &Tree, name: &str) -> bool {
    let name = name.trim_end_matches('/');
    let below = format!("{name}/");
    tree.files
        .iter()
        .any(|file| file.path == name || file.path.starts_with(&below))
}

/// Every row of the table of tests in `seeds` ends with a test's name in backticks, or with the words "not yet" or "not here".
fn rows_name_their_tests(tree: &Tree, seeds: &super::File, findings: &mut Vec<Finding>) {
    for (index, line) in seeds.text.lines().enumerate() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, id, .., test, _] = cells.as_slice() else {
            continue;
        };
        if *id == "id" || id.starts_with('-') || id.is_empty() {
            continue;
        }
        let names: Vec<_> = quoted(test).collect();
        if names.is_empty() && !test.starts_with("not yet") && !test.starts_with("not here") {
            findings.push(Finding::error(
                &seeds.path,
                index + 1,
                format!("row {id} names no test: write its name, or \"not yet\""),
            ));
        }
        for name in names {
            let function = format!("fn {name}(");
            if !tree.sources().any(|file| file.text.contains(&function)) {
                findings.push(Finding::error(
                    &seeds.path,
                    index + 1,
                    format!("there is no test `{name}`"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn files_must_exist() {
        let found = lines(&[
            ("crates/a/src/lib.rs", "//! x\n"),
            (
                "docs/run.md",
                "`crates/a/src/lib.rs` and `crates/a/` but\n`crates/a/src/gone.rs`, `crates/*/x.rs`\n",
            ),
        ]);
        assert_eq!(
            found,
            ["docs/run.md:2: error: there is no file `crates/a/src/gone.rs`"]
        );
    }

    #[test]
    fn seeds_name_tests_that_exist() {
        let found = lines(&[
            ("tests/tests/it/seeds.rs", "fn n04_child_is_pid_one() {}\n"),
            (
                "docs/seeds.md",
                "| id | row | test |\n|---|---|---|\n| N4 | x | `n04_child_is_pid_one` |\n| N5 | x | `gone` |\n\
                 | N6 | x | not yet |\n| N7 | x | |\n",
            ),
        ]);
        assert_eq!(
            found,
            [
                "docs/seeds.md:4: error: there is no test `gone`",
                "docs/seeds.md:6: error: row N7 names no test: write its name, or \"not yet\""
            ]
        );
    }
}
