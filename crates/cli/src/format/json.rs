//! JSON as it came, only with other white space: the order of keys is the daemon's.

/// Returns a JSON document with line feeds and four blanks per level, as Go's `json.Indent` writes it.
pub(crate) fn indent(document: &str) -> String {
    let mut text = String::with_capacity(document.len() * 2);
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut characters = document
        .chars()
        .filter(|character| !character.is_ascii_control())
        .peekable();
    while let Some(character) = characters.next() {
        if in_string {
            text.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                while characters.peek() == Some(&' ') {
                    characters.next();
                }
                if let Some(close @ ('}' | ']')) = characters.peek().copied() {
                    characters.next();
                    text.push(close);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            ' ' => {}
            '"' => {
                in_string = true;
                text.push('"');
            }
            other => text.push(other),
        }
    }
    text
}

fn line(text: &mut String, depth: usize) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str("    ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_strings() {
        let document = r#"[{"z":1,"a":{},"b":[ ],"s":"x: {\"y\", [ ]}","l":[1, 2]}]"#;
        let expected = "[\n    {\n        \"z\": 1,\n        \"a\": {},\n        \"b\": [],\n        \"s\": \"x: {\\\"y\\\", [ ]}\",\n        \"l\": [\n            1,\n            2\n        ]\n    }\n]";
        assert_eq!(indent(document), expected);
        assert_eq!(indent("[]"), "[]");
    }
}
