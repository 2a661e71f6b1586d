//! A ceiling on what we stand on.

use super::{Finding, Tree};

/// How many packages Cargo.lock may hold, tests included. Raising it is a decision, not an accident.
const CEILING: usize = 260;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.get("Cargo.lock") else {
        return Vec::new();
    };
    let count = file.text.lines().filter(|line| *line == "[[package]]").count();
    if count <= CEILING {
        return Vec::new();
    }
    vec![Finding::error(
        "Cargo.lock",
        1,
        format!("{count} packages, {CEILING} are allowed: drop one, or raise the ceiling with a reason"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_packages() {
        let lock = |count| "[[package]]\nname = \"x\"\n".repeat(count);
        assert!(check(&Tree::of(&[("Cargo.lock", &lock(CEILING))])).is_empty());
        assert_eq!(check(&Tree::of(&[("Cargo.lock", &lock(CEILING + 1))])).len(), 1);
    }
}
