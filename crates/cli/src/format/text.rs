//! Texts that tables cut short.

/// Returns the first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// Returns a text of at most `width` characters; an ellipsis stands for what is missing.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Compares names so that numbers in them count as numbers: `web9` is before `web10`.
pub(crate) fn natural_order(left: &str, right: &str) -> std::cmp::Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (left_digits, right_digits) = (digits(left), digits(right));
        if left_digits > 0 && right_digits > 0 {
            let numbers = (
                left[..left_digits].trim_start_matches('0'),
                right[..right_digits].trim_start_matches('0'),
            );
            let order = numbers
                .0
                .len()
                .cmp(&numbers.1.len())
                .then(numbers.0.cmp(numbers.1));
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[left_digits..], &right[right_digits..]);
            continue;
        }
        let (mut left_rest, mut right_rest) = (left.chars(), right.chars());
        match (left_rest.next(), right_rest.next()) {
            (Some(left_first), Some(right_first)) if left_first == right_first => {
                (left, right) = (left_rest.as_str(), right_rest.as_str());
            }
            (left_first, right_first) => return left_first.cmp(&right_first),
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Returns a text in double quotes as Go's `strconv.Quote` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control.is_control() => {
                let code = u32::from(control);
                quoted.push_str(&if code < 0x80 {
                    format!("\\x{code:02x}")
                } else {
                    format!("\\u{code:04x}")
                });
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Makes text from a daemon harmless on a terminal: control characters but tab become visible.
pub(crate) fn harmless(text: &str) -> String {
    let is_control = |character: char| character.is_control() && character != '\t';
    if !text.contains(is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|character| {
            if is_control(character) {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["web10", "web9", "a", "web", "web09b", "web9a", "é2", "é10"];
        names.sort_by(|left, right| natural_order(left, right));
        assert_eq!(
            names,
            ["a", "web", "web9", "web9a", "web09b", "web10", "é2", "é10"]
        );
    }

    #[test]
    fn short_forms() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("sleep 1000000000000000", 20), "sleep 1000000000000…");
        assert_eq!(ellipsis("été", 3), "été");
        assert_eq!(quote("a\"b\\\n\u{1b}é"), "\"a\\\"b\\\\\\n\\x1bé\"");
        assert_eq!(harmless("a\u{1b}[2J\tb"), "a\u{fffd}[2J\tb");
    }
}
