//! Names of volumes.

/// Returns whether `name` is one that docker takes: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 bytes. A valid name is
/// one component of a path and never hidden.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && (2..=255).contains(&name.len())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_components() {
        for (name, good) in [
            ("data", true),
            ("a.b_c-1", true),
            ("a", false),
            ("", false),
            (".hidden", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(is_valid(name), good, "{name}");
        }
        assert!(!is_valid(&"x".repeat(256)));
    }
}
