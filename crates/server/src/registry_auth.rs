//! `X-Registry-Auth`: the credentials that a client lends for one request.

use api_types::registry::{AUTH_HEADER, AuthConfig};
use base::secret::Secret;
use engine::Credentials;
use http::HeaderMap;
use oci::Reference;

/// The longest header that is read: tokens of cloud registries have a few thousand bytes.
const LIMIT: usize = 64 << 10;

/// The header is there and is not what it should be. What it holds is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid X-Registry-Auth header: {problem}")]
pub(crate) struct AuthProblem {
    problem: &'static str,
}

/// Returns what a request shows to the registry of `image`; without the header nothing.
pub(crate) fn for_image(headers: &HeaderMap, image: &str) -> Result<Credentials, AuthProblem> {
    // What is not a name is refused where it is used.
    let name = Reference::parse(image);
    credentials(headers, name.as_ref().map_or("", |name| name.domain()))
}

/// Returns what a request shows to the registry with the domain `domain` (`docker.io`, `host:port`); without the header
/// nothing. Credentials that say that they are for another registry are not used (CVE-2021-41092).
pub(crate) fn credentials(headers: &HeaderMap, domain: &str) -> Result<Credentials, AuthProblem> {
    let wrong = |problem| AuthProblem { problem };
    let Some(header) = headers.get(AUTH_HEADER) else {
        return Ok(Credentials::Anonymous);
    };
    if header.len() > LIMIT {
        return Err(wrong("it is too long"));
    }
    let text = header
        .to_str()
        .map_err(|_not_ascii| wrong("it is not base64"))?
        .trim();
    if text.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let document = base::base64::decode(text).ok_or_else(|| wrong("it is not base64"))?;
    let auth: AuthConfig =
        serde_json::from_slice(&document).map_err(|_may_show_secrets| wrong("it holds no credentials"))?;
    if !auth.serveraddress.is_empty() && host(&auth.serveraddress) != host(domain) {
        tracing::warn!(
            registry = domain,
            credentials_for = host(&auth.serveraddress),
            "credentials for another registry were not used"
        );
        return Ok(Credentials::Anonymous);
    }
    from_config(auth)
}

/// Returns host and port of a registry's name or URL; Docker Hub has several names.
fn host(server: &str) -> &str {
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    match rest.split('/').next().unwrap_or(rest) {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Returns the credentials in a document.
pub(crate) fn from_config(auth: AuthConfig) -> Result<Credentials, AuthProblem> {
    let wrong = |problem| AuthProblem { problem };
    if !auth.registrytoken.is_empty() {
        return Ok(Credentials::RegistryToken(Secret::new(auth.registrytoken)));
    }
    if !auth.identitytoken.is_empty() {
        return Ok(Credentials::IdentityToken {
            username: auth.username,
            token: Secret::new(auth.identitytoken),
        });
    }
    let (username, password) = if auth.username.is_empty() && !auth.auth.is_empty() {
        let pair = base::base64::decode(&auth.auth).and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.ok_or_else(|| wrong("its \"auth\" is not base64"))?;
        let (username, password) = pair
            .split_once(':')
            .ok_or_else(|| wrong("its \"auth\" has no colon"))?;
        (username.to_owned(), password.trim_end_matches('\0').to_owned())
    } else {
        (auth.username, auth.password)
    };
    if username.is_empty() && password.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    Ok(Credentials::Basic {
        username,
        password: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &[u8]) -> Result<Credentials, AuthProblem> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTH_HEADER, HeaderValue::from_bytes(value).unwrap());
        credentials(&headers, "docker.io")
    }

    fn encoded(document: &str) -> Vec<u8> {
        base::base64::encode_url_safe(document.as_bytes()).into_bytes()
    }

    #[test]
    fn credentials_of_all_kinds_are_read() {
        let basic = Credentials::Basic {
            username: "me".to_owned(),
            password: Secret::new("a:b?>"),
        };
        assert_eq!(
            read(&encoded(r#"{"username":"me","password":"a:b?>"}"#)).unwrap(),
            basic
        );
        let pair = base::base64::encode(b"me:a:b?>");
        assert_eq!(read(&encoded(&format!(r#"{{"auth":"{pair}"}}"#))).unwrap(), basic);
        let token = read(&encoded(r#"{"identitytoken":"t","username":"me"}"#)).unwrap();
        assert!(matches!(token, Credentials::IdentityToken { .. }));
        let token = read(&encoded(r#"{"registrytoken":"t"}"#)).unwrap();
        assert!(matches!(token, Credentials::RegistryToken(_)));
        for nothing in ["{}", r#"{"username":null}"#, r#"{"serveraddress":"x"}"#] {
            assert_eq!(read(&encoded(nothing)).unwrap(), Credentials::Anonymous);
        }
        assert_eq!(read(b"").unwrap(), Credentials::Anonymous);
        assert_eq!(
            credentials(&HeaderMap::new(), "h:1").unwrap(),
            Credentials::Anonymous
        );
    }

    #[test]
    fn what_is_wrong_is_refused_and_not_shown() {
        let long = vec![b'A'; LIMIT + 1];
        let secret = encoded(r#"{"password":"hunter2","username":7}"#);
        for value in [&b"!!!"[..], b"\xff\xfe", &long, b"AAAA", &encoded("7"), &secret] {
            let error = read(value).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(read(&encoded(r#"{"auth":"bm9jb2xvbg=="}"#)).is_err());
        assert!(read(&encoded(r#"{"auth":"%%"}"#)).is_err());
    }

    #[test]
    fn im_03_credentials_stay_with_their_registry() {
        let hub = "https://index.docker.io/v1/";
        for (server, image, shown) in [
            ("", "h:1/x", true),
            ("h:1", "h:1/x", true),
            ("https://h:1/v2/", "h:1/x", true),
            ("h:1", "h:2/x", false),
            ("h:1", "x", false),
            (hub, "x", true),
            (hub, "docker.io/library/x", true),
            (hub, "h:1/x", false),
            ("docker.io", "x", true),
        ] {
            let document = format!(r#"{{"username":"me","password":"p","serveraddress":"{server}"}}"#);
            let mut headers = HeaderMap::new();
            headers.insert(AUTH_HEADER, HeaderValue::from_bytes(&encoded(&document)).unwrap());
            let credentials = for_image(&headers, image).unwrap();
            assert_eq!(credentials != Credentials::Anonymous, shown, "{server} {image}");
        }
    }
}
