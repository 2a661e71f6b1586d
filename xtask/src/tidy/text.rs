//! What is true of every line: a promise has an issue number, a long file has a reason.

use super::fences::has_word;
use super::{File, Finding, Tree};

/// Above this a file needs the words "long because" in its module comment.
const LONG_FILE: usize = 800;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let is_text = [".rs", ".md", ".toml", ".sh", ".py", ".ci/run"]
            .iter()
            .any(|ending| file.path.ends_with(ending));
        // This check names the words that it looks for.
        if is_text && !file.path.starts_with("xtask/src/tidy") {
            promises(file, &mut findings);
        }
    }
    for file in tree.sources() {
        let lines = file.text.lines().count();
        let module_comment = file.text.lines().take_while(|line| line.starts_with("//!"));
        if lines > LONG_FILE
            && !module_comment
                .into_iter()
                .any(|line| line.contains("long because"))
        {
            findings.push(Finding::warning(
                &file.path,
                1,
                format!("{lines} lines: split it, or say \"long because …\" in the module comment"),
            ));
        }
    }
    findings
}

/// `TODO(#12)` is a plan; a bare one is a wish.
fn promises(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for word in ["TODO", "FIXME", "XXX"] {
            let Some(at) = line.find(word).filter(|_| has_word(line, word)) else {
                continue;
            };
            let rest = &line[at + word.len()..];
            let numbered = rest
                .strip_prefix("(#")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if !numbered {
                findings.push(Finding::error(
                    &file.path,
                    index + 1,
                    format!("{word} without an issue number: write {word}(#12), or do it"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn promises_have_numbers() {
        assert_eq!(
            lines("a.rs", "// TODO: later\n// TODO(#7): x\n// FIXME\n// TODOS\n"),
            [1, 3]
        );
        assert!(lines("a.json", "TODO").is_empty());
    }

    #[test]
    fn long_files_have_reasons() {
        let long = "x\n".repeat(801);
        assert_eq!(lines("a.rs", &long), [1]);
        assert!(
            lines(
                "a.rs",
                &format!("//! A table, long because the kernel's is.\n{long}")
            )
            .is_empty()
        );
    }
}
