//! `history`: how an image was made.

use api_types::image::HistoryItem;
use base::clock::Timestamp;
use base::size::ShortSize;

use crate::command::FORMAT;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::list::{Layout, Row};
use crate::format::text::{ellipsis, short_id};
use crate::format::time::ago;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "history"],
    aliases: &[&["history"]],
    usage: "[OPTIONS] IMAGE",
    about: "Show how an image was made",
    flags: &[&[
        FORMAT,
        switch("human", "Show sizes and dates for people")
            .short('H')
            .default("true"),
        switch("no-trunc", "Do not cut anything short"),
        one("platform", "string", "Of that platform").not_yet("images have one platform"),
        switch("quiet", "Show ids only").short('q'),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    columns: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
    quiet: "ID",
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(image) = arguments.positionals.first() else {
        return Ok(1);
    };
    let client = session.connect().await?;
    let items = client.image_history(image).await?;
    let (human, truncate) = (arguments.switch("human"), !arguments.switch("no-trunc"));
    let rows: Vec<Row> = items.iter().map(|item| row(item, human, truncate)).collect();
    LAYOUT.print(arguments.text("format"), arguments.switch("quiet"), &rows)?;
    Ok(0)
}

fn row(item: &HistoryItem, human: bool, truncate: bool) -> Row {
    let created_at = match Timestamp::from_unix(item.created, 0).to_string().get(..19) {
        Some(seconds) => format!("{seconds}Z"),
        None => String::new(),
    };
    let created_by = item.created_by.replace('\t', " ");
    let size = u64::try_from(item.size).unwrap_or_default();
    Row {
        fields: vec![
            (
                "ID",
                if truncate {
                    short_id(&item.id).to_owned()
                } else {
                    item.id.clone()
                },
            ),
            (
                "CreatedSince",
                if human {
                    ago(item.created)
                } else {
                    created_at.clone()
                },
            ),
            ("CreatedAt", created_at),
            (
                "CreatedBy",
                if truncate {
                    ellipsis(&created_by, 45)
                } else {
                    created_by
                },
            ),
            (
                "Size",
                if human {
                    ShortSize(size).to_string()
                } else {
                    size.to_string()
                },
            ),
            ("Comment", item.comment.clone()),
        ],
        ..Row::default()
    }
}
