//! Go templates with docker's functions, over JSON values.

use gotmpl::{MissingKey, Template, TemplateError, Value};

use crate::failure::Failure;

/// A parsed template.
pub(crate) struct Program(Template);

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Program")
    }
}

impl Program {
    /// Parses a template; the escapes `\n`, `\t` and `\"` of the shell's single quotes mean what they mean in docker.
    pub(crate) fn parse(source: &str) -> Result<Self, Failure> {
        let source = source.replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::new("")
            .missing_key(MissingKey::Error)
            .func("json", |arguments| {
                let json = arguments.first().map_or(serde_json::Value::Null, to_json);
                Ok(Value::from(json.to_string()))
            })
            .func("split", |arguments| {
                let (text, separator) = two_texts("split", arguments)?;
                let parts: Vec<Value> = if separator.is_empty() {
                    text.chars()
                        .map(|character| Value::from(character.to_string()))
                        .collect()
                } else {
                    text.split(separator).map(Value::from).collect()
                };
                Ok(Value::from(parts))
            })
            .func("join", |arguments| match arguments {
                [Value::List(parts), separator] => {
                    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                    Ok(Value::from(parts.join(separator.as_str().unwrap_or_default())))
                }
                // A list that is null has nothing to join.
                [Value::Nil, _] => Ok(Value::from("")),
                _ => Err(wrong("join", "a list and a separator are needed")),
            })
            .func("lower", |arguments| {
                one_text("lower", arguments).map(|text| Value::from(text.to_lowercase()))
            })
            .func("upper", |arguments| {
                one_text("upper", arguments).map(|text| Value::from(text.to_uppercase()))
            })
            .func("title", |arguments| {
                one_text("title", arguments).map(|text| Value::from(title(text)))
            })
            .func("pad", |arguments| match arguments {
                [Value::String(text), before, after] => {
                    let blanks = |value: &Value| {
                        usize::try_from(value.as_int().unwrap_or_default())
                            .unwrap_or_default()
                            .min(4096)
                    };
                    if text.is_empty() {
                        return Ok(Value::from(""));
                    }
                    Ok(Value::from(format!(
                        "{}{text}{}",
                        " ".repeat(blanks(before)),
                        " ".repeat(blanks(after))
                    )))
                }
                _ => Err(wrong("pad", "a text and two numbers are needed")),
            })
            .func("truncate", |arguments| match arguments {
                [Value::String(text), length] => {
                    let length = usize::try_from(length.as_int().unwrap_or_default()).unwrap_or_default();
                    Ok(Value::from(text.chars().take(length).collect::<String>()))
                }
                _ => Err(wrong("truncate", "a text and a number are needed")),
            })
            .func("label", |arguments| match arguments {
                [row, Value::String(name)] => {
                    let labels = row.field(LABELS);
                    let value = labels
                        .and_then(|labels| labels.field(name))
                        .and_then(Value::as_str);
                    Ok(Value::from(value.unwrap_or_default()))
                }
                _ => Err(wrong("Label", "a name is needed")),
            });
        // Methods with arguments are functions here.
        let source = source.replace(".Label ", "label . ");
        match template.parse(&source) {
            Ok(template) => Ok(Self(template)),
            Err(error) => Err(failure(&error)),
        }
    }

    /// As [`Self::parse`] for data whose fields have other names in Go than in JSON: `(Go, JSON)`.
    pub(crate) fn parse_renamed(source: &str, names: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::parse(&rename_fields(source, names))
    }

    /// Returns what the template makes of `data`.
    pub(crate) fn execute(&self, data: &Value) -> Result<String, Failure> {
        self.0.execute_to_string(data).map_err(|error| failure(&error))
    }
}

/// The key below which a row keeps its labels as a map.
pub(crate) const LABELS: &str = "\u{0}labels";

/// Replaces names of fields inside the actions of a template.
fn rename_fields(source: &str, names: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").map_or(rest.len(), |end| start + end);
        text.push_str(&rest[..start]);
        let mut action = &rest[start..end];
        while let Some(dot) = action.find('.') {
            let (before, after) = action.split_at(dot + 1);
            text.push_str(before);
            let length = after
                .find(|character: char| !character.is_alphanumeric() && character != '_')
                .unwrap_or(after.len());
            let (name, after) = after.split_at(length);
            let renamed = names.iter().find(|(from, _)| *from == name);
            text.push_str(renamed.map_or(name, |(_, to)| to));
            action = after;
        }
        text.push_str(action);
        rest = &rest[end..];
    }
    text.push_str(rest);
    text
}

fn failure(error: &TemplateError) -> Failure {
    Failure::Message {
        message: format!("template parsing error: {error}"),
        code: 1,
    }
}

fn wrong(function: &str, reason: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {function}: {reason}"))
}

fn one_text<'a>(function: &str, arguments: &'a [Value]) -> Result<&'a str, TemplateError> {
    match arguments {
        [Value::String(text)] => Ok(text),
        _ => Err(wrong(function, "one text is needed")),
    }
}

fn two_texts<'a>(function: &str, arguments: &'a [Value]) -> Result<(&'a str, &'a str), TemplateError> {
    match arguments {
        [Value::String(first), Value::String(second)] => Ok((first, second)),
        _ => Err(wrong(function, "two texts are needed")),
    }
}

/// Makes the first letter of each word a capital.
fn title(text: &str) -> String {
    let mut at_start = true;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        if at_start {
            titled.extend(character.to_uppercase());
        } else {
            titled.push(character);
        }
        at_start = !(character.is_alphanumeric() || character == '_' || character == '\'');
    }
    titled
}

/// Returns a JSON value as data for a template.
pub(crate) fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Uint(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => Value::from(list.iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), from_json(value)));
            Value::from(entries.collect::<std::collections::BTreeMap<String, Value>>())
        }
    }
}

/// Returns a template's data as JSON.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(truth) => serde_json::Value::Bool(*truth),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => serde_json::Value::String(text.to_string()),
        Value::List(list) => serde_json::Value::Array(list.iter().map(to_json).collect()),
        Value::Map(map) => {
            let visible = map.iter().filter(|(key, _)| &***key != LABELS);
            serde_json::Value::Object(
                visible
                    .map(|(key, value)| (key.to_string(), to_json(value)))
                    .collect(),
            )
        }
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str, data: &serde_json::Value) -> String {
        Program::parse(source).unwrap().execute(&from_json(data)).unwrap()
    }

    #[test]
    fn dockers_functions() {
        let data = serde_json::json!({"S": "a,b", "L": ["x", "y"], "N": 5, "M": {"k": "v"}, "Z": null});
        for (source, expected) in [
            (
                "{{json .}}",
                r#"{"L":["x","y"],"M":{"k":"v"},"N":5,"S":"a,b","Z":null}"#,
            ),
            ("{{join .L \"-\"}}", "x-y"),
            ("{{join .Z \"-\"}}", ""),
            ("{{index (split .S \",\") 1}}", "b"),
            ("{{upper .S}}{{lower \"X\"}}{{title \"foo bar\"}}", "A,BxFoo Bar"),
            ("[{{pad .S 1 2}}]", "[ a,b  ]"),
            ("{{truncate .S 2}}", "a,"),
            ("{{println .N}}", "5\n"),
            ("{{range .L}}{{.}};{{end}}{{.M.k}}{{.M}}", "x;y;vmap[k:v]"),
            ("a\\tb\\n", "a\tb\n"),
        ] {
            assert_eq!(run(source, &data), expected, "{source}");
        }
    }

    #[test]
    fn names_of_go() {
        let names = [("APIVersion", "ApiVersion"), ("ID", "Id")];
        for (source, expected) in [
            (
                "{{.Server.APIVersion}} .APIVersion {{ .MinAPIVersion }}",
                "{{.Server.ApiVersion}} .APIVersion {{ .MinAPIVersion }}",
            ),
            ("{{json .}}{{.ID}}{{.IDs}}", "{{json .}}{{.Id}}{{.IDs}}"),
            ("{{.ID", "{{.Id"),
            ("é.ID", "é.ID"),
        ] {
            assert_eq!(rename_fields(source, &names), expected);
        }
    }

    #[test]
    fn labels_by_name() {
        let row = serde_json::json!({"ID": "x", LABELS: {"a.b": "c"}});
        assert_eq!(run("{{.Label \"a.b\"}}|{{.Label \"no\"}}", &row), "c|");
        assert_eq!(run("{{json .}}", &row), "{\"ID\":\"x\"}");
    }

    #[test]
    fn errors_are_reported() {
        assert!(Program::parse("{{.X").is_err());
        let program = Program::parse("{{.X}}").unwrap();
        assert!(program.execute(&from_json(&serde_json::json!({}))).is_err());
    }
}
