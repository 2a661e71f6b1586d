//! `push`: uploads an image, or all tags of a repository.

use oci::Reference;

use crate::credentials;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::progress;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "push"],
    aliases: &[&["push"]],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    flags: &[&[
        switch("all-tags", "Upload all tags of the repository").short('a'),
        switch("disable-content-trust", "Do not sign the image")
            .default("true")
            .never("images are not signed by Notary"),
        one("platform", "string", "Upload only that platform").not_yet("images have one platform"),
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
    let reference =
        Reference::parse(name).map_err(|error| Failure::message(base::error::chain(&error).to_string()))?;
    let (all, quiet) = (arguments.switch("all-tags"), arguments.switch("quiet"));
    if all && (reference.tag().is_some() || reference.digest().is_some()) {
        return Err(Failure::message("tag can't be used with --all-tags/-a"));
    }
    if !all && reference.tag().is_none() && reference.digest().is_none() && !quiet {
        output::out_line("Using default tag: latest")?;
    }
    let reference = if all {
        reference
    } else {
        reference.with_default_tag()
    };
    let tag = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => String::new(),
    };
    let auth = credentials::for_image(session, name)?;
    let client = session.connect().await?;
    let messages = client.push_image(&reference.familiar_name(), &tag, &auth).await?;
    if quiet {
        progress::wait(messages).await?;
        output::out_line(&reference.to_string())?;
    } else {
        progress::show(messages).await?;
    }
    Ok(0)
}
