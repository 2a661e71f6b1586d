//! Registries by the names that people use, and how safely each is spoken to.

use std::net::IpAddr;

use super::config::ClientConfig;
use super::origin::{Origin, is_name};
use super::proxy::in_network;

/// Docker's registry as images name it.
pub(crate) const DOCKER: &str = "docker.io";
/// The server behind that name.
const DOCKER_SERVER: &str = "registry-1.docker.io";
/// The server that is searched, and the key of its credentials (`https://index.docker.io/v1/`).
pub(crate) const DOCKER_INDEX: &str = "index.docker.io";

/// How a registry may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// TLS with a certificate that is checked.
    Strict,
    /// TLS if it is spoken there, whatever the certificate; else none. Loopback, and what is listed.
    Insecure,
    /// TLS, whatever the certificate: a mirror whose URL says `https` and whose host is listed.
    Unchecked,
    /// No TLS: a mirror whose URL says so.
    Plain,
}

/// Returns the server to ask for images of `domain`.
pub(crate) fn server_of(domain: &str) -> &str {
    match domain {
        DOCKER | DOCKER_INDEX => DOCKER_SERVER,
        other => other,
    }
}

/// Returns the domain that `server`, as it is given to `docker login`, means: without scheme and path.
pub(crate) fn domain_of(server: &str) -> &str {
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    match rest.split('/').next().unwrap_or_default() {
        "" | DOCKER_INDEX | DOCKER_SERVER => DOCKER,
        host => host,
    }
}

/// Returns how `origin` (of either scheme) may be spoken to.
///
/// Only what is written counts: a name is never looked up to find that it means a loopback address, because whoever
/// answers that question would choose between TLS and none.
pub(crate) fn safety(config: &ClientConfig, origin: &Origin, authority: &str) -> Safety {
    if is_listed(config, origin, authority) || origin.is_loopback() {
        Safety::Insecure
    } else {
        Safety::Strict
    }
}

/// Returns whether `origin` is on the list of insecure registries.
pub(crate) fn is_listed(config: &ClientConfig, origin: &Origin, authority: &str) -> bool {
    let authority = authority.to_ascii_lowercase();
    config.insecure_registries.iter().any(|entry| {
        if entry.contains('/') {
            return origin
                .address()
                .is_some_and(|address| in_network(entry, address) == Some(true));
        }
        let entry = entry.to_ascii_lowercase();
        entry == authority || entry == origin.host
    })
}

/// Returns what is wrong with an entry of the list of insecure registries.
pub(crate) fn check_entry(entry: &str) -> Result<(), String> {
    let good = match entry.split_once('/') {
        Some((base, _)) => base
            .parse::<IpAddr>()
            .is_ok_and(|base| in_network(entry, base).is_some()),
        None => Origin::parse(true, entry).is_some() || is_name(entry),
    };
    if good {
        Ok(())
    } else {
        Err(format!(
            "insecure registry {entry:?} is not a host, a host with a port, or a network"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_docker_hub() {
        assert_eq!(server_of("docker.io"), "registry-1.docker.io");
        assert_eq!(server_of("reg.test:5000"), "reg.test:5000");
        for server in [
            "",
            "docker.io",
            "https://index.docker.io/v1/",
            "registry-1.docker.io",
        ] {
            assert_eq!(domain_of(server), "docker.io", "{server}");
        }
        assert_eq!(domain_of("http://reg.test:5000/v2/"), "reg.test:5000");
    }

    #[test]
    fn im_04_only_what_is_written_is_insecure() {
        let mut config = ClientConfig::standard("1");
        config.insecure_registries = ["Reg.Test:5000", "all.test", "10.0.0.0/8", "fd00::/8"]
            .map(str::to_owned)
            .to_vec();
        for (authority, expected) in [
            ("127.0.0.1:5000", Safety::Insecure),
            ("127.8.8.8", Safety::Insecure),
            ("[::1]:5000", Safety::Insecure),
            ("localhost", Safety::Insecure),
            ("localhost.test", Safety::Strict),
            ("reg.test:5000", Safety::Insecure),
            ("reg.test", Safety::Strict),
            ("reg.test:5001", Safety::Strict),
            ("all.test:1", Safety::Insecure),
            ("a.all.test", Safety::Strict),
            ("10.9.9.9:5000", Safety::Insecure),
            ("11.9.9.9:5000", Safety::Strict),
            ("[fd00::1]:5000", Safety::Insecure),
            ("128.0.0.1", Safety::Strict),
        ] {
            let origin = Origin::parse(true, authority).unwrap();
            assert_eq!(safety(&config, &origin, authority), expected, "{authority}");
        }
        for entry in ["a/b", "http://a", "10.0.0.0/33", "", "a b", "../x"] {
            assert!(check_entry(entry).is_err(), "{entry}");
        }
    }
}
