//! `search`: asks a registry for images by a word.

use api_types::registry::SearchResult;

use crate::command::{FILTER, FORMAT, filters};
use crate::credentials;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::list::{Layout, Row};
use crate::format::text::ellipsis;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["search"],
    aliases: &[],
    usage: "[OPTIONS] TERM",
    about: "Search a registry for images",
    flags: &[&[
        FILTER.short('f'),
        FORMAT,
        one("limit", "int", "Most results").check(crate::check::integer),
        switch("no-trunc", "Do not cut anything short"),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

/// How much of a description is shown.
const DESCRIPTION: usize = 45;

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    columns: &["Name", "Description", "StarCount", "IsOfficial"],
    quiet: "Name",
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(term) = arguments.positionals.first() else {
        return Ok(1);
    };
    let auth = credentials::for_index(session, term)?;
    let client = session.connect().await?;
    let results = client
        .search_images(term, arguments.number_if_set("limit"), &filters(arguments), &auth)
        .await?;
    let truncate = !arguments.switch("no-trunc");
    // A template's flags are words, the table's are marks.
    let marks = matches!(arguments.text("format"), "" | "table");
    let rows: Vec<Row> = results
        .iter()
        .map(|result| row(result, truncate, marks))
        .collect();
    LAYOUT.print(arguments.text("format"), false, &rows)?;
    Ok(0)
}

fn row(result: &SearchResult, truncate: bool, marks: bool) -> Row {
    let flag = |on: bool| match (marks, on) {
        (true, true) => "[OK]".to_owned(),
        (true, false) => String::new(),
        (false, on) => on.to_string(),
    };
    let description = result.description.replace(['\n', '\r'], " ");
    Row {
        fields: vec![
            ("Name", result.name.clone()),
            (
                "Description",
                if truncate {
                    ellipsis(&description, DESCRIPTION)
                } else {
                    description
                },
            ),
            ("StarCount", result.star_count.to_string()),
            ("IsOfficial", flag(result.is_official)),
            ("IsAutomated", flag(result.is_automated)),
        ],
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_result() {
        let result = SearchResult {
            star_count: 7,
            is_official: true,
            name: "h:1/a".to_owned(),
            is_automated: false,
            description: format!("two\nlines{}", "x".repeat(60)),
        };
        let short = row(&result, true, true);
        assert_eq!(short.field("Description").chars().count(), DESCRIPTION);
        assert!(short.field("Description").starts_with("two lines"));
        assert_eq!(
            (short.field("IsOfficial"), short.field("StarCount")),
            ("[OK]", "7")
        );
        let long = row(&result, false, false);
        assert_eq!(
            (long.field("IsOfficial"), long.field("IsAutomated")),
            ("true", "false")
        );
        assert_eq!(long.field("Description").len(), 69);
    }
}
