//! Calls about exec sessions.

use api_types::container::IdReply;
use api_types::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest};
use http::Method;

use crate::stream::Hijacked;
use crate::transport::decode;
use crate::{Client, ClientError, Query};

impl Client {
    /// Prepares a command in a running container and returns the session's id.
    pub async fn create_exec(
        &self,
        container: &str,
        request: &ExecCreateRequest,
    ) -> Result<String, ClientError> {
        let query = Query::new(&["containers", container, "exec"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode::<IdReply>(&body, query.as_str()).map(|reply| reply.id)
    }

    /// Starts the session and returns at once (`request.detach` must be set).
    pub async fn start_exec_detached(&self, id: &str, request: &ExecStartRequest) -> Result<(), ClientError> {
        let query = Query::new(&["exec", id, "start"]);
        self.call_with(Method::POST, &query, request).await.map(drop)
    }

    /// Starts the session and connects to its streams.
    pub async fn start_exec(&self, id: &str, request: &ExecStartRequest) -> Result<Hijacked, ClientError> {
        let query = Query::new(&["exec", id, "start"]);
        self.hijack(&query, Some(request)).await
    }

    /// Sets the size of the session's terminal.
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<(), ClientError> {
        let query = Query::new(&["exec", id, "resize"])
            .with("h", &rows.to_string())
            .with("w", &columns.to_string());
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Returns the session's state and exit code.
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecInspect, ClientError> {
        self.get(&Query::new(&["exec", id, "json"])).await
    }
}
