//! `POST /containers/{id}/attach`: the connection becomes a stream to the shim.

use bytes::Bytes;
use engine::container::AttachRequest;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;

use super::logs::content_type;
use crate::call::Call;
use crate::frame::{self, LogFormat};
use crate::reply::{Hijack, Reply};
use crate::status::ApiError;

pub(crate) async fn attach(call: Call) -> Result<Reply, ApiError> {
    let query = &call.query;
    let request = AttachRequest {
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.get("detachKeys").map(str::to_owned),
    };
    let attached = engine::container::attach(call.engine(), call.name(), request).await?;
    let format = LogFormat {
        raw: attached.tty,
        timestamps: false,
        details: false,
    };
    let first: Pin<Box<dyn Stream<Item = Bytes> + Send>> = match attached.replay {
        Some(lines) => frame::log_lines(lines, format).boxed(),
        None => futures_util::stream::empty().boxed(),
    };
    Ok(Reply::Hijack(Hijack::of_docker(
        first,
        attached.stream,
        content_type(call.version, attached.tty),
    )))
}

/// `GET /containers/{id}/attach/ws`.
pub(crate) async fn websocket(_call: Call) -> Result<Reply, ApiError> {
    Err(ApiError::unsupported("attaching through a websocket"))
}
