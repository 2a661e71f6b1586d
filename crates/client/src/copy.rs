//! Calls about the files of a container: commit, export, and archives of paths.

use api_types::container::{IdReply, PathStat};
use http::Method;

use crate::image::Upload;
use crate::stream::Reader;
use crate::transport::decode;
use crate::{Client, ClientError, Query};

/// What a committed image is.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// The name without a tag; empty for none.
    pub repository: String,
    /// The tag; empty for `latest`.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// The comment.
    pub comment: String,
    /// Dockerfile instructions such as `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// Whether the container is frozen meanwhile.
    pub pause: bool,
}

/// The header that says what a path is.
const PATH_STAT: &str = "x-docker-container-path-stat";

/// The calls take a container's name, id or the beginning of its id.
impl Client {
    /// Makes an image of a container's changes and returns its id.
    pub async fn commit_container(&self, id: &str, options: &CommitOptions) -> Result<String, ClientError> {
        let mut query = Query::new(&["commit"])
            .with("container", id)
            .with_text("repo", &options.repository)
            .with_text("tag", &options.tag)
            .with_text("author", &options.author)
            .with_text("comment", &options.comment);
        for change in &options.changes {
            query = query.with("changes", change);
        }
        if !options.pause {
            query = query.with("pause", "0");
        }
        let body = self.call(Method::POST, &query).await?;
        decode::<IdReply>(&body, query.as_str()).map(|reply| reply.id)
    }

    /// Takes a container's files `steps` states back and returns the id of the image that it stands on then.
    pub async fn rollback_container(&self, id: &str, steps: usize) -> Result<String, ClientError> {
        let query = Query::new(&["berth", "containers", id, "rollback"]).with("steps", &steps.to_string());
        let body = self.call(Method::POST, &query).await?;
        decode::<IdReply>(&body, query.as_str()).map(|reply| reply.id)
    }

    /// Returns a tar archive of all of a container's files as it is written.
    pub async fn export_container(&self, id: &str) -> Result<Reader, ClientError> {
        let query = Query::new(&["containers", id, "export"]);
        self.read(Method::GET, &query).await.map(|(_, archive)| archive)
    }

    /// Returns what a path in a container is.
    pub async fn stat_path(&self, id: &str, path: &str) -> Result<PathStat, ClientError> {
        let query = Query::new(&["containers", id, "archive"]).with("path", path);
        let headers = match self.fetch(Method::HEAD, &query).await {
            Ok((headers, _empty)) => headers,
            // The answer to HEAD has no words; those to GET say what is wrong.
            Err(ClientError::Status { status: 500.., .. }) => self.fetch(Method::GET, &query).await?.0,
            Err(error) => return Err(error),
        };
        path_stat(&headers, &query)
    }

    /// Returns what a path in a container is, and a tar archive of it as it is written.
    pub async fn copy_from_container(&self, id: &str, path: &str) -> Result<(PathStat, Reader), ClientError> {
        let query = Query::new(&["containers", id, "archive"]).with("path", path);
        let (headers, archive) = self.fetch(Method::GET, &query).await?;
        Ok((path_stat(&headers, &query)?, archive))
    }

    /// Unpacks a tar archive in the directory `path` of a container; with `copy_ids` its files get the ids of the
    /// container's user. A directory never replaces something else, nor the other way round.
    pub async fn copy_to_container(
        &self,
        id: &str,
        path: &str,
        archive: Upload,
        copy_ids: bool,
    ) -> Result<(), ClientError> {
        let query = Query::new(&["containers", id, "archive"])
            .with("path", path)
            .with("noOverwriteDirNonDir", "true")
            .with_flag("copyUIDGID", copy_ids);
        self.put(&query, archive).await
    }
}

fn path_stat(headers: &http::HeaderMap, query: &Query) -> Result<PathStat, ClientError> {
    let text = headers.get(PATH_STAT).and_then(|value| value.to_str().ok());
    let decoded = text.and_then(base::base64::decode).unwrap_or_default();
    decode(&decoded, query.as_str())
}
