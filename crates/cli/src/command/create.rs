//! `create`: makes a container and prints its id.

use std::path::Path;

use api_types::container::CreateReply;
use client::{Client, ClientError};

use crate::command::pull::pull_for_container;
use crate::create::{self, Request};
use crate::failure::{DAEMON_ERROR, Failure};
use crate::flag::{Command, Order, Positionals, State};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "create"],
    aliases: &[&["create"]],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container without starting it",
    flags: &[create::FLAGS],
    positionals: Positionals::AtLeast(0),
    order: Order::FlagsFirst,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    check_image(arguments)?;
    let request = Request::build(arguments)?;
    let client = session.connect().await?;
    let reply = create_container(session, &client, arguments, &request)
        .await
        .map_err(|failure| match failure {
            CreateFailure::Call(error) => Failure::Call(error),
            CreateFailure::Other(failure) => failure,
        })?;
    output::out_line(&reply.id)?;
    Ok(0)
}

/// With `--rootfs` no image is named and the first argument is the command.
pub(crate) fn check_image(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.positionals.is_empty() && !arguments.is_set("rootfs") {
        return Err(Failure::Usage {
            message: format!(
                "berth: 'berth {}' requires at least 1 argument",
                arguments.command().name()
            ),
            code: 1,
        });
    }
    Ok(())
}

/// Why no container was made.
#[derive(Debug)]
pub(crate) enum CreateFailure {
    /// The daemon said no.
    Call(ClientError),
    /// Something on this side.
    Other(Failure),
}

/// Creates the container, prints warnings and writes the file of `--cidfile`. Pulls the image if `--pull` says so.
pub(crate) async fn create_container(
    session: &Session<'_>,
    client: &Client,
    arguments: &Arguments,
    request: &Request,
) -> Result<CreateReply, CreateFailure> {
    let other = CreateFailure::Other;
    let cid_file = CidFile::of(arguments).map_err(other)?;
    let reply = match create_or_pull(session, client, arguments, request).await {
        Ok(reply) => reply,
        Err(failure) => {
            if let Some(file) = cid_file {
                file.discard();
            }
            return Err(failure);
        }
    };
    for warning in &reply.warnings {
        output::err_line(&format!("WARNING: {warning}"));
    }
    if let Some(file) = cid_file {
        file.write(&reply.id).map_err(other)?;
    }
    Ok(reply)
}

async fn create_or_pull(
    session: &Session<'_>,
    client: &Client,
    arguments: &Arguments,
    request: &Request,
) -> Result<CreateReply, CreateFailure> {
    let image = &request.body.config.image;
    let when = arguments.text("pull");
    let pull = || async {
        pull_for_container(
            session,
            client,
            image,
            &request.platform,
            arguments.switch("quiet"),
        )
        .await
        .map_err(|failure| match failure {
            Failure::Call(error) => CreateFailure::Call(error),
            failure => CreateFailure::Other(failure),
        })
    };
    let create = || async {
        client
            .create_container(&request.name, &request.platform, &request.body)
            .await
    };
    if when == "always" && !image.is_empty() {
        pull().await?;
        return create().await.map_err(CreateFailure::Call);
    }
    match create().await {
        Err(error) if when == "missing" && is_missing_image(&error) => {
            if !arguments.switch("quiet") {
                output::err_line(&format!("Unable to find image '{}' locally", with_tag(image)));
            }
            pull().await?;
            create().await.map_err(CreateFailure::Call)
        }
        created => created.map_err(CreateFailure::Call),
    }
}

/// Returns whether the daemon refused because it has not got the image.
fn is_missing_image(error: &ClientError) -> bool {
    error.status() == Some(404) && error.to_string().starts_with("No such image")
}

/// Adds `:latest` to a name without tag or digest.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// The file that gets the container's id; it must not exist before.
pub(crate) struct CidFile {
    path: String,
    file: std::fs::File,
}

impl CidFile {
    /// Makes the file that `--cidfile` asks for.
    pub(crate) fn of(arguments: &Arguments) -> Result<Option<Self>, Failure> {
        match arguments.text("cidfile") {
            "" => Ok(None),
            path => Self::create(path).map(Some),
        }
    }

    fn create(path: &str) -> Result<Self, Failure> {
        match base::file::create_new(Path::new(path), 0o666) {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
            }),
            Err(error) if error.io().kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::invalid(format!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                )))
            }
            Err(error) => Err(Failure::invalid(format!(
                "failed to create the container ID file: {}",
                base::error::chain(&error)
            ))),
        }
    }

    /// Writes the container's id.
    pub(crate) fn write(mut self, id: &str) -> Result<(), Failure> {
        use std::io::Write;
        self.file
            .write_all(id.as_bytes())
            .map_err(|error| Failure::Message {
                message: format!("failed to write the container ID to {}: {error}", self.path),
                code: DAEMON_ERROR,
            })
    }

    /// No container, no file.
    pub(crate) fn discard(self) {
        let _left_over = std::fs::remove_file(&self.path);
    }
}
