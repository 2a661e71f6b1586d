//! The registries that images come from and go to: how they are spoken to, and with which credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use registry::client::{Client, ClientConfig, Credentials, Mirror, RegistryError};

use crate::EngineConfig;

/// The client of all registries, made when it is first needed: most daemons never need it.
pub(crate) struct Registries {
    config: ClientConfig,
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Registries {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let mirrors = config.registry_mirrors.iter().map(|url| Mirror {
            url: url.clone(),
            // Those of Docker Hub are for Docker Hub.
            credentials: Credentials::Anonymous,
        });
        Self {
            config: ClientConfig {
                insecure_registries: config.insecure_registries.clone(),
                // Docker's setting is for Docker Hub only.
                mirrors: BTreeMap::from([("docker.io".to_owned(), mirrors.collect())]),
                ..ClientConfig::standard(env!("CARGO_PKG_VERSION"))
            },
            client: Mutex::default(),
        }
    }

    /// Returns the client; clones share connections.
    pub(crate) fn client(&self) -> Result<Client, RegistryError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = Client::new(self.config.clone())?;
        *client = Some(made.clone());
        Ok(made)
    }
}
