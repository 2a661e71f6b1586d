//! `POST /berth/run`: create, attach, wait and start in one request, by the verbs that Docker's calls use.
//!
//! Nothing is sent before the start has succeeded or failed: a client that waits is woken once.

use std::sync::Arc;

use api_types::session::{self, ENDED, REFUSED, RunRefused, RunRequest, RunStarted, STARTED};
use engine::Engine;
use engine::container::{AttachRequest, Condition, Created, RemoveRequest, Waiter};
use futures_util::StreamExt;

use super::create::from_api;
use super::wait::to_api;
use crate::call::Call;
use crate::frame;
use crate::reply::{Head, Hijack, Reply};
use crate::status::ApiError;

pub(crate) async fn run(mut call: Call) -> Result<Reply, ApiError> {
    let request: RunRequest = call.json().await?;
    let attached = !request.detach && (request.stdin || request.stdout || request.stderr);
    if request.container.config.tty && attached {
        return Err(ApiError::unsupported("a run with a terminal in one request"));
    }
    let attach = AttachRequest {
        logs: false,
        stream: true,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        detach_keys: Some(request.detach_keys),
    };
    let (name, platform) = (Some(request.name), Some(request.platform));
    let mut wanted = from_api(name, platform, request.container, call.version)?;
    wanted.starts = true;
    let removes = wanted.host.auto_remove;
    let engine = &Arc::clone(call.engine());
    let Created { id, warnings } = engine::container::create(engine, wanted).await?;

    let prepared = async {
        if request.detach {
            return Ok((None, None));
        }
        let stream = if attached {
            engine::container::attach(engine, id.as_str(), attach)
                .await?
                .stream
        } else {
            None
        };
        let condition = if removes {
            Condition::Removed
        } else {
            Condition::NextExit
        };
        let waiter = engine::container::wait(engine, id.as_str(), condition)?;
        Ok::<_, ApiError>((stream, Some(waiter)))
    };
    let (stream, waiter) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            discard(engine, id.as_str(), removes).await;
            return Err(error);
        }
    };
    let started = engine::container::start(engine, id.as_str()).await;
    let id = id.to_string();
    if let Err(error) = started {
        if let (true, Some(waiter)) = (removes, waiter) {
            // When the client hears of it the name is free again.
            let _told_below = waiter.ended().await;
        }
        let error = ApiError::from(error);
        let refused = RunRefused {
            id,
            warnings,
            status: error.status.as_u16(),
            message: error.message,
        };
        return Ok(answer(frame::document(REFUSED, &refused), None, None));
    }
    let started = frame::document(STARTED, &RunStarted { id, warnings });
    Ok(answer(started, stream, waiter))
}

fn answer(first: bytes::Bytes, stream: Option<tokio::net::UnixStream>, waiter: Option<Waiter>) -> Reply {
    let last = futures_util::stream::iter(waiter)
        .then(|waiter| async { frame::document(ENDED, &to_api(waiter.ended().await)) });
    Reply::Hijack(Hijack {
        first: futures_util::stream::iter([first]).boxed(),
        stream,
        last: last.boxed(),
        head: Head::Together,
        content_type: session::CONTENT_TYPE,
    })
}

/// Removes a container that `--rm` would have removed, had it been started.
async fn discard(engine: &Arc<Engine>, id: &str, removes: bool) {
    if removes {
        let request = RemoveRequest {
            force: true,
            volumes: true,
        };
        if let Err(error) = engine::container::remove(engine, id, request).await {
            tracing::warn!(container = id, error = %base::error::chain(&error), "a container was not removed");
        }
    }
}
