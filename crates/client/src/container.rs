//! Calls about containers.

use api_types::container::{
    Change, ContainerSummary, ContainersPruneReply, CreateReply, CreateRequest, TopReply, UpdateReply,
    WaitReply,
};
use api_types::host_config::UpdateRequest;
use api_types::stats::Stats;
use http::Method;
use serde_json::value::RawValue;

use crate::stream::{Hijacked, JsonStream, Reader};
use crate::transport::decode;
use crate::{Client, ClientError, Filters, Query};

/// Which streams to attach, and how.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Send input to the container.
    pub stdin: bool,
    /// Receive its standard output.
    pub stdout: bool,
    /// Receive its standard error.
    pub stderr: bool,
    /// Keep the stream open; otherwise only what `logs` asks for.
    pub stream: bool,
    /// First what the log holds.
    pub logs: bool,
    /// Docker's spelling, such as `ctrl-p,ctrl-q`; empty is the daemon's default.
    pub detach_keys: String,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// The container does not run (at once if it does not run now).
    NotRunning,
    /// The next exit after the call.
    NextExit,
    /// The removal of the container.
    Removed,
}

impl WaitCondition {
    /// Returns the API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "not-running",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

/// A wait that the daemon has accepted.
#[derive(Debug)]
pub struct Wait(JsonStream<WaitReply>);

impl Wait {
    /// Returns the exit code when the condition has come true; `None` if the daemon went away first.
    pub async fn result(&mut self) -> Result<Option<WaitReply>, ClientError> {
        self.0.next().await.transpose()
    }
}

/// Which log lines, and in which form.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Wait for more.
    pub follow: bool,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Seconds since the epoch (`1136073845.000000001`) or empty.
    pub since: String,
    /// As `since`.
    pub until: String,
    /// A number, `all` or empty.
    pub tail: String,
    /// Put the time in front of each line.
    pub timestamps: bool,
    /// Put the labels that the log driver kept in front of each line.
    pub details: bool,
    /// Look among the kept logs of removed containers, if there is no such container. Berth's own.
    pub removed: bool,
}

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// Only the last ones created.
    pub limit: Option<i64>,
    /// Count the sizes.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// How to remove a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
    /// Remove the link of that name only.
    pub link: bool,
}

/// The calls take a container's name, id or the beginning of its id.
impl Client {
    /// Creates a container; an empty `name` or `platform` leaves the choice to the daemon.
    pub async fn create_container(
        &self,
        name: &str,
        platform: &str,
        request: &CreateRequest,
    ) -> Result<CreateReply, ClientError> {
        let query = Query::new(&["containers", "create"])
            .with_text("name", name)
            .with_text("platform", platform);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode(&body, query.as_str())
    }

    /// Starts a container; empty `detach_keys` are the daemon's.
    pub async fn start_container(&self, id: &str, detach_keys: &str) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "start"]).with_text("detachKeys", detach_keys);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Connects to a container's streams.
    pub async fn attach_container(&self, id: &str, options: &AttachOptions) -> Result<Hijacked, ClientError> {
        let query = Query::new(&["containers", id, "attach"])
            .with_text("detachKeys", &options.detach_keys)
            .with_flag("logs", options.logs)
            .with_flag("stream", options.stream)
            .with_flag("stdin", options.stdin)
            .with_flag("stdout", options.stdout)
            .with_flag("stderr", options.stderr);
        self.hijack::<()>(&query, None).await
    }

    /// Starts waiting; returns when the daemon has taken note, so that an exit after this call is seen.
    pub async fn wait_container(&self, id: &str, condition: WaitCondition) -> Result<Wait, ClientError> {
        let query = Query::new(&["containers", id, "wait"]).with("condition", condition.as_str());
        let body = self.stream(Method::POST, &query).await?;
        Ok(Wait(JsonStream::new(body, query.as_str().to_owned())))
    }

    /// Returns the log as it is read; `Some(true)` if it has frame heads, `None` if the daemon did not say.
    pub async fn container_logs(
        &self,
        id: &str,
        options: &LogOptions,
    ) -> Result<(Option<bool>, Reader), ClientError> {
        let path: &[&str] = if options.removed {
            &["berth", "containers", id, "logs"]
        } else {
            &["containers", id, "logs"]
        };
        let query = Query::new(path)
            .with_flag("stdout", options.stdout)
            .with_flag("stderr", options.stderr)
            .with_text("since", &options.since)
            .with_text("until", &options.until)
            .with_flag("timestamps", options.timestamps)
            .with_flag("follow", options.follow)
            .with_flag("details", options.details)
            .with_text("tail", &options.tail);
        self.read(Method::GET, &query).await
    }

    /// Sets the size of a container's terminal.
    pub async fn resize_container(&self, id: &str, rows: u16, columns: u16) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "resize"])
            .with("h", &rows.to_string())
            .with("w", &columns.to_string());
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Stops a container: `signal`, then after `timeout` seconds (-1: never) a kill.
    pub async fn stop_container(
        &self,
        id: &str,
        signal: &str,
        timeout: Option<i64>,
    ) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "stop"])
            .with_text("signal", signal)
            .with_number("t", timeout);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Stops and starts a container.
    pub async fn restart_container(
        &self,
        id: &str,
        signal: &str,
        timeout: Option<i64>,
    ) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "restart"])
            .with_text("signal", signal)
            .with_number("t", timeout);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Sends a signal to a container's first process.
    pub async fn kill_container(&self, id: &str, signal: &str) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "kill"]).with_text("signal", signal);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Removes a container.
    pub async fn remove_container(&self, id: &str, options: RemoveOptions) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id])
            .with_flag("v", options.volumes)
            .with_flag("link", options.link)
            .with_flag("force", options.force);
        self.call(Method::DELETE, &query).await.map(drop)
    }

    /// Freezes all processes of a container.
    pub async fn pause_container(&self, id: &str) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "pause"]);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Lets them go on.
    pub async fn unpause_container(&self, id: &str) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "unpause"]);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Gives a container another name.
    pub async fn rename_container(&self, id: &str, name: &str) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "rename"]).with("name", name);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Changes a container's limits or restart policy.
    pub async fn update_container(
        &self,
        id: &str,
        request: &UpdateRequest,
    ) -> Result<UpdateReply, ClientError> {
        let query = Query::new(&["containers", id, "update"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode(&body, query.as_str())
    }

    /// Lists containers.
    pub async fn list_containers(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>, ClientError> {
        let query = Query::new(&["containers", "json"])
            .with_flag("all", options.all)
            .with_number("limit", options.limit)
            .with_flag("size", options.size)
            .with_filters(&options.filters);
        self.get(&query).await
    }

    /// Returns all that is known of a container, as the daemon wrote it.
    pub async fn inspect_container(&self, id: &str, size: bool) -> Result<Box<RawValue>, ClientError> {
        let query = Query::new(&["containers", id, "json"]).with_flag("size", size);
        self.get(&query).await
    }

    /// Returns the processes of a container as `ps` shows them.
    pub async fn top_container(&self, id: &str, arguments: &str) -> Result<TopReply, ClientError> {
        let query = Query::new(&["containers", id, "top"]).with_text("ps_args", arguments);
        self.get(&query).await
    }

    /// Returns what was changed in a container's files.
    pub async fn container_changes(&self, id: &str) -> Result<Option<Vec<Change>>, ClientError> {
        self.get(&Query::new(&["containers", id, "changes"])).await
    }

    /// Returns samples of a container's resource use, one or (with `stream`) one each second.
    pub async fn container_stats(&self, id: &str, stream: bool) -> Result<JsonStream<Stats>, ClientError> {
        let query = Query::new(&["containers", id, "stats"]).with("stream", if stream { "1" } else { "0" });
        let body = self.stream(Method::GET, &query).await?;
        Ok(JsonStream::new(body, query.as_str().to_owned()))
    }

    /// Removes all containers that do not run.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<ContainersPruneReply, ClientError> {
        let query = Query::new(&["containers", "prune"]).with_filters(filters);
        let body = self.call(Method::POST, &query).await?;
        decode(&body, query.as_str())
    }
}
