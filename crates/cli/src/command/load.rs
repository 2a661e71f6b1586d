//! `load` and `import`: images out of tar archives.

use std::io::IsTerminal;

use client::{ImportOptions, Upload};

use crate::failure::{Failure, describe_io};
use crate::flag::{Command, Order, Positionals, State, many, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::progress;
use crate::session::Session;
use crate::terminal;

/// The table entry of `load`.
pub(crate) static LOAD: Command = Command {
    path: &["image", "load"],
    aliases: &[&["load"]],
    usage: "[OPTIONS]",
    about: "Load images from a tar archive or STDIN",
    flags: &[&[
        one("input", "string", "Read from that file, not from STDIN").short('i'),
        one("platform", "string", "Load only that platform").not_yet("images have one platform"),
        switch("quiet", "Show no progress").short('q'),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(load(arguments, session))),
};

/// The table entry of `import`.
pub(crate) static IMPORT: Command = Command {
    path: &["image", "import"],
    aliases: &[&["import"]],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image out of a file system in a tar archive",
    flags: &[&[
        many("change", "list", "Apply a Dockerfile instruction to the image").short('c'),
        one("message", "string", "Comment of the image").short('m'),
        one("platform", "string", "Platform of the image; only the host's"),
    ]],
    positionals: Positionals::Between(1, 2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(import(arguments, session))),
};

async fn load(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let archive: Upload = match arguments.text("input") {
        "" => {
            if terminal::stdin_is_terminal() {
                return Err(Failure::message("requested load from stdin, but stdin is empty"));
            }
            standard_input()?
        }
        path => open(path).await?,
    };
    let client = session.connect().await?;
    let quiet = arguments.switch("quiet") || !std::io::stdout().is_terminal();
    progress::show(client.load_images(archive, quiet).await?).await?;
    Ok(0)
}

async fn import(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(source) = arguments.positionals.first() else {
        return Ok(1);
    };
    let archive: Upload = match source.as_str() {
        "-" => standard_input()?,
        url if url.starts_with("http://") || url.starts_with("https://") => {
            return Err(Failure::invalid(format!(
                "import from {url} is not supported yet: fetch the archive and pipe it to 'berth import -'"
            )));
        }
        path => open(path).await?,
    };
    let target = arguments.positionals.get(1).map_or("", String::as_str);
    let (repository, tag) = match target.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (target, ""),
    };
    let options = ImportOptions {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        message: arguments.text("message").to_owned(),
        changes: arguments.list("change").into_iter().map(str::to_owned).collect(),
        platform: arguments.text("platform").to_owned(),
    };
    let client = session.connect().await?;
    progress::show(client.import_image(archive, &options).await?).await?;
    Ok(0)
}

fn standard_input() -> Result<Upload, Failure> {
    match output::stdin_file() {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::message(format!(
            "read standard input: {}",
            describe_io(&error)
        ))),
    }
}

async fn open(path: &str) -> Result<Upload, Failure> {
    match tokio::fs::File::open(path).await {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::message(format!("open {path}: {}", describe_io(&error)))),
    }
}
