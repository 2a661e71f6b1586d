//! `pull`: downloads an image, or all images of a repository.

use client::Client;
use oci::Reference;

use crate::credentials;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::progress::{self, Screen};
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "pull"],
    aliases: &[&["pull"]],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    flags: &[&[
        switch("all-tags", "Download all tagged images in the repository").short('a'),
        switch("disable-content-trust", "Skip image verification")
            .default("true")
            .never("images are not signed by Notary"),
        one(
            "platform",
            "string",
            "Platform of the image, where there are several",
        ),
        switch("quiet", "Show only the name").short('q'),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(name) = arguments.positionals.first() else {
        return Ok(1);
    };
    let reference = parse(name)?;
    let (all, quiet) = (arguments.switch("all-tags"), arguments.switch("quiet"));
    let has_target = reference.tag().is_some() || reference.digest().is_some();
    if all && has_target {
        return Err(Failure::message("tag can't be used with --all-tags/-a"));
    }
    if !all && !has_target && !quiet {
        output::out_line("Using default tag: latest")?;
    }
    let reference = if all {
        reference
    } else {
        reference.with_default_tag()
    };
    let client = session.connect().await?;
    let screen = if quiet { None } else { Some(Screen::stdout()) };
    pull(session, &client, &reference, arguments.text("platform"), screen).await?;
    output::out_line(&reference.to_string())?;
    Ok(0)
}

fn parse(name: &str) -> Result<Reference, Failure> {
    Reference::parse(name).map_err(|error| Failure::message(base::error::chain(&error).to_string()))
}

/// Pulls what a container is to be made of, as `run` and `create` do: everything is told on standard error.
pub(crate) async fn pull_for_container(
    session: &Session<'_>,
    client: &Client,
    name: &str,
    platform: &str,
    quiet: bool,
) -> Result<(), Failure> {
    let reference = parse(name)?.with_default_tag();
    let screen = if quiet { None } else { Some(Screen::stderr()) };
    pull(session, client, &reference, platform, screen).await
}

async fn pull(
    session: &Session<'_>,
    client: &Client,
    reference: &Reference,
    platform: &str,
    screen: Option<Screen>,
) -> Result<(), Failure> {
    let target = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let name = reference.familiar_name();
    let auth = credentials::for_image(session, &name)?;
    let messages = client.pull_image(&name, &target, platform, &auth).await?;
    match screen {
        Some(screen) => progress::show_on(screen, messages).await,
        None => progress::wait(messages).await,
    }
}
