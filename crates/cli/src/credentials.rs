//! Credentials for registries: docker's `config.json` and its credential helpers.
//!
//! Where they are kept is chosen as docker does: `credHelpers` for the one registry, else `credsStore`, else the file
//! itself. What leaves here is always for the registry that was asked for and says so (`serveraddress`), so that the
//! daemon never has to guess whose credentials it holds.
//!
//! A command that talks to a registry calls [`for_image`] (pull, push, run) or [`for_index`] (search) and hands the
//! result to the client, which sends it as `X-Registry-Auth`.

mod file;
mod program;

use std::path::{Path, PathBuf};

use api_types::registry::AuthConfig;
use client::RegistryAuth;
use oci::Reference;

pub(crate) use file::{ConfigFile, FileProblem};
pub(crate) use program::{Helper, HelperError};

use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// What docker calls Docker Hub where it keeps credentials.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Returns the credentials for the registry of `image` (`[host[:port]/]name[:tag|@digest]`), as the header that pull and
/// push send. Empty credentials if there are none, or if a helper fails, which is told on standard error: most images
/// need none.
pub(crate) fn for_image(session: &Session<'_>, image: &str) -> Result<RegistryAuth, Failure> {
    // What is not a name is the daemon's to refuse.
    let domain =
        Reference::parse(image).map_or_else(|_refused| String::new(), |name| name.domain().to_owned());
    for_server(session, server_key(&domain))
}

/// Returns the credentials for the registry that a search term names (`[host[:port]/]term`).
pub(crate) fn for_index(session: &Session<'_>, term: &str) -> Result<RegistryAuth, Failure> {
    let domain = match term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "",
    };
    for_server(session, server_key(domain))
}

/// Returns the name under which docker keeps the credentials of a registry.
pub(crate) fn server_key(domain: &str) -> &str {
    match domain {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        domain => domain,
    }
}

fn for_server(session: &Session<'_>, server: &str) -> Result<RegistryAuth, Failure> {
    let store = CredentialStore::open(session)?;
    let found = match store.get(server) {
        Ok(found) => found,
        Err(error) => {
            output::err_line(&format!(
                "WARNING: no credentials for {server}: {}",
                base::error::chain(&error)
            ));
            None
        }
    };
    let auth = found.unwrap_or_else(|| AuthConfig {
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    });
    Ok(RegistryAuth::new(&auth))
}

/// Credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A helper.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// Where credentials are kept.
#[derive(Debug)]
pub(crate) struct CredentialStore {
    file: ConfigFile,
}

/// Where credentials went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// To a helper.
    Helper,
    /// As they are into that file.
    Unencrypted(PathBuf),
}

impl CredentialStore {
    /// Reads the configuration; one that is not there is empty.
    pub(crate) fn open(session: &Session<'_>) -> Result<Self, Failure> {
        Self::in_directory(session.config_directory())
    }

    fn in_directory(directory: &Path) -> Result<Self, Failure> {
        let file = ConfigFile::read(&directory.join("config.json"))
            .map_err(|error| Failure::message(base::error::chain(&error).to_string()))?;
        Ok(Self { file })
    }

    /// Returns the credentials for a registry, if there are any.
    pub(crate) fn get(&self, server: &str) -> Result<Option<AuthConfig>, CredentialError> {
        match self.helper(server)? {
            Some(helper) => Ok(helper.get(server)?),
            None => Ok(self.file.auth(server)?),
        }
    }

    /// Keeps credentials for their `serveraddress`.
    pub(crate) fn store(&mut self, auth: &AuthConfig) -> Result<Kept, CredentialError> {
        if let Some(helper) = self.helper(&auth.serveraddress)? {
            helper.store(auth)?;
            // Docker's other tools learn from the empty entry that there are credentials.
            self.file.set_auth(&auth.serveraddress, None);
            self.file.write()?;
            return Ok(Kept::Helper);
        }
        self.file.set_auth(&auth.serveraddress, Some(auth));
        self.file.write()?;
        Ok(Kept::Unencrypted(self.file.path().to_owned()))
    }

    /// Forgets the credentials of a registry, under every name that docker may have kept them.
    pub(crate) fn erase(&mut self, server: &str) -> Result<(), CredentialError> {
        let mut names = vec![server.to_owned()];
        if server != DOCKER_HUB {
            let host = host_of(server).to_owned();
            names.extend([format!("http://{host}"), format!("https://{host}"), host]);
        }
        names.dedup();
        let mut result = Ok(());
        for name in &names {
            if let Some(helper) = self.helper(name)?
                && (name == server || self.file.has_auth(name))
                && let Err(error) = helper.erase(name)
            {
                result = Err(error);
            }
            self.file.remove_auth(name);
        }
        self.file.write()?;
        Ok(result?)
    }

    fn helper(&self, server: &str) -> Result<Option<Helper>, CredentialError> {
        match self.file.helper_name(server) {
            Some(name) => Ok(Some(Helper::new(&name)?)),
            None => Ok(None),
        }
    }
}

/// Returns host and port of a registry's name or URL.
pub(crate) fn host_of(server: &str) -> &str {
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests;
