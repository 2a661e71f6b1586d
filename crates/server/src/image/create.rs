//! `POST /images/create`: pull, or import.

use api_types::stream::{ErrorDetail, Progress, ProgressDetail};
use base::error::chain;
use bytes::Bytes;
use engine::image::{ImportRequest, LayerState, PullProgress, PullRequest};
use tokio::sync::mpsc;

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn create(call: Call) -> Result<Reply, ApiError> {
    match call.query.get("fromImage") {
        Some(image) if !image.is_empty() => {
            let image = image.to_owned();
            pull(&call, image).await
        }
        _ => import(call).await,
    }
}

async fn pull(call: &Call, name: String) -> Result<Reply, ApiError> {
    let query = &call.query;
    let credentials = registry_auth::credentials(&call.headers).unwrap_or_else(|problem| {
        // As docker: most images need none, and an old client may send anything.
        tracing::debug!(%problem, "credentials were left out");
        engine::Credentials::Anonymous
    });
    let request = PullRequest {
        name,
        tag: query.get("tag").unwrap_or_default().to_owned(),
        platform: query.get("platform").map(str::to_owned),
        credentials,
    };
    let engine = call.engine().clone();
    let (report, mut progress) = mpsc::channel(64);
    let mut pulling = Box::pin(async move { engine::image::pull(&engine, request, report).await });
    // What fails before anything is told has a status; after that the stream tells it.
    let first = tokio::select! {
        biased;
        first = progress.recv() => first,
        result = &mut pulling => match result {
            Err(error) => return Err(error.into()),
            Ok(()) => progress.recv().await,
        },
    };
    let Some(first) = first else {
        pulling.await?;
        return Ok(reply::ok(&Progress::default()));
    };
    let (sender, stream) = reply::channel();
    let span = tracing::Span::current();
    let telling = async move {
        // Dropping the pull when nobody listens any more is what cancels it.
        let tell = async {
            let mut next = Some(first);
            while let Some(present) = next {
                if sender.send(Ok(line(&message(present)))).await.is_err() {
                    return;
                }
                next = progress.recv().await;
            }
            // The pull has dropped its end, so it has ended.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = sender.closed() => {}
            result = &mut pulling => {
                while let Ok(present) = progress_left(&mut None) {
                    drop(present);
                }
                drop(result);
            }
            () = tell => {}
        }
    };
    drop((telling, span));
    Ok(reply::stream("application/json", stream))
}
