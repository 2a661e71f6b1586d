//! Logs: what a container wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use std::ops::ControlFlow;
use std::path::Path;

use base::clock::Timestamp;
use base::id::ContainerId;
use bytes::Bytes;
use logs::control::Control;
use logs::reader::{ReadError, ReadOptions, Reader};
use logs::record::{Record, Stream};
use tokio::sync::mpsc;

use super::record::Container;
use super::view::ChangeError;
use crate::Engine;

/// Lines that wait for a slow client; the reader stops when they are this many.
const QUEUE: usize = 64;

/// Which log lines are wanted.
#[derive(Clone, Debug)]
pub struct LogsRequest {
    /// Whether stdout is wanted.
    pub stdout: bool,
    /// Whether stderr is wanted.
    pub stderr: bool,
    /// Whether to wait for more until the container ends.
    pub follow: bool,
    /// Nothing before this time.
    pub since: Option<Timestamp>,
    /// Nothing after this time.
    pub until: Option<Timestamp>,
    /// Only so many last lines.
    pub tail: Option<u64>,
    /// Whether to look among the kept logs of removed containers, if there is no such container.
    pub removed: bool,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output (or the terminal).
    Stdout,
    /// Standard error.
    Stderr,
}

/// One log record.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Where it came from.
    pub output: Output,
    /// When it was written.
    pub time: Timestamp,
    /// The bytes, with the line feed that ended them if there was one.
    pub bytes: Bytes,
    /// Extra attributes (`--log-opt labels`, `env`), for `details`.
    pub attributes: BTreeMap<String, String>,
}

/// Log lines in order.
#[derive(Debug)]
pub struct LogStream {
    receiver: mpsc::Receiver<LogLine>,
    control: Control,
}

impl LogStream {
    /// Returns the next line, or `None` at the end. Dropping the stream ends a follow.
    pub async fn next(&mut self) -> Option<LogLine> {
        self.receiver.recv().await
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.control.cancel();
    }
}

/// A container's log.
#[derive(Debug)]
pub struct Logs {
    /// Whether the container has a terminal: lines are then delivered without frame headers.
    pub tty: bool,
    /// The lines.
    pub stream: LogStream,
}

/// Reads a container's log.
pub async fn logs(engine: &Arc<Engine>, name: &str, request: LogsRequest) -> Result<Logs, ChangeError> {
    if !request.stdout && !request.stderr {
        return Err(ChangeError::Invalid {
            text: "Bad parameters: you must choose at least one stream".to_owned(),
        });
    }
    match engine.registry.find(name) {
        Ok(container) => {
            let record = container.record();
            let path = engine.layout.log(&container.id, &record.log_driver);
            read(
                &path,
                &record.log_driver,
                record.config.tty,
                &container.id,
                request,
                Some(&container),
            )
        }
        Err(error) => match engine.kept_logs.find(name).filter(|_| request.removed) {
            Some((kept, path)) => read(&path, &kept.facts.driver, kept.facts.tty, &kept.id, request, None),
            None => Err(error.into()),
        },
    }
}

/// Reads a log's files; `container` is followed, as long as it is there.
fn read(
    path: &Path,
    driver: &str,
    tty: bool,
    id: &ContainerId,
    request: LogsRequest,
    container: Option<&Arc<Container>>,
) -> Result<Logs, ChangeError> {
    let step = |source: Box<dyn std::error::Error + Send + Sync>| ChangeError::Step {
        doing: "read the log of",
        id: id.to_string(),
        source,
    };
    let container = container.filter(|_| request.follow);
    let options = ReadOptions {
        tail: request.tail,
        since: request.since,
        until: request.until,
        follow: container.is_some(),
        stdout: request.stdout,
        stderr: request.stderr,
    };
    let reader = Reader::open(path, driver, options).map_err(|error| match error {
        ReadError::Unsupported => ChangeError::Unsupported {
            text: error.to_string(),
        },
        error => step(Box::new(error)),
    })?;
    let control = Control::new().map_err(|error| step(Box::new(error)))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    if let Some(container) = container {
        let (mut view, told, closed) = (container.view.subscribe(), control.clone(), sender.clone());
        drop(tokio::spawn(async move {
            tokio::select! {
                // An error means that the container is gone.
                ended = view.wait_for(|view| view.gone || !view.status.is_running()) => drop(ended),
                () = closed.closed() => {}
            }
            told.container_stopped();
        }));
    }
    let id = id.clone();
    let reading = control.clone();
    drop(tokio::task::spawn_blocking(move || {
        let read = reader.run(&reading, |record| match sender.blocking_send(line(record)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_nobody_listens) => ControlFlow::Break(()),
        });
        if let Err(error) = read {
            tracing::warn!(container = %id, error = %base::error::chain(&error), "a log could not be read to its end");
        }
    }));
    Ok(Logs {
        tty,
        stream: LogStream { receiver, control },
    })
}

fn line(record: Record) -> LogLine {
    LogLine {
        output: match record.stream {
            Stream::Stdout => Output::Stdout,
            Stream::Stderr => Output::Stderr,
        },
        time: record.time,
        bytes: record.line.into(),
        attributes: record.attributes,
    }
}
