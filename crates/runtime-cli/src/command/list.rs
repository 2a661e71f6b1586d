//! `list`: the containers below `--root`.

use clap::{Arg, ArgAction, ArgMatches};

use crate::command::print;
use crate::command::state::Document;
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::log::{self, Level};
use crate::status::Container;
use crate::store::Entry;

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("format")
            .long("format")
            .short('f')
            .value_parser(["table", "json"])
            .default_value("table"),
        Arg::new("quiet")
            .long("quiet")
            .short('q')
            .action(ArgAction::SetTrue)
            .help("ids only"),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let ids = Entry::list(globals)?;
    if matches.get_flag("quiet") {
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut containers = Vec::new();
    for id in &ids {
        match Container::load(globals, id) {
            Ok(container) => containers.push(container),
            // One damaged or vanishing container must not hide the others.
            Err(error) => log::write(globals, Level::Warning, &error.to_string()),
        }
    }
    let documents = containers
        .iter()
        .map(Document::new)
        .collect::<Result<Vec<_>, _>>()?;
    if matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "json")
    {
        let text = if documents.is_empty() {
            "null".to_owned()
        } else {
            serde_json::to_string(&documents).plain()?
        };
        print(&format!("{text}\n"))?;
        return Ok(0);
    }
    let width = |least: usize, longest: Option<usize>| longest.unwrap_or(0).max(least);
    let id_width = width(2, documents.iter().map(|document| document.id.len()).max());
    let bundles: Vec<String> = documents
        .iter()
        .map(|document| document.bundle.display().to_string())
        .collect();
    let bundle_width = width(6, bundles.iter().map(String::len).max());
    let mut table = format!(
        "{:id_width$}   {:<8}   {:<8}   {:bundle_width$}   {:<30}   OWNER\n",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED"
    );
    for (document, bundle) in documents.iter().zip(&bundles) {
        table.push_str(&format!(
            "{:id_width$}   {:<8}   {:<8}   {bundle:bundle_width$}   {:<30}   root\n",
            document.id,
            document.pid,
            document.status,
            document.created.to_string()
        ));
    }
    print(&table)?;
    Ok(0)
}
