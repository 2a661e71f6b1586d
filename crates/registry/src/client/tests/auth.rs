use base::secret::Secret;
use testkit::registry::{Auth, Lie, Rule};

use super::*;

const PASSWORD: &str = "hunter2-PASSWORD";
const REFRESH: &str = "REFRESH-TOKEN-hunter2";

fn image(registry: &LyingRegistry) {
    registry.add_image("a/b", "1", b"{}", &[]);
}

fn bearer(realm: &str) -> Auth {
    Auth::Bearer {
        realm: realm.to_owned(),
        user: Some(("user".to_owned(), PASSWORD.to_owned())),
        refresh_token: REFRESH.to_owned(),
        expires_in: 300,
    }
}

/// No request to `registry` shows anything.
fn saw_no_secret(registry: &LyingRegistry) {
    for seen in registry.seen() {
        assert_eq!(seen.header("authorization"), None, "{seen:?}");
        assert!(!format!("{seen:?}").contains("hunter2"), "{seen:?}");
    }
}

#[tokio::test]
async fn basic_authentication() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    registry.set_auth(Auth::Basic {
        username: "user".to_owned(),
        password: PASSWORD.to_owned(),
    });
    let good = repository_of(&registry, config(), basic("user", PASSWORD));
    good.manifest(&tag("1")).await.unwrap();
    good.manifest(&tag("1")).await.unwrap();
    // Asked once, remembered after.
    assert_eq!(
        registry.seen().iter().map(|seen| seen.status).collect::<Vec<_>>(),
        [401, 200, 200]
    );
    let error = repository(&registry).manifest(&tag("1")).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "Get \"{}/v2/a/b/manifests/1\": no basic auth credentials",
            registry.url()
        )
    );
    registry.forget();
    let wrong = repository_of(&registry, config(), basic("user", "wrong-hunter2"));
    let error = wrong.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(chain(&error), "unauthorized: authentication required");
    assert!(!whole(&error).contains("hunter2"));
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn tokens_are_shared_and_renewed() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    registry.set_auth(bearer(""));
    let repository = repository_of(&registry, config(), basic("user", PASSWORD));
    let target = tag("1");
    let both = tokio::join!(repository.manifest(&target), repository.manifest(&target));
    assert!(both.0.is_ok() && both.1.is_ok());
    let config_digest = Digest::sha256(b"{}");
    repository.has_blob(&config_digest).await.unwrap();
    assert_eq!(registry.count("GET", "/token"), 1);
    let asked = registry
        .seen()
        .into_iter()
        .find(|seen| seen.path() == "/token")
        .unwrap();
    assert_eq!(asked.queries("scope"), ["repository:a/b:pull,push"]);
    assert_eq!(asked.query("account").as_deref(), Some("user"));
    assert_eq!(asked.query("service").as_deref(), Some("test"));
    registry.forget_tokens();
    repository.has_blob(&config_digest).await.unwrap();
    assert_eq!(registry.count("GET", "/token"), 2);
    // A right that the challenge names besides is asked for, if it is of this repository.
    let fetched = repository.manifest(&tag("1")).await.unwrap();
    repository.delete_manifest(&fetched.digest).await.unwrap();
    let wrong = repository_of(&registry, config(), basic("user", "wrong"));
    let error = wrong.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(chain(&error), "unauthorized: incorrect username or password");
}

#[tokio::test]
async fn other_tokens() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    registry.set_auth(bearer(""));
    let identity = Credentials::IdentityToken {
        username: "user".to_owned(),
        token: Secret::new(REFRESH),
    };
    repository_of(&registry, config(), identity)
        .manifest(&tag("1"))
        .await
        .unwrap();
    assert_eq!(
        (registry.count("POST", "/token"), registry.count("GET", "/token")),
        (1, 0)
    );
    let seen = registry.seen();
    let token = seen
        .iter()
        .find_map(|seen| seen.header("authorization")?.strip_prefix("Bearer "))
        .unwrap();
    let given = Credentials::RegistryToken(Secret::new(token));
    registry.forget();
    repository_of(&registry, config(), given)
        .manifest(&tag("1"))
        .await
        .unwrap();
    assert_eq!(registry.seen().len(), 1);
    let stale = Credentials::RegistryToken(Secret::new("stale-hunter2"));
    let error = repository_of(&registry, config(), stale)
        .manifest(&tag("1"))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert!(!whole(&error).contains("hunter2"));
}

#[tokio::test]
async fn logins() {
    let registry = LyingRegistry::start().unwrap();
    let client = Client::new(config()).unwrap();
    let server = registry.url();
    let login = client.login(&server, basic("user", PASSWORD)).await.unwrap();
    assert_eq!((login.status, login.identity_token), ("Login Succeeded", None));
    registry.set_auth(bearer(""));
    let login = client
        .login(&registry.address(), basic("user", PASSWORD))
        .await
        .unwrap();
    assert_eq!(login.identity_token.unwrap().expose(), REFRESH);
    let error = client.login(&server, basic("user", "wrong")).await.unwrap_err();
    assert_eq!(chain(&error), "unauthorized: incorrect username or password");
    assert_eq!(base::error::Kinded::kind(&error), base::error::Kind::Denied);
    let login = client
        .login(
            &server,
            Credentials::IdentityToken {
                username: String::new(),
                token: Secret::new(REFRESH),
            },
        )
        .await
        .unwrap();
    assert_eq!(login.status, "Login Succeeded");
}

#[tokio::test]
async fn im_03_no_other_token_server_sees_credentials() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let other = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    other.set_auth(bearer(""));
    for realm in [
        format!("{}/token", other.url()),
        format!("http://user:x@{}/token", registry.address()),
        format!("http://{}@{}/token", registry.address(), other.address()),
        "/token".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "http://".to_owned(),
        String::new(),
        "http://169.254.169.254/".to_owned(),
    ] {
        registry.set_auth(Auth::Challenge(format!("Bearer realm=\"{realm}\",service=\"x\"")));
        let credentials = [
            basic("user", PASSWORD),
            Credentials::IdentityToken {
                username: String::new(),
                token: Secret::new(REFRESH),
            },
        ];
        for credentials in credentials {
            let repository = repository_of(&registry, config(), credentials);
            let error = repository.manifest(&tag("1")).await.unwrap_err();
            assert!(
                matches!(error, RegistryError::Protocol { .. }),
                "{realm}: {error:?}"
            );
            assert!(!whole(&error).contains("hunter2"));
        }
    }
    assert!(other.seen().is_empty());
    saw_no_secret(&registry);
}

#[tokio::test]
async fn im_03_token_servers_do_not_send_credentials_on() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let other = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    other.set_auth(bearer(""));
    registry.set_auth(bearer(""));
    registry.lie(Rule::always(
        "",
        "/token",
        Lie::Redirect(format!("{}/token", other.url())),
    ));
    for credentials in [
        basic("user", PASSWORD),
        Credentials::IdentityToken {
            username: String::new(),
            token: Secret::new(REFRESH),
        },
    ] {
        let error = repository_of(&registry, config(), credentials)
            .manifest(&tag("1"))
            .await
            .unwrap_err();
        assert!(
            error.to_string().ends_with("the token server sends elsewhere"),
            "{error}"
        );
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn im_03_redirects_lose_credentials() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let store = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    let digest = parse(&store.add_blob(b"{}"));
    for auth in [
        bearer(""),
        Auth::Basic {
            username: "user".to_owned(),
            password: PASSWORD.to_owned(),
        },
    ] {
        registry.set_auth(auth);
        let repository = repository_of(&registry, config(), basic("user", PASSWORD));
        repository.manifest(&tag("1")).await.unwrap();
        let there = format!("{}/v2/a/b/blobs/{digest}", store.url());
        registry.lie(Rule::always("GET", "/blobs/", Lie::Redirect(there)));
        assert_eq!(repository.blob_bytes(&digest, 10).await.unwrap(), "{}");
        // The store asks for the credentials of the registry, and does not get them.
        store.set_auth(Auth::Challenge("Basic realm=\"give\"".to_owned()));
        let error = repository.blob_bytes(&digest, 10).await.unwrap_err();
        assert_eq!(error.status(), Some(401));
        store.set_auth(Auth::Open);
        registry.be_honest();
        // Nor does it get what is uploaded.
        let upload = format!("{}/v2/a/b/blobs/uploads/1", store.url());
        let headers = vec![("Location".to_owned(), upload)];
        registry.lie(Rule::once(
            "POST",
            "/uploads/",
            Lie::Answer(202, headers, Vec::new()),
        ));
        drop(repository.start_upload().await.unwrap().cancel().await);
        registry.lie(Rule::once("POST", "/uploads/", Lie::Redirect(store.url())));
        repository.start_upload().await.unwrap_err();
    }
    assert!(store.seen().len() >= 6);
    saw_no_secret(&store);
}

#[tokio::test]
async fn im_03_refusals_without_end_come_to_one() {
    let registry = LyingRegistry::start().unwrap();
    for challenge in [
        "Basic realm=\"x\"".to_owned(),
        format!(
            "Bearer realm=\"{}/token\",scope=\"repository:victim/x:pull\"",
            registry.url()
        ),
        String::new(),
        "Negotiate".to_owned(),
        "Digest realm=\"x\", nonce=\"y\"".to_owned(),
        format!("Bearer realm=\"{}", "x".repeat(7000)),
        "Bearer ".repeat(900),
    ] {
        registry.set_auth(Auth::Challenge(challenge.clone()));
        // The token server answers well: what it gives is refused all the same.
        let token = br#"{"token":"t-hunter2"}"#.to_vec();
        registry.lie(Rule::always("GET", "/token", Lie::Answer(200, Vec::new(), token)));
        registry.forget();
        let error = repository_of(&registry, config(), basic("user", PASSWORD))
            .manifest(&tag("1"))
            .await
            .unwrap_err();
        assert!(!whole(&error).contains("hunter2"), "{challenge}");
        assert!(registry.count("GET", "/manifests/") <= 2, "{challenge}");
        assert!(registry.count("GET", "victim") == 0);
        registry.be_honest();
    }
}

#[tokio::test]
async fn hostile_token_servers() {
    let registry = LyingRegistry::start().unwrap();
    registry.set_auth(bearer(""));
    let repository = repository_of(&registry, config(), basic("user", PASSWORD));
    for body in [
        "".to_owned(),
        "{}".to_owned(),
        r#"{"token":null}"#.to_owned(),
        r#"{"token":""}"#.to_owned(),
        r#"{"token":"a\r\nX: hunter2"}"#.to_owned(),
        r#"{"token":7,"access_token":"hunter2"}"#.to_owned(),
        r#"{"token":"hunter2","expires_in":-1}"#.to_owned(),
        format!(r#"{{"token":"{}"}}"#, "hunter2".repeat(10_000)),
        format!(r#"{{"token":"hunter2","x":"{}"}}"#, "y".repeat(300_000)),
    ] {
        registry.lie(Rule::once(
            "GET",
            "/token",
            Lie::Answer(200, Vec::new(), body.clone().into_bytes()),
        ));
        let error = repository.manifest(&tag("1")).await.unwrap_err();
        assert!(!whole(&error).contains("hunter2"), "{body:.60}: {error:?}");
    }
    // A life of a thousand years is no overflow.
    let long = format!(r#"{{"token":"x","expires_in":{}}}"#, u64::MAX);
    registry.lie(Rule::once(
        "GET",
        "/token",
        Lie::Answer(200, Vec::new(), long.into_bytes()),
    ));
    assert_eq!(
        repository.manifest(&tag("1")).await.unwrap_err().status(),
        Some(404)
    );
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let registry = LyingRegistry::start().unwrap();
    registry.set_auth(bearer(""));
    let mut config = config();
    config.mirrors.insert(
        "docker.io".to_owned(),
        vec![Mirror {
            url: "https://mirror.test".to_owned(),
            credentials: basic("user", PASSWORD),
        }],
    );
    config.proxies = Proxies::from_variables(|name| {
        name.starts_with("HTTP")
            .then(|| format!("http://u:{PASSWORD}@127.0.0.1:9"))
    });
    let printed = format!("{config:#?}");
    let client = Client::new(config).unwrap();
    let reference = Reference::parse(&format!("{}/a/b", registry.address())).unwrap();
    let repository = client.repository(&reference, basic("user", PASSWORD), Access::Pull);
    drop(repository.manifest(&tag("1")).await);
    for text in [printed, format!("{client:#?}"), format!("{repository:#?}")] {
        assert!(!text.contains("hunter2") && !text.contains("token-0"), "{text}");
    }
}
