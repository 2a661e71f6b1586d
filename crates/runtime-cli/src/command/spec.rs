//! `spec`: an example document to start from.

use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use oci_spec::runtime::Spec;

use crate::error::{CommandError, Context};
use crate::globals::Globals;

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("bundle")
            .long("bundle")
            .short('b')
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .default_value(".")
            .help("directory to write config.json to"),
        Arg::new("rootless")
            .long("rootless")
            .action(ArgAction::SetTrue)
            .help("write a document that needs no privileges"),
    ]
}

pub(super) fn run(_globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let spec = if matches.get_flag("rootless") {
        Spec::rootless(
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    } else {
        Spec::default()
    };
    let bundle = matches.get_one::<PathBuf>("bundle").cloned().unwrap_or_default();
    let path = bundle.join("config.json");
    let mut file = base::file::create_new(&path, 0o644).plain()?;
    let mut document = serde_json::to_string_pretty(&spec).plain()?;
    document.push('\n');
    file.write_all(document.as_bytes())
        .context(|| format!("write \"{}\"", path.display()))?;
    Ok(0)
}
