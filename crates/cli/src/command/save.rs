//! `save`: writes images to a tar archive.

use std::io::{self, Write};
use std::path::Path;

use client::Reader;
use tokio::io::AsyncReadExt;

use crate::attachment;
use crate::failure::{Failure, describe_io};
use crate::flag::{Command, Order, Positionals, State, one};
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "save"],
    aliases: &[&["save"]],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save images to a tar archive, on STDOUT unless a file is named",
    flags: &[&[
        one("output", "string", "Write to that file, not to STDOUT").short('o'),
        one("platform", "string", "Save only that platform").not_yet("images have one platform"),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let output = arguments.text("output");
    if output.is_empty() && terminal::stdout_is_terminal() {
        return Err(Failure::message(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let client = session.connect().await?;
    let archive = client.save_images(&arguments.positionals).await?;
    if output.is_empty() {
        attachment::show(archive, false, true).await?;
    } else {
        write(archive, Path::new(output)).await?;
    }
    Ok(0)
}

/// Writes the archive beside its place and moves it there when it is complete; a device or pipe is written to as it is.
pub(super) async fn write(mut archive: Reader, path: &Path) -> Result<(), Failure> {
    let failed =
        |error: &io::Error| Failure::message(format!("save to {}: {}", path.display(), describe_io(error)));
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let opened = std::fs::OpenOptions::new().write(true).open(path);
        let mut file = opened.map_err(|error| failed(&error))?;
        return copy(&mut archive, &mut file)
            .await
            .map_err(|error| failed(&error));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let mut file = base::file::create_new(&part, 0o600).map_err(|error| failed(error.io()))?;
    let copied = match copy(&mut archive, &mut file).await {
        Ok(()) => std::fs::rename(&part, path),
        Err(error) => Err(error),
    };
    if let Err(error) = copied {
        let _left_over = std::fs::remove_file(&part);
        return Err(failed(&error));
    }
    Ok(())
}

async fn copy(archive: &mut Reader, file: &mut std::fs::File) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = archive.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..length])?;
    }
}
