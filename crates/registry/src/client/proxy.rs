//! Proxies from the environment, with the rules of Go's `httpproxy`, which docker follows.

use std::fmt;
use std::net::IpAddr;

use base::secret::Secret;
use http::Uri;

use super::RegistryError;
use super::origin::Origin;

/// Proxies, as the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name them.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    none: String,
}

/// One proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Secret>,
}

impl Proxies {
    /// Returns no proxies.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the proxies that `variable` knows, each in upper case or else in lower case.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let either = |name: &str| set(name).or_else(|| set(&name.to_ascii_lowercase()));
        Self {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            none: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// Checks both URLs.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        for url in [&self.http, &self.https].into_iter().flatten() {
            parse(url)?;
        }
        Ok(())
    }

    /// Returns the proxy to go through to `origin`.
    pub(crate) fn of(&self, origin: &Origin) -> Result<Option<Proxy>, RegistryError> {
        let url = if origin.tls { &self.https } else { &self.http };
        match url {
            Some(url) if !self.is_direct(origin) => parse(url).map(Some),
            _ => Ok(None),
        }
    }

    fn is_direct(&self, origin: &Origin) -> bool {
        if origin.is_loopback() {
            return true;
        }
        self.none
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .any(|entry| matches(entry, origin))
    }
}

impl fmt::Debug for Proxies {
    /// A proxy's URL may hold a password: only which ones are set is shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("none", &self.none)
            .finish()
    }
}

/// Returns whether `address` is in the network `network` (`10.0.0.0/8`); `None` if that is not one.
pub(crate) fn in_network(network: &str, address: IpAddr) -> Option<bool> {
    let (base, bits) = network.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let base: IpAddr = base.parse().ok()?;
    let (base, address, width): (u128, u128, u32) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(base.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        _ => return Some(false),
    };
    let drop = width.checked_sub(bits)?;
    Some(base.checked_shr(drop).unwrap_or(0) == address.checked_shr(drop).unwrap_or(0))
}

/// One entry of `NO_PROXY`: `*`, an address, a network, a domain (and what is below it), `.domain` (only below it), each
/// but the network with a port or without.
fn matches(entry: &str, origin: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some(address) = origin.address()
        && let Some(is_in) = in_network(entry, address)
    {
        return is_in;
    }
    let entry = entry.to_ascii_lowercase();
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains(':') =>
        {
            (host, Some(port))
        }
        _ => (entry.as_str(), None),
    };
    if port.is_some_and(|port| port.parse() != Ok(origin.port)) {
        return false;
    }
    let host = host
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.strip_prefix('.') {
        Some(_) => origin.host.ends_with(host),
        None => {
            origin.host == host
                || origin
                    .host
                    .strip_suffix(host)
                    .is_some_and(|rest| rest.ends_with('.') && origin.address().is_none())
        }
    }
}

/// Reads `[http[s]://][name:password@]host[:port][/]`. The URL is not shown in the error: it may hold a password.
fn parse(url: &str) -> Result<Proxy, RegistryError> {
    let config = |problem: &str| RegistryError::Config {
        problem: format!("invalid proxy URL: {problem}"),
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(config("only http and https proxies are supported")),
    };
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let authority: Uri = format!("http://{authority}/")
        .parse()
        .map_err(|_invalid| config("no host"))?;
    let authority = authority.authority().ok_or_else(|| config("no host"))?;
    let origin = Origin::parse(tls, authority.as_str()).ok_or_else(|| config("no host"))?;
    let authorization = user.map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let text = format!("{}:{}", decode(name), decode(password));
        Secret::new(format!("Basic {}", base::base64::encode(text.as_bytes())))
    });
    Ok(Proxy {
        origin,
        authorization,
    })
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(none: &str) -> Proxies {
        let none = none.to_owned();
        Proxies::from_variables(move |name| match name {
            "HTTP_PROXY" => Some("proxy:3128".to_owned()),
            "https_proxy" => Some("https://u%40x:p%3aw@[::5]/".to_owned()),
            "NO_PROXY" => Some(none.clone()),
            _ => None,
        })
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let proxies = proxies("");
        let of = |tls, host| proxies.of(&Origin::parse(tls, host).unwrap()).unwrap();
        let http = of(false, "reg.test").unwrap();
        assert_eq!(
            (http.origin.to_string().as_str(), http.authorization.is_none()),
            ("http://proxy:3128", true)
        );
        let https = of(true, "reg.test").unwrap();
        assert_eq!(https.origin.to_string(), "https://[::5]");
        let expected = format!("Basic {}", base::base64::encode(b"u@x:p:w"));
        assert_eq!(https.authorization.unwrap().expose(), expected);
        assert!(of(true, "127.0.0.1:5000").is_none() && of(true, "localhost").is_none());
        assert!(!format!("{proxies:?}").contains("p%3aw"));
    }

    #[test]
    fn no_proxy_follows_gos_rules() {
        for (none, host, direct) in [
            ("*", "reg.test", true),
            ("reg.test", "reg.test", true),
            ("reg.test", "a.reg.test", true),
            ("reg.test", "areg.test", false),
            (".reg.test", "reg.test", false),
            (".reg.test", "a.reg.test", true),
            ("*.reg.test", "a.reg.test", true),
            ("reg.test:5000", "reg.test:5000", true),
            ("reg.test:5000", "reg.test", false),
            (" a , REG.test ", "reg.test", true),
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("0.0.0.1", "10.0.0.1", false),
            ("fd00::/8", "[fd12::1]:5000", true),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("0.0.0.0/33", "10.0.0.1", false),
            ("", "reg.test", false),
        ] {
            let origin = Origin::parse(true, host).unwrap();
            assert_eq!(
                proxies(none).of(&origin).unwrap().is_none(),
                direct,
                "{none} {host}"
            );
        }
    }

    #[test]
    fn wrong_urls_are_refused_and_not_shown() {
        for url in [
            "socks5://hunter2",
            "http://",
            "http://hunter2:x@",
            "http://a:hunter2",
        ] {
            let proxies = Proxies::from_variables(|name| (name == "HTTP_PROXY").then(|| url.to_owned()));
            let error = proxies.check().unwrap_err().to_string();
            assert!(
                error.starts_with("invalid proxy URL") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
