//! Words as a Dockerfile writes them: quotes, backslashes and variables.

use std::iter::Peekable;
use std::str::Chars;

/// Splits `text` at blanks outside of quotes, then takes quotes and backslashes away and puts variables in.
pub(crate) fn split(text: &str, env: &[String]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        words.push(word(&mut chars, env, true)?);
    }
}

/// Takes quotes and backslashes away and puts variables in; blanks are kept.
pub(crate) fn expand(text: &str, env: &[String]) -> Result<String, String> {
    word(&mut text.chars().peekable(), env, false)
}

fn word(chars: &mut Peekable<Chars<'_>>, env: &[String], ends_at_blank: bool) -> Result<String, String> {
    let mut word = String::new();
    while let Some(&c) = chars.peek() {
        if ends_at_blank && c.is_whitespace() {
            break;
        }
        chars.next();
        match c {
            '\'' => loop {
                match chars.next() {
                    Some('\'') => break,
                    Some(c) => word.push(c),
                    None => {
                        return Err(
                            "unexpected end of statement while looking for matching single-quote".into(),
                        );
                    }
                }
            },
            '"' => loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => match chars.next() {
                        Some(c @ ('"' | '$' | '\\')) => word.push(c),
                        Some(c) => word.extend(['\\', c]),
                        None => word.push('\\'),
                    },
                    Some('$') => word.push_str(&variable(chars, env)?),
                    Some(c) => word.push(c),
                    None => {
                        return Err(
                            "unexpected end of statement while looking for matching double-quote".into(),
                        );
                    }
                }
            },
            '\\' => word.extend(chars.next()),
            '$' => word.push_str(&variable(chars, env)?),
            c => word.push(c),
        }
    }
    Ok(word)
}

/// Reads `NAME`, `{NAME}`, `{NAME:-default}` or `{NAME:+other}` after a dollar sign.
fn variable(chars: &mut Peekable<Chars<'_>>, env: &[String]) -> Result<String, String> {
    let value = |name: &str| {
        let prefix = format!("{name}=");
        env.iter()
            .rev()
            .find_map(|own| own.strip_prefix(&prefix))
            .unwrap_or_default()
            .to_owned()
    };
    let mut name = String::new();
    if chars.next_if_eq(&'{').is_none() {
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        return Ok(if name.is_empty() {
            "$".to_owned()
        } else {
            value(&name)
        });
    }
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    let broken = || "syntax error: bad substitution".to_owned();
    if name.is_empty() {
        return Err(broken());
    }
    let modifier = match chars.next() {
        Some('}') => return Ok(value(&name)),
        Some(':') => chars
            .next()
            .filter(|c| matches!(c, '-' | '+'))
            .ok_or_else(broken)?,
        _ => return Err(broken()),
    };
    let mut other = String::new();
    loop {
        match chars.next() {
            Some('}') => break,
            Some('$') => other.push_str(&variable(chars, env)?),
            Some(c) => other.push(c),
            None => return Err(broken()),
        }
    }
    let value = value(&name);
    Ok(match (modifier, value.is_empty()) {
        ('-', false) => value,
        ('-', true) | (_, false) => other,
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_expanded() {
        let env = ["A=1".to_owned(), "B=two words".to_owned()];
        let split = |text| split(text, &env).unwrap();
        assert_eq!(split(r#"a "b c" 'd $A' e\ f"#), ["a", "b c", "d $A", "e f"]);
        assert_eq!(split("x=$A y=${B} z=$NONE."), ["x=1", "y=two words", "z=."]);
        assert_eq!(
            split(r#""\$A" \$A ${NONE:-d$A} ${A:+set} ${NONE:+set}"#),
            ["$A", "$A", "d1", "set", ""]
        );
        assert_eq!(split("$ 5$"), ["$", "5$"]);
        for text in ["'a", "\"a", "${", "${A:", "${A:?x}", "${}"] {
            assert!(super::split(text, &env).is_err(), "{text}");
        }
    }
}
