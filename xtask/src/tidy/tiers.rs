//! Order is architecture: a crate depends only on crates of a lower tier, and siblings are strangers.

use super::manifest::{self, Table};
use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(root) = tree.get("Cargo.toml") else {
        return vec![Finding::error("Cargo.toml", 1, "no root manifest")];
    };
    let members = manifest::members(&root.text);
    for pair in members.windows(2) {
        if let [before, after] = pair
            && let (Some(above), Some(below)) = (before.tier, after.tier)
            && below < above
        {
            findings.push(Finding::error(
                "Cargo.toml",
                after.line,
                format!("\"{}\" of tier {below} is listed below tier {above}", after.path),
            ));
        }
    }
    for member in &members {
        if member.path.starts_with("crates/") && member.tier.is_none() {
            findings.push(Finding::error(
                "Cargo.toml",
                member.line,
                format!(
                    "\"{}\" is in no tier: put it under a `# tier N` comment",
                    member.path
                ),
            ));
        }
    }
    for (member, file) in manifest::manifests(tree) {
        if !file.text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::error(
                &file.path,
                1,
                "`[lints] workspace = true` is missing",
            ));
        }
        for dependency in manifest::dependencies(&file.text) {
            if !dependency.from_workspace {
                findings.push(Finding::error(
                    &file.path,
                    dependency.line,
                    format!(
                        "\"{}\" must be `.workspace = true`: one version and one feature set for all crates",
                        dependency.name
                    ),
                ));
            }
            let Some(tier) = member.tier else { continue };
            let Some(target) = members.iter().find(|other| other.name() == dependency.name) else {
                continue;
            };
            let problem = match target.tier {
                Some(below) if below > tier => None,
                Some(below) if below == tier => {
                    Some(format!("a sibling in tier {tier}; they meet in a higher tier"))
                }
                Some(above) => Some(format!("in tier {above}, above tier {tier}")),
                None if dependency.table == Table::Dev => None,
                None => Some("outside the tiers".to_owned()),
            };
            if let Some(problem) = problem {
                findings.push(Finding::error(
                    &file.path,
                    dependency.line,
                    format!(
                        "\"{}\" may not depend on \"{}\": {problem}",
                        member.name(),
                        target.name()
                    ),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\n# tier 1\n\"crates/top\",\n# tier 2\n\"crates/left\",\n\
                        \"crates/right\",\n# tier 3\n\"crates/low\",\n# outside the tiers\n\"testkit\",\n]\n";
    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn found(manifest: &str) -> Vec<String> {
        let text = format!("{LINTS}{manifest}");
        let tree = Tree::of(&[("Cargo.toml", ROOT), ("crates/left/Cargo.toml", &text)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn downwards_is_fine() {
        assert!(found("[dependencies]\nlow.workspace = true\nserde.workspace = true\n").is_empty());
        assert!(found("[dev-dependencies]\ntestkit.workspace = true\n").is_empty());
    }

    #[test]
    fn siblings_callers_and_outsiders_are_not() {
        assert_eq!(
            found("[dependencies]\nright.workspace = true\n"),
            [
                "crates/left/Cargo.toml:4: error: \"left\" may not depend on \"right\": a sibling in tier 2; they meet \
              in a higher tier"
            ]
        );
        assert_eq!(
            found("[dev-dependencies]\ntop.workspace = true\n"),
            ["crates/left/Cargo.toml:4: error: \"left\" may not depend on \"top\": in tier 1, above tier 2"]
        );
        assert_eq!(found("[dependencies]\ntestkit.workspace = true\n").len(), 1);
    }

    #[test]
    fn own_versions_are_refused() {
        assert_eq!(found("[dependencies]\nserde = \"1\"\n").len(), 1);
    }

    #[test]
    fn members_must_have_a_tier_in_order() {
        let root = "[workspace]\nmembers = [\n\"crates/free\",\n# tier 2\n\"crates/a\",\n# tier 1\n\"crates/b\",\n]\n";
        let lines: Vec<_> = check(&Tree::of(&[("Cargo.toml", root)]))
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [7, 3]);
    }
}
