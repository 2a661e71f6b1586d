//! `--link`: names that one container knows another by, and on the default network its environment too.

use std::net::IpAddr;
use std::sync::Arc;

use super::ask::wanted;
use super::error::NetworkError;
use crate::Engine;
use crate::container::{Container, LookupError, View};

/// A link to a container that runs on the default network.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// What it is called.
    pub(crate) alias: String,
    /// Its address.
    pub(crate) address: IpAddr,
    /// The container.
    pub(crate) view: Arc<View>,
}

impl Link {
    /// Returns its names as /etc/hosts has them.
    pub(crate) fn names(&self) -> String {
        let mut names = self.alias.clone();
        for name in [self.view.id.short(), self.view.name.as_str()] {
            if name != self.alias {
                names.push(' ');
                names.push_str(name);
            }
        }
        names
    }

    /// Returns what docker puts into the environment of the container called `of`.
    fn environment(&self, of: &str) -> Vec<String> {
        let prefix = self.alias.replace('-', "_").to_uppercase();
        let mut all = vec![format!("{prefix}_NAME=/{of}/{}", self.alias)];
        let mut ports: Vec<(u16, &str)> = self
            .view
            .config
            .exposed_ports
            .ports()
            .map(|(port, protocol)| (port, protocol.as_str()))
            .collect();
        ports.sort_unstable();
        let address = self.address;
        if let Some((port, protocol)) = ports.first() {
            all.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
        }
        for (port, protocol) in ports {
            let own = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
            all.push(format!("{own}={protocol}://{address}:{port}"));
            all.push(format!("{own}_ADDR={address}"));
            all.push(format!("{own}_PORT={port}"));
            all.push(format!("{own}_PROTO={protocol}"));
        }
        let env = self
            .view
            .config
            .env
            .iter()
            .filter_map(|entry| entry.split_once('='));
        let theirs = env.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
        all.extend(theirs.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
        all
    }
}

/// Returns `container[:alias]` in its two parts.
pub(crate) fn parse(link: &str) -> (&str, &str) {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    // docker's client sends what inspect shows: `/db:/web/db`.
    (
        name.trim_start_matches('/'),
        alias.rsplit('/').next().unwrap_or(alias),
    )
}

/// Finds the container that a link names; docker's text if there is none.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<Container>, String> {
    engine
        .registry
        .find(name)
        .map_err(|error| format!("could not get container for {}: {error}", name.escape_default()))
}

/// Returns the links of a container on the default network; the containers must run.
pub(crate) fn of_default(engine: &Engine, container: &Container) -> Result<Vec<Link>, NetworkError> {
    let record = container.record();
    if record.host.links.is_empty() {
        return Ok(Vec::new());
    }
    let on_default = |endpoint: &&super::Endpoint| !endpoint.has_names();
    if !container
        .view()
        .endpoints
        .iter()
        .any(|endpoint| on_default(&endpoint))
    {
        return Ok(Vec::new());
    }
    let mut links = Vec::with_capacity(record.host.links.len());
    for link in &record.host.links {
        let (name, alias) = parse(link);
        let target = find(engine, name).map_err(NetworkError::invalid)?;
        let view = target.view();
        let address = view
            .endpoints
            .iter()
            .find(on_default)
            .and_then(|endpoint| endpoint.addresses().next());
        let Some(address) = address.filter(|_| view.status.has_process()) else {
            return Err(NetworkError::Conflict {
                text: format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    view.name,
                    container.view().name
                ),
            });
        };
        links.push(Link {
            alias: alias.to_owned(),
            address,
            view,
        });
    }
    Ok(links)
}

/// Returns what links add to a container's environment.
pub(crate) fn environment(engine: &Engine, container: &Container) -> Result<Vec<String>, NetworkError> {
    let name = container.view().name.clone();
    let links = of_default(engine, container)?;
    Ok(links.iter().flat_map(|link| link.environment(&name)).collect())
}

/// Returns the links of a container on other networks: a name of its own, and the container.
pub(crate) fn of_others(engine: &Engine, container: &Container) -> Vec<(String, Arc<View>)> {
    let asked = wanted(engine, &container.record());
    let links = asked.iter().flat_map(|asked| &asked.request.links);
    let found = |link: &String| -> Result<(String, Arc<View>), LookupError> {
        let (name, alias) = parse(link);
        Ok((alias.to_owned(), engine.registry.find(name)?.view()))
    };
    links.filter_map(|link| found(link).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_written_and_as_shown() {
        assert_eq!(parse("db"), ("db", "db"));
        assert_eq!(parse("db:sql"), ("db", "sql"));
        assert_eq!(parse("/db:/web/sql"), ("db", "sql"));
    }
}
