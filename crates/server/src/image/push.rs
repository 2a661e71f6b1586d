//! `POST /images/{name}/push`: docker's progress, one JSON document per line.

use api_types::registry::PushResult;
use api_types::stream::{ErrorDetail, Progress, ProgressDetail};
use engine::image::{PushProgress, PushRequest, PushState};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn push(call: Call) -> Result<Reply, ApiError> {
    if call.query.get("platform").is_some() {
        return Err(ApiError::unsupported(
            "pushing one platform of an image (--platform)",
        ));
    }
    let request = PushRequest {
        name: call.name().to_owned(),
        tag: call.query.get("tag").unwrap_or_default().to_owned(),
        credentials: registry_auth::for_image(&call.headers, call.name())
            .map_err(|problem| ApiError::invalid(problem.to_string()))?,
    };
    let engine = call.engine().clone();
    let (sender, mut receiver) = mpsc::channel(64);
    let mut pushing = tokio::spawn(async move { engine::image::push(&engine, request, sender).await });
    // Until there is something to tell, an error is an answer of its own.
    let first = tokio::select! {
        biased;
        first = receiver.recv() => first,
        done = &mut pushing => {
            done.map_err(|error| ApiError::new(base::error::Kind::Internal, error.to_string()))??;
            receiver.recv().await
        }
    };
    let Some(first) = first else {
        pushing
            .await
            .map_err(|error| ApiError::new(base::error::Kind::Internal, error.to_string()))??;
        return Ok(reply::typed(
            http::StatusCode::OK,
            "application/json",
            reply::full(bytes::Bytes::new()),
        ));
    };
    let progress = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let progress = futures_util::stream::iter([first]).chain(progress);
    let lines = progress.flat_map(|told| futures_util::stream::iter(messages(told)));
    // The sender is gone before the task ends, so its end is at hand.
    let end = futures_util::stream::once(pushing).filter_map(|done| async move {
        let failure = match done {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => base::error::chain(&error).to_string(),
            Err(error) => error.to_string(),
        };
        Some(Progress {
            error_detail: Some(ErrorDetail {
                code: 0,
                message: failure.clone(),
            }),
            error: failure,
            ..Progress::default()
        })
    });
    Ok(reply::stream(
        "application/json",
        lines.chain(end).map(|message| Ok(line(&message))),
    ))
}

/// Returns a message as it is sent.
pub(crate) fn line(message: &Progress) -> bytes::Bytes {
    // Strings and numbers always encode.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line.into()
}

fn messages(told: PushProgress) -> Vec<Progress> {
    let status = |status: String| Progress {
        status,
        ..Progress::default()
    };
    match told {
        PushProgress::Repository { name } => vec![status(format!("The push refers to repository [{name}]"))],
        PushProgress::Layer { id, state } => vec![layer(id, state)],
        PushProgress::Tag { tag, digest, size } => vec![
            status(format!("{tag}: digest: {digest} size: {size}")),
            Progress {
                progress_detail: Some(ProgressDetail::default()),
                aux: serde_json::to_value(PushResult {
                    tag,
                    digest: digest.to_string(),
                    size: signed(size),
                })
                .ok(),
                ..Progress::default()
            },
        ],
    }
}

fn layer(id: String, state: PushState) -> Progress {
    let (status, detail) = match state {
        PushState::Preparing => ("Preparing".to_owned(), Some(ProgressDetail::default())),
        PushState::Waiting => ("Waiting".to_owned(), Some(ProgressDetail::default())),
        PushState::Pushing { current, total } => (
            "Pushing".to_owned(),
            Some(ProgressDetail {
                current: signed(current),
                total: signed(total),
            }),
        ),
        PushState::Pushed => ("Pushed".to_owned(), Some(ProgressDetail::default())),
        PushState::Exists => ("Layer already exists".to_owned(), Some(ProgressDetail::default())),
        PushState::Mounted { from } => (format!("Mounted from {from}"), Some(ProgressDetail::default())),
    };
    Progress {
        id,
        status,
        progress_detail: detail,
        ..Progress::default()
    }
}
