//! Just enough of Cargo's manifests: the members with their tiers, and the dependencies with their lines.

use super::Tree;

/// A member of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The directory, such as `crates/engine`.
    pub(super) path: String,
    /// `None` outside the tiers.
    pub(super) tier: Option<u32>,
    /// Its line in the root manifest, from 1.
    pub(super) line: usize,
}

impl Member {
    /// The crate's name: the last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Returns the members in the order of the root manifest. A comment `tier N` begins a tier; any other comment line
/// that says `outside the tiers` ends them.
pub(super) fn members(root: &str) -> Vec<Member> {
    let mut members = Vec::new();
    let mut inside = false;
    let mut tier = None;
    for (index, line) in root.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("members = [") {
            inside = true;
        } else if inside && line.starts_with(']') {
            break;
        } else if inside {
            if let Some(comment) = line.strip_prefix('#') {
                tier = tier_of(comment);
            } else if let Some(path) = line.split('"').nth(1) {
                members.push(Member {
                    path: path.to_owned(),
                    tier,
                    line: index + 1,
                });
            }
        }
    }
    members
}

fn tier_of(comment: &str) -> Option<u32> {
    let rest = comment.trim().strip_prefix("tier ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// In which table a dependency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Normal,
    Dev,
}

/// One dependency of a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) table: Table,
    /// Whether its version and features come from the workspace.
    pub(super) from_workspace: bool,
    /// From 1.
    pub(super) line: usize,
}

/// Returns the dependencies of a member's manifest, in order.
pub(super) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table = None;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            table = match line.trim_matches(['[', ']']) {
                "dependencies" | "build-dependencies" => Some(Table::Normal),
                "dev-dependencies" => Some(Table::Dev),
                other if other.starts_with("target.") && other.ends_with("dev-dependencies") => {
                    Some(Table::Dev)
                }
                other if other.starts_with("target.") && other.ends_with("dependencies") => {
                    Some(Table::Normal)
                }
                _ => None,
            };
            continue;
        }
        let Some(table) = table else { continue };
        if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let (name, attribute) = key.trim().split_once('.').unwrap_or((key.trim(), ""));
            found.push(Dependency {
                name: name.trim_matches('"').to_owned(),
                table,
                from_workspace: attribute == "workspace" || value.contains("workspace = true"),
                line: index + 1,
            });
        }
    }
    found
}

/// Returns the members of `tree` with their manifests' paths and texts.
pub(super) fn manifests(tree: &Tree) -> Vec<(Member, &super::File)> {
    let Some(root) = tree.get("Cargo.toml") else {
        return Vec::new();
    };
    members(&root.text)
        .into_iter()
        .filter_map(|member| {
            let file = tree.get(&format!("{}/Cargo.toml", member.path))?;
            Some((member, file))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_carry_their_tier() {
        let members = members(
            "[workspace]\nmembers = [\n  # tier 1: the program\n  \"crates/berth\",\n  # tier 10\n  \
             \"crates/base\",\n  # outside the tiers\n  \"xtask\",\n]\n",
        );
        let seen: Vec<_> = members.iter().map(|m| (m.name(), m.tier, m.line)).collect();
        assert_eq!(
            seen,
            [("berth", Some(1), 4), ("base", Some(10), 6), ("xtask", None, 8)]
        );
    }

    #[test]
    fn dependencies_in_all_spellings() {
        let found = dependencies(
            "[package]\nname = \"x\"\n[dependencies]\nbase.workspace = true\n# tar = \"1\"\ntar = \"0.4\"\n\
             [dev-dependencies]\noci = { workspace = true, features = [\"x\"] }\n[lints]\nworkspace = true\n",
        );
        let seen: Vec<_> = found
            .iter()
            .map(|d| (d.name.as_str(), d.table, d.from_workspace, d.line))
            .collect();
        assert_eq!(
            seen,
            [
                ("base", Table::Normal, true, 4),
                ("tar", Table::Normal, false, 6),
                ("oci", Table::Dev, true, 8)
            ]
        );
    }
}
