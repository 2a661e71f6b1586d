//! `image pack`: an image out of programs of this machine, with the libraries that they need. Berth's own.

use std::path::{Path, PathBuf};

use api_types::image::ImagePackRequest;

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, many, one};
use crate::output;
use crate::parse::Arguments;
use crate::session::{Session, environment};

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "pack"],
    aliases: &[],
    usage: "-t NAME PROGRAM [PROGRAM...]",
    about: "Make an image out of programs of this machine and what they need to run",
    flags: &[&[
        many("change", "list", "Apply a Dockerfile instruction to the image").short('c'),
        one("tag", "string", "Name of the image").short('t'),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let name = arguments.text("tag");
    if name.is_empty() {
        return Err(Failure::usage("berth: a name is needed: --tag NAME"));
    }
    let programs = arguments.positionals.iter().map(|program| find(program));
    let request = ImagePackRequest {
        reference: name.to_owned(),
        programs: programs.collect::<Result<_, _>>()?,
        changes: arguments.list("change").into_iter().map(str::to_owned).collect(),
    };
    let client = session.connect().await?;
    output::out_line(&client.pack_image(&request).await?)?;
    Ok(0)
}

/// Returns the absolute path of a program, which is looked for in `PATH` if it has no slash.
fn find(program: &str) -> Result<String, Failure> {
    let found: Option<PathBuf> = if program.contains('/') {
        std::path::absolute(program).ok().filter(|path| path.is_file())
    } else {
        let path = environment("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(program))
            .find(|path| is_program(path))
    };
    match found.as_deref().and_then(Path::to_str) {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure::message(format!(
            "berth: program '{program}' was not found"
        ))),
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
