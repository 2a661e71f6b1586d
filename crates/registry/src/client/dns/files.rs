//! `/etc/hosts` (hosts(5)) and `/etc/resolv.conf` (resolv.conf(5)).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Most of a file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;

/// How to ask name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
}

impl Resolution {
    /// Returns the names to ask for, in turn: as it is and below each search domain, by the number of its dots.
    pub(super) fn candidates(&self, host: &str) -> Vec<String> {
        let mut names: Vec<_> = self
            .search
            .iter()
            .map(|domain| format!("{host}.{domain}"))
            .collect();
        let at = if host.matches('.').count() >= self.ndots {
            0
        } else {
            names.len()
        };
        names.insert(at, host.to_owned());
        names
    }
}

/// Returns the addresses that the file at `path` lists for `host`; none if there is no such file.
pub(super) async fn hosts(path: &Path, host: &str) -> Vec<IpAddr> {
    let text = read(path).await;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(host))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Returns what the file at `path` says; the name server of this host, if it is not there.
pub(super) async fn resolution(path: &Path) -> Resolution {
    parse(&read(path).await)
}

fn parse(text: &str) -> Resolution {
    let mut resolution = Resolution {
        servers: Vec::new(),
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_secs(5),
        attempts: 2,
    };
    for line in text.lines() {
        let mut words = line
            .split(['#', ';'])
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                // An address of a link (`fe80::1%eth0`) would need the link's number; such a server is passed over.
                if let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
                    && resolution.servers.len() < MAX_SERVERS
                {
                    resolution.servers.push((address, 53).into());
                }
            }
            Some("search" | "domain") => {
                resolution.search = words
                    .map(|word| word.trim_matches('.').to_ascii_lowercase())
                    .filter(|word| !word.is_empty())
                    .take(MAX_SEARCH)
                    .collect();
            }
            Some("options") => words.for_each(|word| option(word, &mut resolution)),
            _ => {}
        }
    }
    if resolution.servers.is_empty() {
        resolution.servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    resolution
}

fn option(word: &str, resolution: &mut Resolution) {
    let Some((name, Ok(number))) = word
        .split_once(':')
        .map(|(name, value)| (name, value.parse::<u32>()))
    else {
        return;
    };
    match name {
        "ndots" => resolution.ndots = usize::try_from(number.min(15)).unwrap_or(15),
        "timeout" => resolution.timeout = Duration::from_secs(number.clamp(1, 30).into()),
        "attempts" => resolution.attempts = number.clamp(1, 5),
        _ => {}
    }
}

async fn read(path: &Path) -> String {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || base::file::read_optional(&owned, MAX_FILE)).await;
    match read {
        Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        // The C library passes over files that cannot be read too.
        Ok(Err(error)) => {
            tracing::debug!(error = %base::error::chain(&error), "file of names not read");
            String::new()
        }
        Err(_cancelled) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let resolution = parse(
            "# x\nnameserver 10.0.0.1\nnameserver ::1 ; y\nnameserver nonsense\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n\
             domain old\nsearch A.example. b\noptions ndots:2 timeout:99 attempts:0 rotate ndots:x\n",
        );
        let servers: Vec<_> = resolution.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "1.1.1.1:53"]);
        assert_eq!(resolution.search, ["a.example", "b"]);
        assert_eq!(
            (
                resolution.ndots,
                resolution.timeout.as_secs(),
                resolution.attempts
            ),
            (2, 30, 1)
        );
        assert_eq!(resolution.candidates("x.y"), ["x.y.a.example", "x.y.b", "x.y"]);
        assert_eq!(
            resolution.candidates("x.y.z"),
            ["x.y.z", "x.y.z.a.example", "x.y.z.b"]
        );
        assert_eq!(parse("").servers, [SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]);
    }
}
