//! Who gets into `berth registry serve`: passwords, tokens, TLS.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use oci::Digest;
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::registry_server::RegistryServer;
use testkit::{berth, command, has, skip};

use crate::registry_protocol::{get, push_blob};

/// `ann` with the password `secret`.
const HTPASSWD: &str = "ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
/// The same as HTTP has it.
const ANN: &str = "Basic YW5uOnNlY3JldA==";

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

fn openssl(directory: &Path, arguments: &[&str], stdin: &[u8]) -> Result<command::Output> {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).current_dir(directory);
    command::run(&mut openssl, stdin)?.expect(0)
}

#[test]
fn registry_asks_for_passwords() -> Result<()> {
    let place = Place::create()?;
    let file = place.directory().join("htpasswd");
    testkit::image::put(&file, HTPASSWD)?;
    let registry = RegistryServer::berth(&["--htpasswd", text(&file)?])?;
    let answer = get(&registry, "/v2/")?.expect(401)?;
    assert_eq!(answer.code(), "UNAUTHORIZED");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Basic realm="), "{challenge}");
    // What is there is not told either.
    for path in [
        "/v2/_catalog",
        "/v2/a/tags/list",
        "/v2/a/manifests/v1",
        "/v1/search?q=a",
    ] {
        get(&registry, path)?.expect(401)?;
    }
    for (credentials, status) in [
        (ANN, 200),
        ("Basic YW5uOndyb25n", 401),
        ("Basic !!!", 401),
        ("Bearer YW5uOnNlY3JldA==", 401),
        ("Basic", 401),
    ] {
        let answer = registry.request("GET", "/v2/", &[("Authorization", credentials)], b"")?;
        assert_eq!(answer.status, status, "{credentials}");
    }
    registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")?
        .expect(401)?;
    registry
        .request("POST", "/v2/a/blobs/uploads/", &[("Authorization", ANN)], b"")?
        .expect(202)?;
    assert!(!registry.log().contains("secret") && !registry.log().contains("YW5u"));
    assert!(registry.log().contains(" ann GET /v2/ 200"), "{}", registry.log());
    Ok(())
}

#[test]
fn registry_lets_docker_log_in() -> Result<()> {
    let Some(dockerd) = Dockerd::start()? else {
        return skip("dockerd is not installed");
    };
    let file = dockerd.place().directory().join("htpasswd");
    testkit::image::put(&file, HTPASSWD)?;
    let registry = RegistryServer::berth(&["--htpasswd", text(&file)?])?;
    let address = registry.address().to_owned();
    let login = |password: &str| {
        let arguments = ["login", "--username", "ann", "--password-stdin", &address];
        dockerd.docker(&arguments, password.as_bytes())
    };
    assert_eq!(login("wrong")?.code, 1);
    let tar = testkit::image::busybox_tar(dockerd.place().directory())?;
    let name = format!("{address}/busybox:v1");
    dockerd.docker(&["import", text(&tar)?, &name], b"")?.expect(0)?;
    let refused = dockerd.docker(&["push", &name], b"")?;
    assert!(
        refused.code == 1 && refused.stderr.contains("no basic auth credentials"),
        "{}",
        refused.stderr
    );
    login("secret")?.expect(0)?;
    dockerd.docker(&["push", &name], b"")?.expect(0)?;
    dockerd.docker(&["rmi", &name], b"")?.expect(0)?;
    dockerd.docker(&["pull", &name], b"")?.expect(0)?;
    Ok(())
}

/// What a token server does, with openssl.
struct TokenServer {
    place: Place,
}

impl TokenServer {
    fn create() -> Result<Self> {
        let place = Place::create()?;
        let directory = place.directory();
        openssl(directory, &["genrsa", "-out", "key.pem", "2048"], b"")?;
        openssl(
            directory,
            &["rsa", "-in", "key.pem", "-pubout", "-out", "public.pem"],
            b"",
        )?;
        Ok(Self { place })
    }

    fn base64(&self, bytes: &[u8]) -> Result<String> {
        let path = self.place.directory().join("bytes");
        drop(std::fs::remove_file(&path));
        std::fs::File::create_new(&path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes))?;
        let encoded = openssl(self.place.directory(), &["base64", "-A", "-in", "bytes"], b"")?.stdout;
        Ok(encoded
            .trim()
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_"))
    }

    /// Returns a token with these rights, signed by the server.
    fn token(&self, access: &serde_json::Value) -> Result<String> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        let claims = serde_json::json!({
            "iss": "tokens.test", "aud": "registry.test", "sub": "ann", "exp": now + 300, "access": access
        });
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
        let signed = format!(
            "{}.{}",
            self.base64(header.to_string().as_bytes())?,
            self.base64(claims.to_string().as_bytes())?
        );
        testkit::image::put(&self.place.directory().join("signed"), &signed)?;
        let sign = [
            "dgst",
            "-sha256",
            "-sign",
            "key.pem",
            "-out",
            "signature",
            "signed",
        ];
        openssl(self.place.directory(), &sign, b"")?;
        let signature = std::fs::read(self.place.directory().join("signature"))?;
        std::fs::remove_file(self.place.directory().join("signed"))?;
        Ok(format!("Bearer {signed}.{}", self.base64(&signature)?))
    }
}

#[test]
fn im_08_registry_believes_tokens_of_its_key_only() -> Result<()> {
    if !has("openssl") {
        return skip("openssl is not installed");
    }
    let (server, stranger) = (TokenServer::create()?, TokenServer::create()?);
    let key = server.place.directory().join("public.pem");
    let flags = |key| {
        [
            "--token-key",
            key,
            "--token-realm",
            "http://tokens.test/token",
            "--token-service",
            "registry.test",
            "--token-issuer",
            "tokens.test",
        ]
    };
    let registry = RegistryServer::berth(&flags(text(&key)?))?;
    let answer = get(&registry, "/v2/team/app/manifests/v1")?.expect(401)?;
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            "Bearer realm=\"http://tokens.test/token\",service=\"registry.test\",scope=\"repository:team/app:pull\""
        )
    );
    let access = |name: &str, actions: &[&str]| serde_json::json!([{ "type": "repository", "name": name, "actions": actions }]);
    let full = server.token(&access("team/app", &["pull", "push"]))?;
    let pull = server.token(&access("team/app", &["pull"]))?;
    let foreign = stranger.token(&access("team/app", &["pull", "push"]))?;
    let none = {
        let (_, rest) = full.split_once('.').context("token")?;
        let claims = rest.split('.').next().context("claims")?;
        format!("Bearer {}.{claims}.", server.base64(br#"{"alg":"none"}"#)?)
    };
    let ask = |method: &str, path: &str, token: &str| -> Result<u16> {
        Ok(registry
            .request(method, path, &[("Authorization", token)], b"")?
            .status)
    };
    let uploads = "/v2/team/app/blobs/uploads/";
    assert_eq!(ask("GET", "/v2/team/app/manifests/v1", &pull)?, 404);
    assert_eq!(ask("POST", uploads, &pull)?, 401);
    assert_eq!(ask("POST", uploads, &full)?, 202);
    assert_eq!(ask("POST", "/v2/team/other/blobs/uploads/", &full)?, 401);
    assert_eq!(ask("GET", "/v2/_catalog", &full)?, 401);
    assert_eq!(ask("POST", uploads, &foreign)?, 401);
    assert_eq!(ask("POST", uploads, &none)?, 401);
    // Without the right to read there, a mount is an ordinary upload.
    let secret = server.token(&access("team/secret", &["pull", "push"]))?;
    let digest = Digest::sha256(b"secret layer");
    let path = format!("/v2/team/secret/blobs/uploads/?digest={digest}");
    let answer = registry.request("POST", &path, &[("Authorization", &secret)], b"secret layer")?;
    answer.expect(201)?;
    let mount = format!("{uploads}?mount={digest}&from=team/secret");
    assert_eq!(ask("POST", &mount, &full)?, 202);
    let both = serde_json::json!([
        { "type": "repository", "name": "team/app", "actions": ["pull", "push"] },
        { "type": "repository", "name": "team/secret", "actions": ["pull"] }
    ]);
    assert_eq!(ask("POST", &mount, &server.token(&both)?)?, 201);
    // A private key is not for registries.
    let private = server.place.directory().join("key.pem");
    let mut command = Command::new(berth()?);
    command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"]);
    command
        .arg(server.place.directory().join("x"))
        .args(flags(text(&private)?));
    let output = command::run(&mut command, b"")?.expect(1)?;
    assert!(output.stderr.contains("holds a private key"), "{}", output.stderr);
    Ok(())
}

#[test]
fn im_04_registry_speaks_tls() -> Result<()> {
    if !has("openssl") || !has("curl") {
        return skip("openssl or curl is not installed");
    }
    let place = Place::create()?;
    let make = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=registry",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    openssl(place.directory(), &make, b"")?;
    let (cert, key) = (
        place.directory().join("cert.pem"),
        place.directory().join("key.pem"),
    );
    let registry = RegistryServer::berth(&["--tls-cert", text(&cert)?, "--tls-key", text(&key)?])?;
    let url = format!("https://{}/v2/", registry.address());
    let curl = |arguments: &[&str]| command::run(Command::new("curl").arg("-s").args(arguments), b"");
    assert_eq!(curl(&["--cacert", text(&cert)?, &url])?.text()?, "{}");
    // Who does not trust it is not served, and there is no way around TLS.
    assert_eq!(curl(&[&url])?.code, 60);
    assert_ne!(curl(&[&url.replace("https", "http")])?.code, 0);
    // A renewed certificate is used without a restart.
    let before = std::fs::read(&cert)?;
    openssl(place.directory(), &make, b"")?;
    assert_ne!(std::fs::read(&cert)?, before);
    registry.signal(rustix::process::Signal::HUP)?;
    testkit::until("the new certificate", std::time::Duration::from_secs(10), || {
        Ok(curl(&["--cacert", text(&cert)?, &url])?.code == 0)
    })?;
    Ok(())
}

#[test]
fn registry_sends_no_passwords_in_the_clear() -> Result<()> {
    let place = Place::create()?;
    let file = place.directory().join("htpasswd");
    testkit::image::put(&file, HTPASSWD)?;
    let mut command = Command::new(berth()?);
    command.args([
        "registry",
        "serve",
        "--addr",
        "0.0.0.0:0",
        "--htpasswd",
        text(&file)?,
        "--root",
    ]);
    command.arg(place.directory().join("registry"));
    let output = command::run(&mut command, b"")?.expect(1)?;
    assert!(output.stderr.contains("need a certificate"), "{}", output.stderr);
    let registry = RegistryServer::berth(&[])?;
    push_blob(&registry, "open", b"to all")?;
    Ok(())
}
