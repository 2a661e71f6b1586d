//! Calls about networks.

use api_types::network::{
    AddressMoveRequest, Network, NetworkAudit, NetworkConnectRequest, NetworkCreateReply,
    NetworkCreateRequest, NetworkDisconnectRequest, NetworksPruneReply,
};
use http::Method;
use serde_json::value::RawValue;

use crate::transport::decode;
use crate::{Client, ClientError, Filters, Query};

impl Client {
    /// Creates a network.
    pub async fn create_network(
        &self,
        request: &NetworkCreateRequest,
    ) -> Result<NetworkCreateReply, ClientError> {
        let query = Query::new(&["networks", "create"]);
        let body = self.call_with(Method::POST, &query, request).await?;
        decode(&body, query.as_str())
    }

    /// Lists networks.
    pub async fn list_networks(&self, filters: &Filters) -> Result<Vec<Network>, ClientError> {
        self.get(&Query::new(&["networks"]).with_filters(filters)).await
    }

    /// Returns all that is known of a network, as the daemon wrote it.
    pub async fn inspect_network(&self, name: &str, verbose: bool) -> Result<Box<RawValue>, ClientError> {
        let query = Query::new(&["networks", name]);
        let query = if verbose {
            query.with("verbose", "true")
        } else {
            query
        };
        self.get(&query).await
    }

    /// Removes a network that no container uses.
    pub async fn remove_network(&self, name: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &Query::new(&["networks", name]))
            .await
            .map(drop)
    }

    /// Removes networks that no container uses.
    pub async fn prune_networks(&self, filters: &Filters) -> Result<NetworksPruneReply, ClientError> {
        let query = Query::new(&["networks", "prune"]).with_filters(filters);
        let body = self.call(Method::POST, &query).await?;
        decode(&body, query.as_str())
    }

    /// Plugs a container into a network.
    pub async fn connect_network(
        &self,
        name: &str,
        request: &NetworkConnectRequest,
    ) -> Result<(), ClientError> {
        let query = Query::new(&["networks", name, "connect"]);
        self.call_with(Method::POST, &query, request).await.map(drop)
    }

    /// Unplugs a container from a network.
    pub async fn disconnect_network(
        &self,
        name: &str,
        request: &NetworkDisconnectRequest,
    ) -> Result<(), ClientError> {
        let query = Query::new(&["networks", name, "disconnect"]);
        self.call_with(Method::POST, &query, request).await.map(drop)
    }

    /// Gives an address to another container; a call of Berth's own.
    pub async fn move_address(&self, request: &AddressMoveRequest) -> Result<(), ClientError> {
        let query = Query::new(&["berth", "networks", "addresses", "move"]);
        self.call_with(Method::POST, &query, request).await.map(drop)
    }

    /// Asks what the outside can reach on this machine, and why; a call of Berth's own.
    pub async fn audit_networks(&self) -> Result<NetworkAudit, ClientError> {
        self.get(&Query::new(&["berth", "networks", "audit"])).await
    }
}
