//! Which rules stand for an image: the most specific scope wins, and nothing of the others counts.
//!
//! Order for `docker` (containers-policy.json(5), "docker:"): the whole name with tag or digest, the repository, each
//! namespace above it, the host, `*.` and each domain above the host, the transport's default `""`, the policy's.

use oci::Reference;

use super::Source;
use super::document::{Document, Requirement};

/// Returns the requirements for a source, and where they stand.
pub(super) fn rules<'a>(document: &'a Document, source: &Source<'_>) -> (String, &'a [Requirement]) {
    let transport = match source {
        Source::Registry(name) | Source::Local(Some(name)) => {
            if let Some((scope, requirements)) = explicit(document, name) {
                return (place("docker", scope), requirements);
            }
            if matches!(source, Source::Registry(_)) {
                "docker"
            } else {
                "containers-storage"
            }
        }
        Source::Local(None) => "containers-storage",
        Source::DockerArchive => "docker-archive",
        Source::OciArchive => "oci-archive",
        Source::Tarball => "tarball",
    };
    match document
        .transports
        .get(transport)
        .and_then(|scopes| scopes.get(""))
    {
        Some(requirements) => (place(transport, ""), requirements),
        None => ("default".to_owned(), &document.default),
    }
}

/// Returns the scope of the `docker` transport that stands for a name, other than the transport's default.
pub(super) fn explicit<'a>(document: &'a Document, name: &Reference) -> Option<(&'a str, &'a [Requirement])> {
    let scopes = document.transports.get("docker")?;
    candidates(name).iter().find_map(|candidate| {
        let (scope, requirements) = scopes.get_key_value(candidate)?;
        Some((scope.as_str(), requirements.as_slice()))
    })
}

/// Returns the scopes that stand for a name, most specific first.
fn candidates(name: &Reference) -> Vec<String> {
    let repository = name.repository();
    let mut scopes = Vec::new();
    if let Some(digest) = name.digest() {
        scopes.push(format!("{repository}@{digest}"));
    }
    if let Some(tag) = name.tag() {
        scopes.push(format!("{repository}:{tag}"));
    }
    let mut rest = repository.as_str();
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None => break,
        }
    }
    // A wildcard stands for subdomains of any depth, whatever the port.
    let host = name.domain();
    let host = if host.starts_with('[') {
        ""
    } else {
        host.split_once(':').map_or(host, |(host, _)| host)
    };
    let mut rest = host;
    while let Some((_, above)) = rest.split_once('.') {
        scopes.push(format!("*.{above}"));
        rest = above;
    }
    scopes
}

/// Checks a scope of the `docker` transport: one that no name could ever have would be a rule that is not there.
pub(super) fn check(scope: &str) -> Result<(), String> {
    if scope.is_empty() {
        return Ok(());
    }
    if let Some(domain) = scope.strip_prefix("*.") {
        let is_domain = Reference::parse(&format!("x.{domain}/x")).is_ok()
            && !domain.contains(['/', ':', '@', '*'])
            && !domain.is_empty();
        return if is_domain {
            Ok(())
        } else {
            Err("a wildcard is \"*.\" and a domain".to_owned())
        };
    }
    // A host alone, or a namespace, is made a name by what could stand below it.
    let wanted = |name: &Reference| candidates(name).iter().any(|candidate| candidate == scope);
    let whole = Reference::parse(scope).is_ok_and(|name| wanted(&name));
    let above = Reference::parse(&format!("{scope}/x")).is_ok_and(|name| wanted(&name));
    if whole || above {
        Ok(())
    } else {
        Err(
            "no image has such a name: it must be written in full, as \"docker.io/library/busybox\""
                .to_owned(),
        )
    }
}

fn place(transport: &str, scope: &str) -> String {
    format!("transports.{transport}.\"{scope}\"")
}
