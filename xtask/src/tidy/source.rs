//! Rust source without its comments and literals, so that a word is only found where it is code.

/// Returns `text` with comments, string and character literals replaced by spaces; line breaks stay.
pub(super) fn code(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let blank = comment(rest).or_else(|| literal(rest, output.chars().next_back()));
        let length = blank.unwrap_or(c.len_utf8());
        let (taken, after) = rest.split_at(length);
        if blank.is_some() {
            output.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            output.push(c);
        }
        rest = after;
    }
    output
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// The length of the literal that `text` begins with; `before` is the character before it.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with('"') {
        return Some(quoted(text, 0, '"'));
    }
    if !inside_word {
        for prefix in ["b", "c"] {
            if text.starts_with(&format!("{prefix}\"")) {
                return Some(quoted(text, 1, '"'));
            }
        }
        if let Some(length) = raw(text) {
            return Some(length);
        }
    }
    if text.starts_with('\'') {
        let mut rest = text.chars().skip(1);
        let (first, second) = (rest.next()?, rest.next()?);
        // Otherwise it is a lifetime.
        if first == '\\' || second == '\'' {
            return Some(quoted(text, 0, '\''));
        }
    }
    None
}

/// The length of a literal with escapes whose opening quote is at `start`.
fn quoted(text: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text[start + 1..].char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return start + 1 + at + 1;
        }
    }
    text.len()
}

/// The length of a raw string.
fn raw(text: &str) -> Option<usize> {
    let body = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    if !body[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len() + hashes + 1;
    Some(
        text[start..]
            .find(&end)
            .map_or(text.len(), |at| start + at + end.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        code(text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(words("a /* x /* y */ z */ b // c\nd"), "a b d");
        assert_eq!(words(r#"f("x \" y", b"z", 'q', '\'')"#), "f( , , , )");
        assert_eq!(words("r#\"a \" b\"# + br\"c\""), "+");
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    }

    #[test]
    fn lines_stay_where_they_are() {
        assert_eq!(code("/*\n\n*/x\n\"\n\"y").lines().count(), 5);
    }

    #[test]
    fn unfinished_text_ends_quietly() {
        for text in ["/*", "\"abc", "r#\"abc", "'\\", "'"] {
            assert_eq!(code(text).len(), text.len(), "{text}");
        }
    }
}
