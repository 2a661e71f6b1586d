//! `POST /images/create`: pull, or import.

use std::io;
use std::pin::Pin;

use api_types::stream::Progress;
use base::error::chain;
use bytes::Bytes;
use engine::image::{ImageError, ImportRequest, LayerState, PullProgress, PullRequest};
use tokio::sync::mpsc;

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::progress::{about, failure, line, progress, status};

pub(crate) async fn create(call: Call) -> Result<Reply, ApiError> {
    match call.query.get("fromImage").filter(|image| !image.is_empty()) {
        Some(image) => {
            let image = image.to_owned();
            pull(call, image).await
        }
        None => import(call).await,
    }
}

async fn pull(call: Call, name: String) -> Result<Reply, ApiError> {
    let credentials = registry_auth::for_image(&call.headers, &name).unwrap_or_else(|problem| {
        // As docker: most images need none, and old clients send anything.
        tracing::debug!(%problem, "credentials were left out");
        engine::Credentials::Anonymous
    });
    let request = PullRequest {
        name,
        tag: call.query.get("tag").unwrap_or_default().to_owned(),
        platform: call.query.get("platform").map(str::to_owned),
        credentials,
    };
    let engine = call.engine().clone();
    let (report, messages) = mpsc::channel(64);
    let mut pull = Pull {
        pulling: Some(Box::pin(async move {
            engine::image::pull(&engine, request, report).await
        })),
        messages,
        error: None,
    };
    // What fails before anything is told has a status of its own; after that the stream tells it.
    let first = pull.next().await;
    if let Some(error) = pull.error.take_if(|_| first.is_none()) {
        return Err(error.into());
    }
    let stream = futures_util::stream::unfold((first, pull), |(first, mut pull)| async move {
        let bytes = match first {
            Some(first) => line(&message(first)),
            None => pull.next_line().await?,
        };
        Some((Ok::<Bytes, io::Error>(bytes), (None, pull)))
    });
    Ok(reply::stream("application/json", stream))
}

/// The work of a pull.
type Pulling = Pin<Box<dyn Future<Output = Result<(), ImageError>> + Send>>;

/// A pull that goes on as long as somebody reads what it tells: dropping it cancels it.
struct Pull {
    pulling: Option<Pulling>,
    messages: mpsc::Receiver<PullProgress>,
    error: Option<ImageError>,
}

impl Pull {
    /// Returns what is told next; `None` at the end.
    async fn next(&mut self) -> Option<PullProgress> {
        loop {
            let Some(pulling) = &mut self.pulling else {
                return self.messages.recv().await;
            };
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => return Some(message),
                result = pulling => {
                    self.pulling = None;
                    self.error = result.err();
                }
            }
        }
    }

    async fn next_line(&mut self) -> Option<Bytes> {
        if let Some(next) = self.next().await {
            return Some(line(&message(next)));
        }
        let error = self.error.take()?;
        Some(line(&failure(chain(&error).to_string())))
    }
}

/// Returns docker's message.
fn message(told: PullProgress) -> Progress {
    match told {
        PullProgress::Found { path, target } => Progress {
            id: target,
            ..status(format!("Pulling from {path}"))
        },
        PullProgress::Layer { id, state } => layer(&id, state),
        PullProgress::Digest(digest) => status(format!("Digest: {digest}")),
        PullProgress::Done { name, is_new: true } => {
            status(format!("Status: Downloaded newer image for {name}"))
        }
        PullProgress::Done { name, is_new: false } => {
            status(format!("Status: Image is up to date for {name}"))
        }
    }
}

fn layer(id: &str, state: LayerState) -> Progress {
    match state {
        LayerState::Listed => about(id, "Pulling fs layer"),
        LayerState::Present => about(id, "Already exists"),
        LayerState::Waiting => about(id, "Waiting"),
        LayerState::Retrying { seconds: 1 } => about(id, "Retrying in 1 second"),
        LayerState::Retrying { seconds } => about(id, format!("Retrying in {seconds} seconds")),
        LayerState::Downloading { current, total } => progress(id, "Downloading", current, total),
        LayerState::Downloaded => about(id, "Download complete"),
        LayerState::Extracting { current, total } => progress(id, "Extracting", current, total),
        LayerState::Complete => about(id, "Pull complete"),
    }
}

async fn import(call: Call) -> Result<Reply, ApiError> {
    let query = &call.query;
    let source = query.get("fromSrc").unwrap_or_default().to_owned();
    if source != "-" {
        return Err(ApiError::unsupported(format!("importing from \"{source}\"")));
    }
    let reference = query.get("repo").map(|name| match query.get("tag") {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    });
    let request = ImportRequest {
        reference,
        changes: query
            .all("changes")
            .filter(|change| !change.is_empty())
            .map(str::to_owned)
            .collect(),
        message: query.get("message").unwrap_or_default().to_owned(),
        platform: query.get("platform").map(str::to_owned),
        source,
    };
    let engine = call.engine().clone();
    let id = engine::image::import(&engine, request, call.into_reader()).await?;
    Ok(reply::ok(&status(id)))
}
