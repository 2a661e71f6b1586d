//! The client against docker's own registry, with a file of passwords.

use std::process::{Child, Command, Stdio};

use bytes::Bytes;

use super::*;

const PROGRAM: &str = "/usr/bin/docker-registry";

struct Real {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Real {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The registry cannot take a port of the kernel's choice and tell it.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let path = directory.path();
        let hash = bcrypt::hash("hunter2", 4).unwrap().replace("$2b$", "$2y$");
        write(&path.join("htpasswd"), &format!("user:{hash}\n"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {0}/data}}\n  delete: {{enabled: true}}\n\
             http: {{addr: \"{address}\", secret: x}}\nauth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
            path.display()
        );
        write(&path.join("config.yml"), &text);
        let child = Command::new(PROGRAM)
            .args(["serve".as_ref(), path.join("config.yml").as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let real = Self {
            child,
            address,
            _directory: directory,
        };
        testkit::until("docker-registry to listen", Duration::from_secs(60), || {
            Ok(std::net::TcpStream::connect(&real.address).is_ok())
        })
        .unwrap();
        real
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Memory(Vec<u8>);

impl BlobSource for Memory {
    fn open(&self, offset: u64) -> std::io::Result<ByteStream> {
        let rest = Bytes::copy_from_slice(&self.0[usize::try_from(offset).unwrap()..]);
        Ok(Box::pin(futures_util::stream::iter([Ok(rest)])))
    }
}

#[tokio::test]
async fn dockers_registry_takes_and_gives() {
    if !Path::new(PROGRAM).exists() {
        testkit::skip("docker-registry is not installed").unwrap();
        return;
    }
    let real = Real::start();
    let client = Client::new(config()).unwrap();
    let reference = Reference::parse(&format!("{}/a/b", real.address)).unwrap();
    let of = |credentials| client.repository(&reference, credentials, Access::Delete);

    let login = client
        .login(&real.address, basic("user", "hunter2"))
        .await
        .unwrap();
    assert_eq!((login.status, login.identity_token), ("Login Succeeded", None));
    let error = client
        .login(&real.address, basic("user", "wrong"))
        .await
        .unwrap_err();
    assert_eq!(chain(&error), "unauthorized: authentication required");
    let error = of(Credentials::Anonymous).manifest(&tag("1")).await.unwrap_err();
    assert!(chain(&error).ends_with(": no basic auth credentials"), "{error}");

    let repository = of(basic("user", "hunter2"));
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "manifest for {}/a/b:1 not found: manifest unknown: manifest unknown",
            real.address
        )
    );
    let (config, small, large) = (b"{}".to_vec(), noise(70_000), noise(9_000_000));
    let mut layers = Vec::new();
    for bytes in [&config, &small, &large] {
        let digest = Digest::sha256(bytes);
        assert_eq!(repository.has_blob(&digest).await.unwrap(), None);
        repository
            .upload(&digest, bytes.len() as u64, &Memory(bytes.clone()), None)
            .await
            .unwrap();
        assert_eq!(
            repository.has_blob(&digest).await.unwrap(),
            Some(bytes.len() as u64)
        );
        layers.push(serde_json::json!({
            "mediaType": oci::media_type::OCI_LAYER_GZIP, "digest": digest.as_str(), "size": bytes.len(),
        }));
    }
    // In pieces of sizes that were not known.
    let mut upload = repository.start_upload().await.unwrap();
    for piece in ["ab", "cde"] {
        let stream = Memory(piece.as_bytes().to_vec()).open(0).unwrap();
        upload.send(stream, None).await.unwrap();
    }
    assert_eq!(upload.resume().await.unwrap(), 5);
    upload.finish(&Digest::sha256(b"abcde")).await.unwrap();
    let upload = repository.start_upload().await.unwrap();
    upload.cancel().await.unwrap();

    layers[0]["mediaType"] = oci::media_type::OCI_CONFIG.into();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": oci::media_type::OCI_MANIFEST, "config": layers[0], "layers": layers[1..],
    });
    let bytes = Bytes::from(manifest.to_string());
    let digest = repository
        .put_manifest(&tag("1"), oci::media_type::OCI_MANIFEST, bytes.clone())
        .await
        .unwrap();
    let fetched = repository.manifest(&tag("1")).await.unwrap();
    assert_eq!((&fetched.bytes, &fetched.digest), (&bytes, &digest));
    assert_eq!(
        repository.head_manifest(&tag("1")).await.unwrap().unwrap().digest,
        digest
    );
    assert_eq!(repository.tags().await.unwrap(), ["1"]);
    assert!(repository.referrers(&digest, None).await.unwrap().is_empty());

    let large_digest = Digest::sha256(&large);
    let body = repository
        .blob(&large_digest, BlobRange::from(8_999_990))
        .await
        .unwrap();
    assert_eq!((body.offset(), body.total()), (8_999_990, Some(9_000_000)));
    assert_eq!(read(body).await.0, &large[8_999_990..]);
    assert!(
        read(repository.blob(&large_digest, BlobRange::WHOLE).await.unwrap())
            .await
            .0
            == large
    );

    let other = Reference::parse(&format!("{}/other", real.address)).unwrap();
    let other = client.repository(&other, basic("user", "hunter2"), Access::Push);
    let mounted = other
        .mounting_from(&["a/b".to_owned()])
        .mount(&large_digest, "a/b")
        .await
        .unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    let found = client
        .search(&format!("{}/a", real.address), 10, basic("user", "hunter2"))
        .await
        .unwrap();
    assert_eq!(found[0].name, format!("{}/a/b", real.address));
    repository.delete_manifest(&digest).await.unwrap();
    assert!(
        repository
            .head_manifest(&Target::Digest(digest))
            .await
            .unwrap()
            .is_none()
    );
}
