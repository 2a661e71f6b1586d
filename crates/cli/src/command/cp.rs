//! `cp`: copies files between a container and this machine, or archives through the standard streams.

mod local;
mod place;

use api_types::container::PathStat;
use base::size::HumanSize;
use client::{Client, Reader, Upload};
use tokio_util::io::SyncIoBridge;

use crate::attachment;
use crate::failure::{Failure, describe_io};
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;
use place::{Source, Target, base_name, parent_of, rename};

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "cp"],
    aliases: &[&["cp"]],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       berth cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files between a container and this machine",
    flags: &[&[
        switch("archive", "Give files the ids of the container's user").short('a'),
        switch("follow-link", "Follow a symbolic link at SRC_PATH").short('L'),
        switch("quiet", "Say nothing; so it is without a terminal").short('q'),
    ]],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

/// Bytes between the thread that packs or unpacks and the connection.
const BUFFER: usize = 256 << 10;

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [source, target] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    if source.is_empty() {
        return Err(Failure::message("source can not be empty"));
    }
    if target.is_empty() {
        return Err(Failure::message("destination can not be empty"));
    }
    match (split(source), split(target)) {
        ((Some(_), _), (Some(_), _)) => Err(Failure::message("copying between containers is not supported")),
        ((None, _), (None, _)) => Err(Failure::message("must specify at least one container source")),
        ((Some(container), path), (None, target)) => {
            from_container(arguments, &session.connect().await?, container, path, target).await
        }
        ((None, source), (Some(container), path)) => {
            to_container(arguments, &session.connect().await?, container, source, path).await
        }
    }
}

/// Splits `CONTAINER:PATH`; a path of this machine may have a colon if it begins with a slash or a dot.
fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        Some((container, path)) if !argument.starts_with('/') && !container.starts_with('.') => {
            (Some(container), path)
        }
        _ => (None, argument),
    }
}

async fn from_container(
    arguments: &Arguments,
    client: &Client,
    container: &str,
    path: &str,
    target: &str,
) -> Result<u8, Failure> {
    let target = if target == "-" {
        target.to_owned()
    } else {
        place::absolute(target)?
    };
    if target != "-" {
        place::check_output(&target)?;
    }
    let mut path = path.to_owned();
    let mut shown_name = None;
    if arguments.switch("follow-link")
        && let Ok(stat) = client.stat_path(container, &path).await
        && is_link(&stat)
    {
        // It goes on under the name that was asked for.
        shown_name = Some(base_name(&path));
        path = join_link(&path, &stat.link_target);
    }
    let (stat, archive) = client.copy_from_container(container, &path).await?;
    if target == "-" {
        if terminal::stdout_is_terminal() {
            return Err(Failure::message(
                "cowardly refusing to write an archive to a terminal",
            ));
        }
        attachment::show(archive, false, true).await?;
        return Ok(0);
    }
    let source = Source {
        name: shown_name.clone().unwrap_or_else(|| base_name(&path)),
        is_directory: is_directory(&stat),
    };
    let place = Target::local(&target)?;
    let (directory, name) = rename(&source, &place)?;
    let new_name = match (name, shown_name) {
        (Some(name), _) => Some(name),
        (None, shown) => shown,
    };
    let old_name = base_name(&path);
    let bytes = unpack(archive, directory, new_name.map(|name| (old_name, name))).await?;
    tell(arguments, bytes, &target);
    Ok(0)
}

async fn unpack(
    archive: Reader,
    directory: String,
    rename: Option<(String, String)>,
) -> Result<u64, Failure> {
    let archive = SyncIoBridge::new(archive);
    let work = move || local::unpack(archive, &directory, rename.as_ref());
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::message),
        Err(error) => Err(Failure::message(error.to_string())),
    }
}

async fn to_container(
    arguments: &Arguments,
    client: &Client,
    container: &str,
    source: &str,
    path: &str,
) -> Result<u8, Failure> {
    let mut target = path.to_owned();
    let mut stat = client.stat_path(container, &target).await;
    if let Ok(link) = &stat
        && is_link(link)
    {
        target = join_link(&target, &link.link_target);
        stat = client.stat_path(container, &target).await;
    }
    if let Err(error) = &stat
        && error.status() != Some(404)
    {
        stat.map(drop)?;
        return Ok(1);
    }
    let stat = stat.ok();
    if stat.as_ref().is_some_and(is_special) {
        return Err(Failure::message(format!(
            "destination \"{container}:{path}\" must be a directory or a regular file"
        )));
    }
    let place = Target {
        path: target.clone(),
        is_there: stat.is_some(),
        is_directory: stat.as_ref().is_some_and(is_directory),
    };
    let copy_ids = arguments.switch("archive");
    if source == "-" {
        if !place.is_directory {
            return Err(Failure::message(format!(
                "destination \"{container}:{path}\" must be a directory"
            )));
        }
        let stdin = output::stdin_file().map_err(|error| Failure::io("read standard input", &error))?;
        let archive: Upload = Box::new(stdin);
        client
            .copy_to_container(container, &target, archive, copy_ids)
            .await?;
        return Ok(0);
    }
    let (real, own) = place::local_source(source, arguments.switch("follow-link"))?;
    let (directory, name) = rename(&own, &place)?;
    let name = name.unwrap_or_else(|| own.name.clone());
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let writer = SyncIoBridge::new(writer);
    let packing = tokio::task::spawn_blocking(move || local::pack(&real, &name, writer));
    let archive: Upload = Box::new(reader);
    let sent = client
        .copy_to_container(container, &directory, archive, copy_ids)
        .await;
    let packed = packing
        .await
        .map_err(|error| Failure::message(error.to_string()))?;
    match (sent, packed) {
        (Ok(()), Ok(bytes)) => {
            tell(arguments, bytes, &format!("{container}:{target}"));
            Ok(0)
        }
        // What the daemon did not like ends the sending as well.
        (Err(error), _) if error.status().is_some() => Err(error.into()),
        (_, Err(message)) => Err(Failure::message(message)),
        (Err(error), Ok(_)) => Err(error.into()),
    }
}

fn tell(arguments: &Arguments, bytes: u64, target: &str) {
    let quiet = if arguments.is_set("quiet") {
        arguments.switch("quiet")
    } else {
        !terminal::stdout_is_terminal()
    };
    if !quiet {
        output::err_line(&format!("Successfully copied {} to {target}", HumanSize(bytes)));
    }
}

/// Go's `os.FileMode` has what kind of file it is at bits of its own.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_SPECIAL: u32 = 1 << 26 | 1 << 25 | 1 << 24;

fn is_directory(stat: &PathStat) -> bool {
    stat.mode & GO_DIRECTORY != 0
}

fn is_link(stat: &PathStat) -> bool {
    stat.mode & GO_LINK != 0
}

fn is_special(stat: &PathStat) -> bool {
    stat.mode & GO_SPECIAL != 0
}

fn join_link(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{}/{target}", parent_of(path))
    }
}

/// Returns a message about a file of this machine.
fn about(path: &std::path::Path, error: &std::io::Error) -> String {
    format!("{}: {}", path.display(), describe_io(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_from_paths() {
        for (argument, expected) in [
            ("c1:/a", (Some("c1"), "/a")),
            ("c1:a:b", (Some("c1"), "a:b")),
            ("/a:b", (None, "/a:b")),
            ("./a:b", (None, "./a:b")),
            ("..:b", (None, "..:b")),
            ("a", (None, "a")),
            ("-", (None, "-")),
        ] {
            assert_eq!(split(argument), expected, "{argument}");
        }
    }
}
