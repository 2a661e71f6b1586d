//! `commit`: makes an image of a container's changes.

use client::CommitOptions;

use crate::command::image::split_tag;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, many, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "commit"],
    aliases: &[&["commit"]],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create an image from a container's changes",
    flags: &[&[
        one(
            "author",
            "string",
            "Who made it, such as \"Jane <jane@example.org>\"",
        )
        .short('a'),
        many("change", "list", "Apply a Dockerfile instruction to the image").short('c'),
        one("message", "string", "Comment of the image").short('m'),
        switch("pause", "Freeze the container meanwhile")
            .short('p')
            .default("true"),
    ]],
    positionals: Positionals::Between(1, 2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (container, name) = match arguments.positionals.as_slice() {
        [container] => (container, ""),
        [container, name] => (container, name.as_str()),
        _ => return Ok(1),
    };
    let (repository, tag) = match split_tag(name) {
        (repository, "<none>") => (repository, ""),
        split => split,
    };
    let options = CommitOptions {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        author: arguments.text("author").to_owned(),
        comment: arguments.text("message").to_owned(),
        changes: arguments.list("change").into_iter().map(str::to_owned).collect(),
        pause: arguments.switch("pause"),
    };
    let client = session.connect().await?;
    output::out_line(&client.commit_container(container, &options).await?)?;
    Ok(0)
}
