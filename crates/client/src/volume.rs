//! Calls about volumes.

use api_types::volume::{Volume, VolumeCreateRequest, VolumeList, VolumesPruneReply};
use http::Method;
use serde_json::value::RawValue;

use crate::transport::decode;
use crate::{Client, ClientError, Filters, Query};

impl Client {
    /// Creates a volume; an empty name leaves the choice to the daemon.
    pub async fn create_volume(&self, request: &VolumeCreateRequest) -> Result<Volume, ClientError> {
        let query = Query::new(&["volumes", "create"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode(&body, query.as_str())
    }

    /// Lists volumes.
    pub async fn list_volumes(&self, filters: &Filters) -> Result<VolumeList, ClientError> {
        self.get(&Query::new(&["volumes"]).with_filters(filters)).await
    }

    /// Returns all that is known of a volume, as the daemon wrote it.
    pub async fn inspect_volume(&self, name: &str) -> Result<Box<RawValue>, ClientError> {
        self.get(&Query::new(&["volumes", name])).await
    }

    /// Removes a volume with its data.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<(), ClientError> {
        let query = Query::new(&["volumes", name]).with_flag("force", force);
        self.call(Method::DELETE, &query).await.map(drop)
    }

    /// Removes volumes that no container has.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruneReply, ClientError> {
        let query = Query::new(&["volumes", "prune"]).with_filters(filters);
        let body = self.call(Method::POST, &query).await?;
        decode(&body, query.as_str())
    }
}
