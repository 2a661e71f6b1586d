use testkit::registry::{Auth, Authority, Lie, Rule, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A client to which `reg.test` is 127.0.0.1, which is no loopback name, with the files of `certs.d` in `certs`.
struct Strict {
    directory: tempfile::TempDir,
    config: ClientConfig,
}

impl Strict {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config();
        config.names.hosts = directory.path().join("hosts");
        config.certs_dirs = vec![directory.path().join("certs.d")];
        write(&config.names.hosts, "127.0.0.1 reg.test\n127.0.0.2 other.test\n");
        Self { directory, config }
    }

    fn add(&self, host: &str, name: &str, text: &str) {
        write(&self.directory.path().join("certs.d").join(host).join(name), text);
    }

    async fn head(&self, port: u16) -> Result<Option<u64>, RegistryError> {
        self.repository(port).has_blob(&Digest::sha256(b"x")).await
    }

    fn repository(&self, port: u16) -> Repository {
        let reference = Reference::parse(&format!("reg.test:{port}/a/b")).unwrap();
        let client = Client::new(self.config.clone()).unwrap();
        client.repository(&reference, basic("user", "hunter2"), Access::Pull)
    }
}

fn tls(authority: &Authority, names: &[&str]) -> LyingRegistry {
    let identity = authority.issue(names).unwrap();
    let registry = LyingRegistry::start_tls(&Tls {
        identity,
        clients: None,
    })
    .unwrap();
    registry.add_blob(b"x");
    registry
}

#[tokio::test]
async fn im_04_no_registry_is_spoken_to_without_tls_unless_it_is_listed() {
    let registry = LyingRegistry::start().unwrap();
    registry.add_blob(b"x");
    let mut strict = Strict::new();
    let error = strict.head(registry.port()).await.unwrap_err();
    assert!(
        chain(&error).ends_with(": http: server gave HTTP response to HTTPS client"),
        "{}",
        chain(&error)
    );
    assert!(registry.seen().is_empty());
    strict.config.insecure_registries = vec![format!("reg.test:{}", registry.port())];
    assert_eq!(strict.head(registry.port()).await.unwrap(), Some(1));
}

#[tokio::test]
async fn im_04_certificates_are_checked() {
    let authority = Authority::new().unwrap();
    let mut strict = Strict::new();
    let registry = tls(&authority, &["reg.test"]);
    let error = strict.head(registry.port()).await.unwrap_err();
    assert!(
        chain(&error)
            .ends_with(": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{}",
        chain(&error)
    );
    strict.add(
        &format!("reg.test:{}", registry.port()),
        "ca.crt",
        authority.pem(),
    );
    assert_eq!(strict.head(registry.port()).await.unwrap(), Some(1));
    let wrong_name = tls(&authority, &["other.test"]);
    strict.add(
        &format!("reg.test:{}", wrong_name.port()),
        "ca.crt",
        authority.pem(),
    );
    let error = strict.head(wrong_name.port()).await.unwrap_err();
    assert!(
        chain(&error).ends_with("certificate is not valid for reg.test"),
        "{}",
        chain(&error)
    );
    let expired = LyingRegistry::start_tls(&Tls {
        identity: authority.issue_expired(&["reg.test"]).unwrap(),
        clients: None,
    })
    .unwrap();
    expired.add_blob(b"x");
    strict.add(&format!("reg.test:{}", expired.port()), "ca.crt", authority.pem());
    let error = strict.head(expired.port()).await.unwrap_err();
    assert!(
        chain(&error).ends_with("certificate has expired or is not yet valid"),
        "{}",
        chain(&error)
    );
    assert!(wrong_name.seen().is_empty() && expired.seen().is_empty());
    strict.config.insecure_registries = vec!["reg.test".to_owned()];
    assert_eq!(strict.head(expired.port()).await.unwrap(), Some(1));
    assert_eq!(strict.head(wrong_name.port()).await.unwrap(), Some(1));
}

#[tokio::test]
async fn client_certificates() {
    let authority = Authority::new().unwrap();
    let registry = LyingRegistry::start_tls(&Tls {
        identity: authority.issue(&["reg.test"]).unwrap(),
        clients: Some(authority.pem().to_owned()),
    })
    .unwrap();
    registry.add_blob(b"x");
    let host = format!("reg.test:{}", registry.port());
    let strict = Strict::new();
    strict.add(&host, "ca.crt", authority.pem());
    strict.head(registry.port()).await.unwrap_err();
    let client = authority.issue(&["client"]).unwrap();
    strict.add(&host, "client.cert", &client.certificate);
    let error = chain(&strict.head(registry.port()).await.unwrap_err());
    assert!(
        error.contains("missing key ") && error.contains("client.key for client certificate"),
        "{error}"
    );
    strict.add(&host, "client.key", &client.key);
    assert_eq!(strict.head(registry.port()).await.unwrap(), Some(1));
    strict.add(&host, "broken.crt", "nonsense");
    assert!(chain(&strict.head(registry.port()).await.unwrap_err()).contains("no certificate in PEM form"));
}

#[tokio::test]
async fn loopback_registries_with_and_without_tls() {
    let authority = Authority::new().unwrap();
    let secure = tls(&authority, &["elsewhere.test"]);
    let plain = LyingRegistry::start().unwrap();
    plain.add_blob(b"x");
    for registry in [&secure, &plain] {
        let repository = repository(registry);
        assert_eq!(repository.has_blob(&Digest::sha256(b"x")).await.unwrap(), Some(1));
    }
    // One that speaks TLS is not spoken to without.
    assert!(secure.url().starts_with("https"));
}

#[tokio::test]
async fn im_04_redirects_do_not_leave_tls() {
    let authority = Authority::new().unwrap();
    let registry = tls(&authority, &["reg.test"]);
    let plain = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    plain.add_blob(b"x");
    let mut strict = Strict::new();
    strict.add(
        &format!("reg.test:{}", registry.port()),
        "ca.crt",
        authority.pem(),
    );
    let digest = Digest::sha256(b"x");
    for host in [plain.address(), format!("other.test:{}", plain.port())] {
        strict.config.insecure_registries = vec!["other.test".to_owned()];
        registry.lie(Rule::always(
            "",
            "/blobs/",
            Lie::Redirect(format!("http://{host}/v2/x/blobs/{digest}")),
        ));
        let error = strict.head(registry.port()).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("which would be spoken to without TLS"),
            "{error}"
        );
        registry.be_honest();
    }
    // A token server without TLS is none, and a certificate that is not trusted is no token server's.
    let untrusted = tls(&Authority::new().unwrap(), &["other.test"]);
    for realm in [
        format!("http://reg.test:{}/token", plain.port()),
        format!("https://other.test:{}/token", untrusted.port()),
    ] {
        strict.config.insecure_registries = Vec::new();
        registry.set_auth(Auth::Challenge(format!("Bearer realm=\"{realm}\"")));
        let error = strict.head(registry.port()).await.unwrap_err();
        assert!(!whole(&error).contains("hunter2"), "{error:?}");
    }
    assert!(plain.seen().is_empty() && untrusted.seen().is_empty());
}

#[tokio::test]
async fn proxies_see_what_they_must() {
    let proxy = LyingRegistry::start().unwrap();
    let mut strict = Strict::new();
    strict.config.insecure_registries = vec!["reg.test".to_owned()];
    let address = proxy.address();
    strict.config.proxies = Proxies::from_variables(|name| match name {
        "HTTP_PROXY" | "HTTPS_PROXY" => Some(format!("http://me:proxy-secret@{address}")),
        _ => None,
    });
    // Refuses the tunnel; then the registry is asked for by its whole URL.
    proxy.lie(Rule::always(
        "CONNECT",
        "",
        Lie::Answer(405, Vec::new(), Vec::new()),
    ));
    proxy.lie(Rule::always(
        "HEAD",
        "",
        Lie::Answer(200, Vec::new(), b"x".to_vec()),
    ));
    assert_eq!(strict.head(5000).await.unwrap(), Some(1));
    let seen = proxy.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("CONNECT", "reg.test:5000")
    );
    assert!(
        seen[1].target.starts_with("http://reg.test:5000/v2/a/b/blobs/"),
        "{:?}",
        seen[1]
    );
    let expected = format!("Basic {}", base::base64::encode(b"me:proxy-secret"));
    assert!(
        seen.iter()
            .all(|seen| seen.header("proxy-authorization") == Some(expected.as_str()))
    );
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn tunnels_carry_tls() {
    let authority = Authority::new().unwrap();
    let registry = tls(&authority, &["reg.test"]);
    let mut strict = Strict::new();
    strict.add(
        &format!("reg.test:{}", registry.port()),
        "ca.crt",
        authority.pem(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = registry.port();
    let proxy = tokio::spawn(async move {
        let (mut inside, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(inside.read_u8().await.unwrap());
        }
        inside
            .write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            .await
            .unwrap();
        let mut outside = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut inside, &mut outside).await);
        String::from_utf8(head).unwrap()
    });
    strict.config.proxies =
        Proxies::from_variables(|name| (name == "HTTPS_PROXY").then(|| address.to_string()));
    assert_eq!(strict.head(port).await.unwrap(), Some(1));
    assert_eq!(registry.count("HEAD", "/blobs/"), 1);
    drop(strict);
    drop(registry);
    assert!(
        proxy
            .await
            .unwrap()
            .starts_with(&format!("CONNECT reg.test:{port} HTTP/1.1\r\n"))
    );
}

#[tokio::test]
async fn wrong_settings_are_refused() {
    for url in [
        "mirror.test",
        "ftp://mirror.test",
        "https://mirror.test/path",
        "https://u:hunter2@mirror.test",
        "https://mirror.test?x",
    ] {
        let mut config = config();
        let mirror = Mirror {
            url: url.to_owned(),
            credentials: Credentials::Anonymous,
        };
        config.mirrors.insert("docker.io".to_owned(), vec![mirror]);
        let error = Client::new(config).unwrap_err();
        assert!(
            error.to_string().starts_with("invalid mirror") && !whole(&error).contains("hunter2"),
            "{error}"
        );
    }
    let mut config = config();
    config.insecure_registries = vec!["http://x".to_owned()];
    assert!(Client::new(config).is_err());
}

#[tokio::test]
async fn names_that_are_unknown() {
    let strict = Strict::new();
    let reference = Reference::parse("nowhere.invalid/a/b").unwrap();
    let mut config = strict.config.clone();
    // Nobody listens there, or nobody knows.
    config.names.resolv_conf = strict.directory.path().join("resolv.conf");
    write(
        &config.names.resolv_conf,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    );
    let client = Client::new(config).unwrap();
    let repository = client.repository(&reference, Credentials::Anonymous, Access::Pull);
    let error = chain(&repository.manifest(&tag("1")).await.unwrap_err());
    assert!(
        error.starts_with(
            "Get \"https://nowhere.invalid/v2/a/b/manifests/1\": dial tcp: lookup nowhere.invalid"
        ),
        "{error}"
    );
}
