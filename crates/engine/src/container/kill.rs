//! Kill: a signal to PID 1.

use std::sync::Arc;

use shim_api::client::RequestError;

use super::actor::{Command, ask};
use super::finish;
use super::record::Container;
use super::state::{Answer, Ask, decide};
use super::view::{ChangeError, Status};
use crate::Engine;
use crate::signal;

/// Sends `signal` (a name with or without `SIG`, or a number; empty: KILL) to PID 1. SIGKILL is waited for.
pub async fn kill(engine: &Arc<Engine>, name: &str, signal: &str) -> Result<(), ChangeError> {
    let container = engine.registry.find(name)?;
    let number = match signal {
        "" => signal::KILL,
        text => signal::parse(text).ok_or_else(|| ChangeError::Invalid {
            text: format!("Invalid signal: {}", text.escape_default()),
        })?,
    };
    let status = container.view().status;
    if decide(status, Ask::Kill) != Answer::Accept {
        return Err(ChangeError::State {
            text: format!(
                "cannot kill container: {name}: container {} is not running",
                container.id
            ),
        });
    }
    let mut view = container.view.subscribe();
    let exits = view.borrow().exits;
    if number == signal::KILL || number == stop_signal(&container) {
        // docker: a container that a person killed is not restarted.
        ask(engine, &container, Command::MarkStopped).await;
    }
    send(&container, number, number == signal::KILL, "kill").await?;
    finish::tell(engine, &container, "kill", &[("signal", number.to_string())]);
    if number == signal::KILL {
        // An error means that the container is gone.
        drop(
            view.wait_for(|view| view.gone || view.exits > exits || !view.status.is_running())
                .await,
        );
    }
    Ok(())
}

/// Returns the signal that stops the container.
pub(crate) fn stop_signal(container: &Container) -> i32 {
    signal::parse(&container.view().config.stop_signal).unwrap_or(signal::TERM)
}

/// Sends a signal to PID 1, or (`all`) to every process; a frozen container has to be thawed to see it.
pub(crate) async fn send(
    container: &Container,
    number: i32,
    all: bool,
    doing: &'static str,
) -> Result<(), ChangeError> {
    let status = container.view().status;
    let Some(shim) = container.shim() else {
        return Ok(());
    };
    if status == Status::Restarting {
        return Ok(());
    }
    match shim.signal(None, number, all).await {
        // It ended meanwhile, which is what was wanted or makes no difference.
        Ok(()) | Err(RequestError::Gone) => Ok(()),
        Err(RequestError::Failed(failure)) if failure.errno == rustix::io::Errno::SRCH.raw_os_error() => {
            Ok(())
        }
        Err(error) => Err(ChangeError::Step {
            doing,
            id: container.id.to_string(),
            source: Box::new(error),
        }),
    }
}
