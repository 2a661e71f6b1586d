//! `system dial-stdio`: the far end of an `ssh://` host.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::output::{Sink, Source};
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["system", "dial-stdio"],
    aliases: &[],
    usage: "",
    about: "Connect standard input and output to the daemon; used by ssh:// hosts",
    flags: &[],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|_, session| Box::pin(run(session))),
};

/// Bytes copied at once.
const CHUNK: usize = 64 << 10;

async fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let (mut from_daemon, mut to_daemon) = tokio::io::split(client.dial().await?);
    let up = async {
        let (input, mut buffer) = (Source::stdin(), vec![0; CHUNK]);
        loop {
            match input.read(&mut buffer).await? {
                0 => return to_daemon.shutdown().await,
                length => to_daemon.write_all(&buffer[..length]).await?,
            }
        }
    };
    let down = async {
        let (output, mut buffer) = (Sink::stdout(), vec![0; CHUNK]);
        loop {
            match from_daemon.read(&mut buffer).await? {
                0 => return Ok(()),
                length => output.write_all(&buffer[..length]).await?,
            }
        }
    };
    // The daemon has the last word; an end of our input is no end of its answer.
    let copied: std::io::Result<()> = {
        let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
        tokio::select! {
            ended = &mut down => ended,
            ended = &mut up => match ended {
                Ok(()) => down.await,
                Err(error) => Err(error),
            },
        }
    };
    copied.map_err(|error| Failure::io("copy to or from the daemon", &error))?;
    Ok(0)
}
