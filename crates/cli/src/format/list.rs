//! Lists of objects: as a table, by a template, or as one JSON document per line (`--format`).

use std::collections::BTreeMap;

use gotmpl::Value;

use crate::failure::Failure;
use crate::format::table;
use crate::format::template::{LABELS, Program};
use crate::format::text::harmless;
use crate::output;

/// One object: the values of its fields, and its labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Name and value of each field.
    pub fields: Vec<(&'static str, String)>,
    /// What `.Label "name"` finds.
    pub labels: BTreeMap<String, String>,
}

/// What a kind of list looks like.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    /// The fields with their headings, all that there are.
    pub headings: &'a [(&'static str, &'static str)],
    /// The fields that the plain table shows.
    pub columns: &'a [&'static str],
    /// The field that `--quiet` shows.
    pub quiet: &'static str,
}

impl Layout<'_> {
    /// Returns the list in the wanted format.
    pub(crate) fn render(&self, format: &str, quiet: bool, rows: &[Row]) -> Result<String, Failure> {
        let plain = matches!(format, "" | "table");
        if quiet && plain {
            let ids = rows.iter().map(|row| row.field(self.quiet));
            return Ok(ids.map(|id| format!("{id}\n")).collect());
        }
        match format {
            "" | "table" => Ok(self.table(rows)),
            "json" => Self::by_template("{{json .}}", rows),
            format => match format.strip_prefix("table") {
                Some(template) => self.table_by_template(template.trim_start(), rows),
                None => Self::by_template(format, rows),
            },
        }
    }

    /// Prints the list in the wanted format.
    pub(crate) fn print(&self, format: &str, quiet: bool, rows: &[Row]) -> Result<(), Failure> {
        output::out(&self.render(format, quiet, rows)?)
    }

    fn heading(&self, field: &str) -> &'static str {
        let found = self.headings.iter().find(|(name, _)| *name == field);
        found.map_or("", |(_, heading)| heading)
    }

    fn table(&self, rows: &[Row]) -> String {
        let mut text = String::new();
        let headings: Vec<&str> = self.columns.iter().map(|column| self.heading(column)).collect();
        text.push_str(&headings.join("\t"));
        text.push('\n');
        for row in rows {
            let cells: Vec<String> = self
                .columns
                .iter()
                .map(|column| cell(row.field(column)))
                .collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        table::align(&text)
    }

    fn by_template(template: &str, rows: &[Row]) -> Result<String, Failure> {
        let program = Program::parse(template)?;
        let mut text = String::new();
        for row in rows {
            text.push_str(&program.execute(&row.to_value())?);
            text.push('\n');
        }
        Ok(text)
    }

    fn table_by_template(&self, template: &str, rows: &[Row]) -> Result<String, Failure> {
        let program = Program::parse(template)?;
        let headings = Row {
            fields: self
                .headings
                .iter()
                .copied()
                .map(|(field, heading)| (field, heading.to_owned()))
                .collect(),
            labels: label_headings(template),
        };
        let mut text = program.execute(&headings.to_value())?;
        text.push('\n');
        for row in rows {
            let row = Row {
                fields: row
                    .fields
                    .iter()
                    .map(|(field, value)| (*field, cell(value)))
                    .collect(),
                labels: row.labels.clone(),
            };
            text.push_str(&program.execute(&row.to_value())?);
            text.push('\n');
        }
        Ok(table::align(&text))
    }
}

impl Row {
    /// Returns a field's value.
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| *field == name);
        found.map_or("", |(_, value)| value)
    }

    fn to_value(&self) -> Value {
        let mut map: BTreeMap<String, Value> = self
            .fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        map.insert(
            LABELS.to_owned(),
            Value::from(labels.collect::<BTreeMap<String, Value>>()),
        );
        Value::from(map)
    }
}

/// Keeps a cell in its line and column.
fn cell(text: &str) -> String {
    harmless(text).replace('\t', " ")
}

/// Returns headings for the labels that a template names: the last part of the name, spelled for people.
fn label_headings(template: &str) -> BTreeMap<String, String> {
    let names = template
        .split(".Label ")
        .skip(1)
        .filter_map(|after| after.trim_start().strip_prefix('"')?.split('"').next());
    names
        .map(|name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            (name.to_owned(), last.replace(['-', '_'], " "))
        })
        .collect()
}

/// Returns labels as `a=b,c=d`.
pub(crate) fn joined_labels(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout<'static> = Layout {
        headings: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Status", "STATUS")],
        columns: &["ID", "Names"],
        quiet: "ID",
    };

    fn rows() -> Vec<Row> {
        vec![Row {
            fields: vec![
                ("ID", "0123456789ab".into()),
                ("Names", "x\u{1b}y".into()),
                ("Status", "Up".into()),
            ],
            labels: BTreeMap::from([("com.a-b".to_owned(), "v".to_owned())]),
        }]
    }

    #[test]
    fn formats() {
        for (format, quiet, expected) in [
            ("", false, "CONTAINER ID   NAMES\n0123456789ab   x\u{fffd}y\n"),
            ("table", true, "0123456789ab\n"),
            ("{{.ID}}:{{.Status}}", true, "0123456789ab:Up\n"),
            (
                "json",
                false,
                "{\"ID\":\"0123456789ab\",\"Names\":\"x\\u001by\",\"Status\":\"Up\"}\n",
            ),
            (
                "table {{.Status}}\\t{{.Label \"com.a-b\"}}",
                false,
                "STATUS    a b\nUp        v\n",
            ),
        ] {
            assert_eq!(
                LAYOUT.render(format, quiet, &rows()).unwrap(),
                expected,
                "{format}"
            );
        }
        assert_eq!(LAYOUT.render("", false, &[]).unwrap(), "CONTAINER ID   NAMES\n");
    }
}
