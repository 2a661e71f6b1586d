//! `GET /containers/{id}/logs`, and `GET /berth/containers/{id}/logs`, which knows removed containers too.

use engine::container::LogsRequest;
use futures_util::StreamExt;

use crate::call::Call;
use crate::frame::{self, LogFormat};
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::time;
use crate::version::ApiVersion;

pub(crate) async fn logs(call: Call) -> Result<Reply, ApiError> {
    read(call, false).await
}

pub(crate) async fn kept_logs(call: Call) -> Result<Reply, ApiError> {
    read(call, true).await
}

async fn read(call: Call, removed: bool) -> Result<Reply, ApiError> {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let request = LogsRequest {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since: time::from_query(query, "since")?,
        until: time::from_query(query, "until")?,
        // Docker reads everything that is not a number as "all".
        tail: query.get("tail").and_then(|tail| tail.parse().ok()),
        removed,
    };
    let logs = engine::container::logs(call.engine(), call.name(), request).await?;
    let format = LogFormat {
        raw: logs.tty,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
    };
    let lines = frame::log_lines(logs.stream, format);
    Ok(reply::stream(content_type(call.version, logs.tty), lines.map(Ok)))
}

/// Returns the content type of output: before API 1.42 it was always called raw.
pub(crate) fn content_type(version: ApiVersion, tty: bool) -> &'static str {
    if tty || version < ApiVersion::v1(42) {
        reply::RAW_STREAM
    } else {
        reply::MULTIPLEXED_STREAM
    }
}
