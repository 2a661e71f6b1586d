//! Where a request goes: scheme, host and port; and the URLs that registries answer with.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// Longest URL that is followed, in bytes. Signed URLs of blob stores have some thousand.
const MAX_URL: usize = 16 << 10;

/// One server to speak to. Credentials and connections belong to an origin.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// Lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Returns the origin of an absolute `http` or `https` URL; `None` for others, and for one with a name and a
    /// password in it or a host that is neither a name nor an address.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Self::parse(tls, uri.authority()?.as_str())
    }

    /// Returns the origin for `host[:port]`.
    pub(crate) fn parse(tls: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                let port = if port.is_empty() {
                    None
                } else {
                    Some(port.strip_prefix(':')?)
                };
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None => default_port(tls),
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            Some(_) => return None,
        };
        let host = host.to_ascii_lowercase();
        (port != 0 && (is_name(&host) || host.parse::<IpAddr>().is_ok())).then_some(Self { tls, host, port })
    }

    /// Returns `host[:port]` as it stands in `Host` and in `certs.d`: the usual port is left out.
    pub(crate) fn authority(&self) -> String {
        if self.port == default_port(self.tls) {
            self.bracketed()
        } else {
            self.host_and_port()
        }
    }

    /// Returns `host:port`.
    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// Returns the address, if the host is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Returns whether the host is `localhost` or an address of this machine's loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns the URL of a path (with a query) on this server.
    pub(crate) fn url(&self, path: &str) -> Option<Uri> {
        format!("{self}{path}").parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Resolves the `Location` of an answer to a request for `base` (RFC 9110, section 10.2.2; RFC 3986, section 5.2).
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim().split('#').next().unwrap_or_default();
    if location.is_empty() || location.len() > MAX_URL {
        return None;
    }
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if has_scheme(location) {
        location.to_owned()
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let directory = base.path().rfind('/').map_or("/", |slash| &base.path()[..=slash]);
        let (path, query) = match location.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (location, String::new()),
        };
        let path = without_dots(&format!("{directory}{path}"));
        format!("{scheme}://{authority}{path}{query}")
    };
    let uri: Uri = text.parse().ok()?;
    Origin::of(&uri).map(|_origin| uri)
}

/// Returns the URL without its query, for messages: queries hold signatures and tokens.
pub(crate) fn shown(uri: &Uri) -> String {
    let origin = Origin::of(uri).map_or_else(String::new, |origin| origin.to_string());
    format!("{origin}{}", uri.path())
}

/// Returns `text` as one value of a query or a form.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':' | b'/' | b',') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Returns whether `host` is a DNS name: also what keeps it from being another directory of `certs.d`.
pub(crate) fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Removes `.` and `..` from an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_strict() {
        let of = |text: &str| text.parse::<Uri>().ok().and_then(|uri| Origin::of(&uri));
        assert_eq!(
            of("https://A.example/x").unwrap().to_string(),
            "https://a.example"
        );
        assert_eq!(of("http://a:80/").unwrap().to_string(), "http://a");
        assert_eq!(of("https://a:80/").unwrap().authority(), "a:80");
        assert_eq!(of("http://[::1]:5000/").unwrap().authority(), "[::1]:5000");
        assert_eq!(of("https://[::1]/").unwrap().host_and_port(), "[::1]:443");
        assert!(
            of("http://127.9.9.9:1/").unwrap().is_loopback() && of("http://LOCALHOST").unwrap().is_loopback()
        );
        assert!(!of("http://localhost.example.com").unwrap().is_loopback());
        for text in [
            "/x",
            "ftp://a/",
            "https://user:pass@a/",
            "https://user@a/",
            "https://../",
            "https://./",
            "https://a..b/",
            "https://a:0/",
            "https://a:99999/",
            "https://[::1/",
            "https://[a]/",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "https://a.example:5000/v2/x/blobs/uploads/?digest=1"
            .parse()
            .unwrap();
        for (location, uri) in [
            ("https://b/c?d=e", "https://b/c?d=e"),
            ("//b/c", "https://b/c"),
            ("/c?d#f", "https://a.example:5000/c?d"),
            ("1234?s=1", "https://a.example:5000/v2/x/blobs/uploads/1234?s=1"),
            ("../y", "https://a.example:5000/v2/x/blobs/y"),
            ("../../../../../../y", "https://a.example:5000/y"),
            ("?s", "https://a.example:5000/v2/x/blobs/uploads/?s"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), uri, "{location}");
        }
        let long = format!("/{}", "a".repeat(MAX_URL));
        for location in [
            "",
            "ftp://a/",
            "https://u:p@b/",
            "https:///x",
            "/a b",
            "/a\u{7f}\n",
            &long,
        ] {
            assert_eq!(join(&base, location), None, "{location}");
        }
    }

    #[test]
    fn queries_are_not_shown() {
        let uri: Uri = "https://a/b?sig=SECRET".parse().unwrap();
        assert_eq!(shown(&uri), "https://a/b");
        assert_eq!(encode("a b&c=d+é"), "a%20b%26c%3Dd%2B%C3%A9");
    }
}
