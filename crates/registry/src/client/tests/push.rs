use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use testkit::registry::{Lie, Rule};

use super::*;

/// A blob in memory that remembers from where it was read.
struct Memory {
    bytes: Vec<u8>,
    opened: Mutex<Vec<u64>>,
}

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            opened: Mutex::default(),
        }
    }
}

impl BlobSource for Memory {
    fn open(&self, offset: u64) -> io::Result<ByteStream> {
        self.opened.lock().unwrap().push(offset);
        let rest = &self.bytes[usize::try_from(offset).unwrap()..];
        Ok(stream(rest))
    }
}

fn stream(bytes: &[u8]) -> ByteStream {
    let pieces: Vec<io::Result<Bytes>> = bytes
        .chunks(64 << 10)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn blobs_of_all_sizes_arrive() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    for size in [0, 1, 2, 100_000, 4 << 20, (4 << 20) + 1, 9_000_000] {
        let bytes = noise(size);
        let digest = Digest::sha256(&bytes);
        registry.forget();
        repository
            .upload(&digest, size as u64, &Memory::of(&bytes), None)
            .await
            .unwrap();
        assert!(registry.blob(digest.as_str()).unwrap() == bytes);
        // Small ones take two requests.
        assert_eq!(registry.count("PATCH", ""), usize::from(size > 4 << 20));
        assert_eq!((registry.count("POST", ""), registry.count("PUT", "")), (1, 1));
    }
}

#[tokio::test]
async fn cut_uploads_go_on_where_they_stopped() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let bytes = noise(6_000_000);
    let digest = Digest::sha256(&bytes);
    let source = Memory::of(&bytes);
    registry.lie(Rule::once("PATCH", "", Lie::CutRequest(2_500_000)));
    registry.lie(Rule::once("PATCH", "", Lie::CutRequest(1_000_001)));
    repository
        .upload(&digest, 6_000_000, &source, None)
        .await
        .unwrap();
    assert_eq!(*source.opened.lock().unwrap(), [0, 2_500_000, 3_500_001]);
    assert!(registry.blob(digest.as_str()).unwrap() == bytes);
    let patches: Vec<_> = registry
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PATCH")
        .collect();
    assert_eq!(patches[1].header("content-range"), Some("2500000-5999999"));
    // A registry that has forgotten the upload gets all of it again.
    let source = Memory::of(&bytes);
    registry.remove_blob(digest.as_str());
    registry.lie(Rule::once("PATCH", "", Lie::CutRequest(2_500_000)));
    registry.lie(Rule::once(
        "GET",
        "/uploads/",
        Lie::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown"),
    ));
    repository
        .upload(&digest, 6_000_000, &source, None)
        .await
        .unwrap();
    assert_eq!(*source.opened.lock().unwrap(), [0, 0]);
    assert!(registry.blob(digest.as_str()).unwrap() == bytes);
    // One whose answer was lost is not sent again.
    let small = b"small".to_vec();
    registry.add_blob(&small);
    let source = Memory::of(&small);
    registry.lie(Rule::once("PUT", "", Lie::Hangup));
    repository
        .upload(&Digest::sha256(&small), 5, &source, None)
        .await
        .unwrap();
    assert_eq!(source.opened.lock().unwrap().len(), 1);
    // For ever is too long.
    registry.remove_blob(digest.as_str());
    registry.lie(Rule::always("PATCH", "", Lie::CutRequest(1)));
    let error = repository
        .upload(&digest, 6_000_000, &Memory::of(&bytes), None)
        .await
        .unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_takes_nothing_more_fails_the_upload() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository_of(&registry, impatient(), Credentials::Anonymous);
    let bytes = noise(40_000_000);
    registry.lie(Rule::always("PATCH", "", Lie::StallRequest(100_000)));
    let mut upload = repository.start_upload().await.unwrap();
    let error = upload
        .send(stream(&bytes), Some(bytes.len() as u64))
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_source_is_not_the_registrys_fault() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository_of(&registry, impatient(), Credentials::Anonymous);
    let mut upload = repository.start_upload().await.unwrap();
    let slow = futures_util::stream::unfold(0, |step| async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        (step < 2).then(|| (Ok(Bytes::from_static(b"ab")), step + 1))
    });
    upload.send(Box::pin(slow), None).await.unwrap();
    assert_eq!(upload.offset(), 4);
    upload.finish(&Digest::sha256(b"abab")).await.unwrap();
    assert_eq!(registry.blob(Digest::sha256(b"abab").as_str()).unwrap(), b"abab");
}

#[tokio::test]
async fn pieces_of_unknown_size() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let mut upload = repository.start_upload().await.unwrap();
    for piece in ["a", "bcd", ""] {
        upload.send(stream(piece.as_bytes()), None).await.unwrap();
    }
    assert_eq!((upload.offset(), upload.resume().await.unwrap()), (4, 4));
    let digest = Digest::sha256(b"abcd");
    upload.finish(&digest).await.unwrap();
    assert_eq!(registry.blob(digest.as_str()).unwrap(), b"abcd");
    // A registry that says it has less is believed.
    let mut upload = repository.start_upload().await.unwrap();
    let header = vec![("Range".to_owned(), "0-1".to_owned())];
    registry.lie(Rule::once("PATCH", "", Lie::Headers(header)));
    let error = upload.send(stream(b"abcd"), None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Interrupted { .. }), "{error:?}");
    assert_eq!(upload.offset(), 2);
    upload.cancel().await.unwrap();
}

#[tokio::test]
async fn sources_that_fail_or_lie_fail_the_upload() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let digest = Digest::sha256(b"abcd");
    for size in [3, 5] {
        let error = repository
            .upload(&digest, size, &Memory::of(b"abcd"), None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, RegistryError::Source { .. } | RegistryError::Answer { .. }),
            "{size}: {error:?}"
        );
        assert_eq!(registry.blob(digest.as_str()), None);
    }
    let mut upload = repository.start_upload().await.unwrap();
    let broken: ByteStream = Box::pin(futures_util::stream::iter([
        Ok(Bytes::from_static(b"a")),
        Err(io::Error::other("the disk is gone")),
    ]));
    let error = upload.send(broken, None).await.unwrap_err();
    assert!(
        chain(&error).contains("the disk is gone") && !error.is_temporary(),
        "{error:?}"
    );
    let error = repository
        .upload(&Digest::sha256(b"other"), 4, &Memory::of(b"abcd"), None)
        .await
        .unwrap_err();
    assert_eq!(
        chain(&error),
        "digest invalid: provided digest did not match uploaded content"
    );
}

#[tokio::test]
async fn blobs_are_mounted_or_uploaded() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let digest = parse(&registry.add_blob_in("from/here", b"abc"));
    let mounted = repository.mount(&digest, "from/here").await.unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    assert_eq!(repository.has_blob(&digest).await.unwrap(), Some(3));
    let other = Digest::sha256(b"xyz");
    let Mount::Started(upload) = repository.mount(&other, "from/here").await.unwrap() else {
        panic!("there is no such blob");
    };
    repository
        .upload(&other, 3, &Memory::of(b"xyz"), Some(upload))
        .await
        .unwrap();
    assert_eq!(registry.count("POST", ""), 2);
    let wider = repository.mounting_from(&["from/here".to_owned()]);
    registry.set_auth(testkit::registry::Auth::Bearer {
        realm: String::new(),
        user: None,
        refresh_token: String::new(),
        expires_in: 0,
    });
    wider.mount(&digest, "from/here").await.unwrap();
    let asked = registry
        .seen()
        .into_iter()
        .find(|seen| seen.path() == "/token")
        .unwrap();
    assert_eq!(
        asked.queries("scope"),
        ["repository:a/b:pull,push", "repository:from/here:pull"]
    );
}

#[tokio::test]
async fn manifests_are_stored_and_removed() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"config":{},"layers":[]}"#);
    let kind = oci::media_type::DOCKER_MANIFEST;
    let digest = repository
        .put_manifest(&tag("1"), kind, bytes.clone())
        .await
        .unwrap();
    assert_eq!(digest, Digest::sha256(&bytes));
    assert_eq!(
        registry.manifest("a/b", "1").unwrap(),
        (kind.to_owned(), bytes.to_vec())
    );
    let header = vec![(
        "Docker-Content-Digest".to_owned(),
        Digest::sha256(b"x").to_string(),
    )];
    registry.lie(Rule::once("PUT", "", Lie::Headers(header)));
    let error = repository
        .put_manifest(&tag("2"), kind, bytes.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
    repository.delete_manifest(&digest).await.unwrap();
    assert_eq!(
        repository.delete_manifest(&digest).await.unwrap_err().status(),
        Some(404)
    );
    let large = Bytes::from(vec![b' '; (4 << 20) + 1]);
    let error = repository.put_manifest(&tag("1"), kind, large).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
}
