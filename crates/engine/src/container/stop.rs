//! Stop: a signal, some patience, SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use super::actor::{Command, ask};
use super::kill::{send, stop_signal};
use super::record::Container;
use super::state::{Answer, Ask, decide};
use super::view::{ChangeError, Changed, Status, View};
use super::{finish, pause};
use crate::{Engine, failpoint, signal};

/// How to stop.
#[derive(Clone, Debug, Default)]
pub struct StopRequest {
    /// The signal by name or number; `None`: the container's.
    pub signal: Option<String>,
    /// Seconds to wait before SIGKILL; `None`: the container's (10); -1: for ever.
    pub timeout: Option<i64>,
}

/// Seconds of patience unless the container says otherwise.
const PATIENCE: i64 = 10;

/// Stops a container and waits for its end.
pub async fn stop(engine: &Arc<Engine>, name: &str, request: StopRequest) -> Result<Changed, ChangeError> {
    let container = engine.registry.find(name)?;
    if decide(container.view().status, Ask::Stop) != Answer::Accept {
        return Ok(Changed::Already);
    }
    let number = match request.signal.as_deref().filter(|text| !text.is_empty()) {
        None => stop_signal(&container),
        Some(text) => signal::parse(text).ok_or_else(|| ChangeError::Invalid {
            text: format!("Invalid signal: {}", text.escape_default()),
        })?,
    };
    let patience = request
        .timeout
        .or(container.view().config.stop_timeout)
        .unwrap_or(PATIENCE);
    end(
        engine,
        &container,
        number,
        u64::try_from(patience).ok().map(Duration::from_secs),
    )
    .await?;
    finish::tell(engine, &container, "stop", &[]);
    Ok(Changed::Yes)
}

/// Ends a running container: `number`, then SIGKILL for every process after `patience` (`None`: never).
pub(crate) async fn end(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    number: i32,
    patience: Option<Duration>,
) -> Result<(), ChangeError> {
    let mut view = container.view.subscribe();
    let ended = |view: &Arc<View>| view.gone || !view.status.is_running();
    // Marked first: the policy must not start it again between its end and our knowing of it.
    ask(engine, container, Command::MarkStopped).await;
    if ended(&container.view()) {
        return Ok(());
    }
    let frozen = container.view().status == Status::Paused;
    if number != signal::KILL {
        send(container, number, false, "stop").await?;
        finish::tell(engine, container, "kill", &[("signal", number.to_string())]);
        if frozen {
            // A frozen process gets its signal when it goes on.
            pause::unpause_container(engine, container).await?;
        }
        failpoint::reached("stop.signal");
        match patience {
            Some(patience) => {
                if tokio::time::timeout(patience, view.wait_for(ended)).await.is_ok() {
                    failpoint::reached("stop.exited");
                    return Ok(());
                }
            }
            None => {
                // An error means that the container is gone.
                drop(view.wait_for(ended).await);
                return Ok(());
            }
        }
    }
    send(container, signal::KILL, true, "kill").await?;
    finish::tell(engine, container, "kill", &[("signal", signal::KILL.to_string())]);
    if container.view().status == Status::Paused {
        pause::unpause_container(engine, container).await?;
    }
    drop(view.wait_for(ended).await);
    failpoint::reached("stop.exited");
    Ok(())
}
