//! Calls about images.

use api_types::container::IdReply;
use api_types::image::{
    HistoryItem, ImageBlobs, ImageDelete, ImagePackRequest, ImageSummary, ImagesPruneReply, MissingReply,
    MissingRequest,
};
use api_types::stream::Progress;
use http::Method;
use serde_json::value::RawValue;
use tokio::io::AsyncRead;

use crate::stream::{JsonStream, Reader};
use crate::transport::decode;
use crate::{Client, ClientError, Filters, Query, RegistryAuth};

/// A tar archive on its way to the daemon.
pub type Upload = Box<dyn AsyncRead + Send>;

/// Which images to list.
#[derive(Clone, Debug, Default)]
pub struct ListImages {
    /// Also those that are only parents.
    pub all: bool,
    /// Which ones.
    pub filters: Filters,
}

/// What an imported file system becomes.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name without a tag; empty for none.
    pub repository: String,
    /// The tag; empty for `latest`.
    pub tag: String,
    /// The image's comment.
    pub message: String,
    /// Dockerfile instructions such as `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// `os/arch`; empty for the host's.
    pub platform: String,
}

/// The calls take an image's name, id or the beginning of its id.
impl Client {
    /// Lists images.
    pub async fn list_images(&self, options: &ListImages) -> Result<Vec<ImageSummary>, ClientError> {
        let query = Query::new(&["images", "json"])
            .with_flag("all", options.all)
            .with_filters(&options.filters);
        self.get(&query).await
    }

    /// Returns all that is known of an image, as the daemon wrote it.
    pub async fn inspect_image(&self, name: &str) -> Result<Box<RawValue>, ClientError> {
        self.get(&Query::new(&["images", name, "json"])).await
    }

    /// Removes a name of an image, and the image with its last name.
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
    ) -> Result<Vec<ImageDelete>, ClientError> {
        let query = Query::new(&["images", name])
            .with_flag("force", force)
            .with_flag("noprune", no_prune);
        let body = self.call(Method::DELETE, &query).await?;
        decode(&body, query.as_str())
    }

    /// Gives an image another name.
    pub async fn tag_image(&self, name: &str, repository: &str, tag: &str) -> Result<(), ClientError> {
        let query = Query::new(&["images", name, "tag"])
            .with("repo", repository)
            .with_text("tag", tag);
        self.call(Method::POST, &query).await.map(drop)
    }

    /// Loads the images of a docker or OCI archive.
    pub async fn load_images(
        &self,
        archive: Upload,
        quiet: bool,
    ) -> Result<JsonStream<Progress>, ClientError> {
        let query = Query::new(&["images", "load"]).with("quiet", if quiet { "1" } else { "0" });
        self.upload(&query, "application/x-tar", archive).await
    }

    /// Makes an image out of a file system in a tar archive.
    pub async fn import_image(
        &self,
        archive: Upload,
        options: &ImportOptions,
    ) -> Result<JsonStream<Progress>, ClientError> {
        let mut query = Query::new(&["images", "create"])
            .with("fromSrc", "-")
            .with_text("repo", &options.repository)
            .with_text("tag", &options.tag)
            .with_text("message", &options.message)
            .with_text("platform", &options.platform);
        for change in &options.changes {
            query = query.with("changes", change);
        }
        self.upload(&query, "application/x-tar", archive).await
    }

    /// Makes an image out of programs of the daemon's host and returns its id (Berth only).
    pub async fn pack_image(&self, request: &ImagePackRequest) -> Result<String, ClientError> {
        let query = Query::new(&["images", "pack"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode::<IdReply>(&body, query.as_str()).map(|reply| reply.id)
    }

    /// Returns the layers and instructions that an image was made of, the last first.
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>, ClientError> {
        self.get(&Query::new(&["images", name, "history"])).await
    }

    /// Pulls an image, or with an empty tag every tag of a repository. The tag may be a digest.
    pub async fn pull_image(
        &self,
        repository: &str,
        tag: &str,
        platform: &str,
        auth: &RegistryAuth,
    ) -> Result<JsonStream<Progress>, ClientError> {
        let query = Query::new(&["images", "create"])
            .with("fromImage", repository)
            .with_text("tag", tag)
            .with_text("platform", platform);
        self.progress_with_auth(&query, auth).await
    }

    /// Pushes an image, or with an empty tag every tag of a repository, to the registry in its name.
    pub async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        auth: &RegistryAuth,
    ) -> Result<JsonStream<Progress>, ClientError> {
        let query = Query::new(&["images", repository, "push"]).with_text("tag", tag);
        self.progress_with_auth(&query, auth).await
    }

    /// Returns a tar archive with the named images as it is written.
    pub async fn save_images(&self, names: &[String]) -> Result<Reader, ClientError> {
        let mut query = Query::new(&["images", "get"]);
        for name in names {
            query = query.with("names", name);
        }
        self.read(Method::GET, &query).await.map(|(_, archive)| archive)
    }

    /// Returns a tar archive with one image, of which only some blobs are in it (Berth only).
    pub async fn save_image_blobs(&self, name: &str, blobs: &[String]) -> Result<Reader, ClientError> {
        let query = Query::new(&["images", "get"])
            .with("names", name)
            .with("blobs", &blobs.join(","));
        self.read(Method::GET, &query).await.map(|(_, archive)| archive)
    }

    /// Returns what an image is made of (Berth only).
    pub async fn image_blobs(&self, name: &str) -> Result<ImageBlobs, ClientError> {
        self.get(&Query::new(&["images", name, "blobs"])).await
    }

    /// Asks which blobs of an image the daemon has not, and to keep the others for it (Berth only).
    pub async fn missing_blobs(&self, request: &MissingRequest) -> Result<Vec<String>, ClientError> {
        let query = Query::new(&["images", "missing"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode::<MissingReply>(&body, query.as_str()).map(|reply| reply.missing)
    }

    /// Removes images that nothing uses.
    pub async fn prune_images(&self, filters: &Filters) -> Result<ImagesPruneReply, ClientError> {
        let query = Query::new(&["images", "prune"]).with_filters(filters);
        let body = self.call(Method::POST, &query).await?;
        decode(&body, query.as_str())
    }
}
