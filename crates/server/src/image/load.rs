//! `POST /images/load`.

use api_types::stream::{ErrorDetail, Progress, ProgressDetail};
use engine::image::{LoadEvent, Loaded};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::image::push::line;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn load(call: Call) -> Result<Reply, ApiError> {
    if call.query.get("platform").is_some() {
        return Err(ApiError::unsupported(
            "loading one platform of an archive (--platform)",
        ));
    }
    let engine = call.engine().clone();
    let quiet = call.query.flag("quiet");
    let (sender, mut receiver) = mpsc::channel(16);
    let archive = call.into_reader();
    let mut loading = tokio::spawn(async move { engine::image::load(&engine, archive, sender).await });
    // What fails before there is something to tell has a status.
    let first = if quiet { None } else { receiver.recv().await };
    let Some(first) = first else {
        let loaded = loading.await.map_err(died)??;
        let lines: Vec<u8> = loaded
            .iter()
            .flat_map(names)
            .flat_map(|message| line(&message))
            .collect();
        return Ok(reply::typed(
            http::StatusCode::OK,
            "application/json",
            reply::full(lines),
        ));
    };
    let (replies, stream) = reply::channel();
    drop(tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(event) = next {
            // A client that is gone has sent all it would; what is here is loaded all the same.
            drop(replies.send(Ok(line(&layer(event)))).await);
            next = receiver.recv().await;
        }
        let messages = match (&mut loading).await {
            Ok(Ok(loaded)) => loaded.iter().flat_map(names).collect(),
            Ok(Err(error)) => vec![failure(base::error::chain(&error).to_string())],
            Err(error) => vec![failure(error.to_string())],
        };
        for message in messages {
            drop(replies.send(Ok(line(&message))).await);
        }
    }));
    Ok(reply::stream("application/json", stream.boxed()))
}

fn died(error: tokio::task::JoinError) -> ApiError {
    ApiError::new(base::error::Kind::Internal, error.to_string())
}

fn layer(event: LoadEvent) -> Progress {
    Progress {
        id: event.layer,
        status: "Loading layer".to_owned(),
        progress_detail: Some(ProgressDetail {
            current: signed(event.current),
            total: signed(event.total),
        }),
        ..Progress::default()
    }
}

fn names(image: &Loaded) -> Vec<Progress> {
    let lines = if image.references.is_empty() {
        vec![format!("Loaded image ID: {}\n", image.id)]
    } else {
        let names = image.references.iter();
        names.map(|name| format!("Loaded image: {name}\n")).collect()
    };
    lines
        .into_iter()
        .map(|stream| Progress {
            stream,
            ..Progress::default()
        })
        .collect()
}

fn failure(message: String) -> Progress {
    Progress {
        error_detail: Some(ErrorDetail {
            code: 0,
            message: message.clone(),
        }),
        error: message,
        ..Progress::default()
    }
}
