use testkit::registry::{Lie, Rule};

use super::*;

const OCI: &str = oci::media_type::OCI_MANIFEST;

fn image(registry: &LyingRegistry) -> Digest {
    let layer = (oci::media_type::OCI_LAYER_GZIP, noise(300_000));
    parse(&registry.add_image("a/b", "1", b"{}", &[layer]))
}

#[tokio::test]
async fn manifests_come_with_their_exact_bytes() {
    let registry = LyingRegistry::start().unwrap();
    let digest = image(&registry);
    let repository = repository(&registry);
    let fetched = repository.manifest(&tag("1")).await.unwrap();
    assert_eq!((fetched.media_type.as_str(), &fetched.digest), (OCI, &digest));
    assert_eq!(fetched.bytes, registry.manifest("a/b", "1").unwrap().1);
    let again = repository
        .manifest(&Target::Digest(digest.clone()))
        .await
        .unwrap();
    assert_eq!(again.bytes, fetched.bytes);
    let head = repository.head_manifest(&tag("1")).await.unwrap().unwrap();
    assert_eq!((head.digest, head.size), (digest, fetched.bytes.len() as u64));
    assert!(repository.head_manifest(&tag("2")).await.unwrap().is_none());
    let accept = registry
        .seen()
        .last()
        .unwrap()
        .header("accept")
        .map(str::to_owned);
    assert!(accept.unwrap().contains("manifest.list.v2+json"));
}

#[tokio::test]
async fn what_is_missing_is_told_in_dockers_words() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let repository = repository(&registry);
    let name = format!("{}/a/b", registry.address());
    let error = repository.manifest(&tag("2")).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!("manifest for {name}:2 not found: manifest unknown: manifest unknown")
    );
    assert_eq!(
        (error.status(), base::error::Kinded::kind(&error)),
        (Some(404), base::error::Kind::NotFound)
    );
    registry.lie(Rule::once(
        "GET",
        "",
        Lie::error(403, "DENIED", "requested access to the resource is denied"),
    ));
    assert_eq!(
        chain(&repository.manifest(&tag("1")).await.unwrap_err()),
        format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied"
        )
    );
    registry.lie(Rule::once(
        "GET",
        "",
        Lie::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
    ));
    assert!(
        chain(&repository.manifest(&tag("1")).await.unwrap_err())
            .starts_with(&format!("repository {name} not found"))
    );
    registry.lie(Rule::once(
        "GET",
        "",
        Lie::Answer(500, Vec::new(), b"\x1b[31m".to_vec()),
    ));
    assert_eq!(
        chain(&repository.manifest(&tag("1")).await.unwrap_err()),
        "received unexpected HTTP status: 500 Internal Server Error"
    );
    registry.lie(Rule::once("GET", "", Lie::error(418, "A\u{7}", "b\n\u{1b}]0;x")));
    assert_eq!(
        chain(&repository.manifest(&tag("1")).await.unwrap_err()),
        "a : b  ]0;x"
    );
    for wrong in ["../../v2", "", "a/b", "a b"] {
        assert!(repository.manifest(&tag(wrong)).await.is_err());
    }
    let port = registry.port();
    drop(registry);
    let error = chain(&repository.manifest(&tag("1")).await.unwrap_err());
    assert!(
        error.ends_with(&format!("dial tcp 127.0.0.1:{port}: connect: connection refused")),
        "{error}"
    );
}

#[tokio::test]
async fn im_01_wrong_digests_are_refused() {
    let registry = LyingRegistry::start().unwrap();
    let digest = image(&registry);
    let repository = repository(&registry);
    let by_digest = Target::Digest(digest.clone());
    let wrong =
        |error: RegistryError| assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
    registry.lie(Rule::once("GET", "/manifests/", Lie::Flip(9)));
    wrong(repository.manifest(&by_digest).await.unwrap_err());
    registry.lie(Rule::once("GET", "/manifests/", Lie::Flip(9)));
    wrong(repository.manifest(&tag("1")).await.unwrap_err());
    // Another manifest, with all headers to match.
    let other = registry.add_manifest("a/b", "2", OCI, br#"{"schemaVersion":2,"config":{},"layers":[]}"#);
    let (_, bytes) = registry.manifest("a/b", "2").unwrap();
    let header = vec![
        ("Docker-Content-Digest".to_owned(), other.clone()),
        ("Content-Type".to_owned(), OCI.to_owned()),
    ];
    registry.lie(Rule::times("", "/manifests/", 2, Lie::Answer(200, header, bytes)));
    wrong(repository.manifest(&by_digest).await.unwrap_err());
    wrong(repository.head_manifest(&by_digest).await.unwrap_err());
    for text in [
        "sha256:../../etc",
        "sha256:00",
        "md5:00000000000000000000000000000000",
        &digest.as_str().to_uppercase(),
    ] {
        let header = vec![("Docker-Content-Digest".to_owned(), text.to_owned())];
        registry.lie(Rule::once("GET", "/manifests/", Lie::Headers(header)));
        let error = repository.manifest(&tag("1")).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Protocol { .. }),
            "{text}: {error:?}"
        );
    }
    let config = Digest::sha256(b"{}");
    assert_eq!(repository.blob_bytes(&config, 10).await.unwrap(), "{}");
    registry.lie(Rule::once("GET", "/blobs/", Lie::Flip(0)));
    wrong(repository.blob_bytes(&config, 10).await.unwrap_err());
    let error = repository.blob_bytes(&config, 1).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn im_02_manifests_with_two_readings_are_refused() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let index = oci::media_type::OCI_INDEX;
    let v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for (place, (media_type, text)) in [
        (
            OCI,
            r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#,
        ),
        (index, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#),
        (index, r#"{"schemaVersion":2,"manifests":[],"config":{}}"#),
        (
            index,
            &format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","manifests":[]}}"#),
        ),
        (
            OCI,
            &format!(r#"{{"schemaVersion":2,"mediaType":"{index}","layers":[]}}"#),
        ),
        (v1, r#"{"schemaVersion":1,"fsLayers":[]}"#),
        ("application/json", r#"{"schemaVersion":1,"fsLayers":[]}"#),
        (OCI, r#"{"schemaVersion":1}"#),
        (OCI, r#"{"schemaVersion":3}"#),
        (OCI, r#"{}"#),
        (OCI, r#"{"schemaVersion":-2}"#),
        (OCI, "[]"),
        (OCI, r#"[2, null, null, {}, []]"#),
        (OCI, ""),
        (OCI, "\u{0}"),
        ("text/html", "<html>"),
        ("text/html", r#"{"schemaVersion":2}"#),
        (
            "application/vnd.helm",
            r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
        ),
        (OCI, &"[".repeat(100_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{place}");
        registry.add_manifest("a/b", &name, media_type, text.as_bytes());
        let error = repository.manifest(&tag(&name)).await.unwrap_err();
        let good = matches!(
            error,
            RegistryError::MediaType { .. } | RegistryError::Protocol { .. }
        );
        assert!(good, "{name}: {error:?}");
    }
    // A registry of plain files knows no media types: the document tells.
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{{}},"layers":[]}}"#);
    registry.add_manifest("a/b", "plain", "application/json; charset=utf-8", text.as_bytes());
    assert_eq!(repository.manifest(&tag("plain")).await.unwrap().media_type, OCI);
}

#[tokio::test]
async fn im_05_documents_have_limits() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let mut text = br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec();
    text.resize(4 << 20, b' ');
    registry.add_manifest("a/b", "most", OCI, &text);
    assert_eq!(
        repository.manifest(&tag("most")).await.unwrap().bytes.len(),
        4 << 20
    );
    text.push(b' ');
    registry.add_manifest("a/b", "more", OCI, &text);
    for lie in [None, Some(Lie::NoLength)] {
        if let Some(lie) = lie {
            registry.lie(Rule::once("GET", "/manifests/", lie));
        }
        let error = repository.manifest(&tag("more")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "manifest of \"{}/v2/a/b/manifests/more\" exceeds the limit of 4194304 bytes",
                registry.url()
            )
        );
    }
    // Heads without an end.
    let many = "X: y\r\n".repeat(200);
    let long = format!("X: {}\r\n", "y".repeat(2 << 20));
    for head in [many, long] {
        let raw = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
        registry.lie(Rule::always("GET", "/manifests/", Lie::Raw(raw.into_bytes())));
        let error = repository.manifest(&tag("most")).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
        registry.be_honest();
    }
}

#[tokio::test]
async fn blobs_come_whole_and_in_parts() {
    let registry = LyingRegistry::start().unwrap();
    let bytes = noise(1_000_000);
    let digest = parse(&registry.add_blob(&bytes));
    let repository = repository(&registry);
    let body = repository.blob(&digest, BlobRange::WHOLE).await.unwrap();
    assert_eq!(
        (body.offset(), body.total(), body.length()),
        (0, Some(1_000_000), Some(1_000_000))
    );
    assert!(read(body).await.0 == bytes);
    let part = BlobRange {
        offset: 10,
        length: Some(5),
    };
    let body = repository.blob(&digest, part).await.unwrap();
    assert_eq!(
        (body.offset(), body.total(), body.length()),
        (10, Some(1_000_000), Some(5))
    );
    assert_eq!(read(body).await.0, &bytes[10..15]);
    let body = repository.blob(&digest, BlobRange::from(999_999)).await.unwrap();
    assert_eq!(read(body).await.0, &bytes[999_999..]);
    // A registry that knows no ranges sends all of it, and that is seen.
    registry.lie(Rule::once("GET", "/blobs/", Lie::NoRange));
    let body = repository.blob(&digest, part).await.unwrap();
    assert_eq!((body.offset(), body.length()), (0, Some(1_000_000)));
    drop(body);
    let error = repository
        .blob(&digest, BlobRange::from(1_000_000))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(416));
    assert_eq!(repository.has_blob(&digest).await.unwrap(), Some(1_000_000));
    assert_eq!(
        repository.has_blob(&Digest::sha256(b"other")).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn lies_about_ranges_are_seen() {
    let registry = LyingRegistry::start().unwrap();
    let digest = parse(&registry.add_blob(&noise(100)));
    let repository = repository(&registry);
    let part = BlobRange {
        offset: 10,
        length: Some(5),
    };
    for range in [
        "bytes 0-4/100",
        "bytes 11-15/100",
        "bytes 10-15/100",
        "bytes 10-14/12",
        "bytes 10-14",
        "bytes */100",
        "",
        "bytes 10-13/100",
    ] {
        let header = vec![("Content-Range".to_owned(), range.to_owned())];
        registry.lie(Rule::once("GET", "/blobs/", Lie::Headers(header)));
        let error = repository.blob(&digest, part).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Protocol { .. }),
            "{range}: {error:?}"
        );
    }
    for lie in [
        Lie::Headers(vec![("Content-Encoding".into(), "gzip".into())]),
        Lie::Answer(
            206,
            vec![("Content-Range".into(), "bytes 0-1/2".into())],
            b"ab".to_vec(),
        ),
    ] {
        registry.lie(Rule::once("GET", "/blobs/", lie));
        let error = repository.blob(&digest, BlobRange::WHOLE).await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn cut_transfers_go_on_where_they_stopped() {
    let registry = LyingRegistry::start().unwrap();
    let bytes = noise(3_000_000);
    let digest = parse(&registry.add_blob(&bytes));
    let repository = repository(&registry);
    for lie in [Lie::Reset(1_234_567), Lie::Length(3_000_001)] {
        registry.lie(Rule::once("GET", "/blobs/", lie));
        let (mut got, error) = read(repository.blob(&digest, BlobRange::WHOLE).await.unwrap()).await;
        let error = error.unwrap();
        assert!(
            error.is_temporary() && matches!(error, RegistryError::Interrupted { .. }),
            "{error:?}"
        );
        assert!(bytes.starts_with(&got));
        if got.len() < bytes.len() {
            let rest = repository
                .blob(&digest, BlobRange::from(got.len() as u64))
                .await
                .unwrap();
            assert_eq!(rest.offset(), got.len() as u64);
            got.extend(read(rest).await.0);
        }
        assert!(got == bytes);
    }
}

#[tokio::test]
async fn what_stalls_fails() {
    let registry = LyingRegistry::start().unwrap();
    let bytes = noise(100_000);
    let digest = parse(&registry.add_blob(&bytes));
    let repository = repository_of(&registry, impatient(), Credentials::Anonymous);
    repository.has_blob(&digest).await.unwrap();
    registry.lie(Rule::once("GET", "/blobs/", Lie::Stall(5_000)));
    let (got, error) = read(repository.blob(&digest, BlobRange::WHOLE).await.unwrap()).await;
    assert_eq!(got, &bytes[..5_000]);
    assert!(matches!(error, Some(RegistryError::Stalled { .. })), "{error:?}");
    for lie in [Lie::Silence, Lie::SlowHead(Duration::from_millis(20))] {
        registry.lie(Rule::once("GET", "/blobs/", lie));
        let error = repository.blob(&digest, BlobRange::WHOLE).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Stalled { .. }) && error.is_temporary(),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let repository = repository(&registry);
    for lie in [
        Lie::later(503, 0),
        Lie::later(429, 0),
        Lie::Answer(502, Vec::new(), Vec::new()),
        Lie::Hangup,
    ] {
        registry.lie(Rule::times("GET", "/manifests/", 2, lie));
        registry.forget();
        repository.manifest(&tag("1")).await.unwrap();
        assert_eq!(registry.count("GET", "/manifests/"), 3);
    }
    // Not for ever, not after an hour, and not where it says nothing good.
    for (lie, attempts) in [
        (Lie::error(503, "UNAVAILABLE", "later"), 3),
        (Lie::later(429, 3600), 1),
        (Lie::error(500, "UNKNOWN", "no"), 1),
        (Lie::error(404, "MANIFEST_UNKNOWN", "no"), 1),
    ] {
        registry.lie(Rule::always("GET", "/manifests/", lie));
        registry.forget();
        repository.manifest(&tag("1")).await.unwrap_err();
        assert_eq!(registry.count("GET", "/manifests/"), attempts);
        registry.be_honest();
    }
    registry.lie(Rule::once("GET", "/manifests/", Lie::later(429, 3600)));
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "toomanyrequests: too many requests");
}

#[tokio::test]
async fn connections_are_used_again() {
    let registry = LyingRegistry::start().unwrap();
    image(&registry);
    let repository = repository(&registry);
    repository.manifest(&tag("1")).await.unwrap();
    // A registry that closes an idle connection is no failure.
    for _ in 0..3 {
        let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        registry.lie(Rule::once("HEAD", "/blobs/", Lie::Raw(raw)));
        drop(repository.has_blob(&Digest::sha256(b"{}")).await);
        repository.manifest(&tag("1")).await.unwrap();
    }
}

#[tokio::test]
async fn redirects_are_followed_to_an_end() {
    let registry = LyingRegistry::start().unwrap();
    let store = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    let bytes = noise(1000);
    let digest = parse(&store.add_blob(&bytes));
    let repository = repository(&registry);
    let there = format!("{}/v2/x/blobs/{digest}?sig=SECRET", store.url());
    registry.lie(Rule::times("", "/blobs/", 2, Lie::Redirect(there)));
    assert_eq!(repository.has_blob(&digest).await.unwrap(), Some(1000));
    let body = repository.blob(&digest, BlobRange::from(990)).await.unwrap();
    assert_eq!(
        (body.offset(), read(body).await.0.as_slice()),
        (990, &bytes[990..])
    );
    registry.lie(Rule::always("", "/blobs/", Lie::Redirect("?again".into())));
    registry.forget();
    let error = repository.has_blob(&digest).await.unwrap_err();
    assert!(
        error.to_string().ends_with("stopped after 10 redirects"),
        "{error}"
    );
    assert_eq!(registry.count("HEAD", "/blobs/"), 11);
    registry.be_honest();
    for location in [
        "",
        "ftp://x/",
        "http://user:pass@127.0.0.1/",
        "gopher",
        "http://[::1",
        "\u{1}",
    ] {
        registry.lie(Rule::once("", "/blobs/", Lie::Redirect(location.into())));
        assert!(
            repository
                .has_blob(&digest)
                .await
                .map(|size| size.is_none())
                .unwrap_or(true),
            "{location}"
        );
    }
}

#[tokio::test]
async fn mirrors_are_asked_first() {
    let registry = LyingRegistry::start().unwrap();
    let mirror = LyingRegistry::start_on("127.0.0.2", None).unwrap();
    let digest = image(&registry);
    assert_eq!(image(&mirror), digest);
    let mut config = config();
    let listed = Mirror {
        url: mirror.url(),
        credentials: Credentials::Anonymous,
    };
    config.mirrors.insert(registry.address(), vec![listed]);
    let client = Client::new(config).unwrap();
    let reference = Reference::parse(&format!("{}/a/b", registry.address())).unwrap();
    let repository = client.repository(&reference, basic("user", "hunter2"), Access::Pull);
    repository.manifest(&tag("1")).await.unwrap();
    assert_eq!(
        (mirror.count("GET", "/manifests/"), registry.seen().len()),
        (1, 0)
    );
    // Whatever is wrong with the mirror, the registry has the last word.
    for lie in [
        Lie::Flip(3),
        Lie::error(404, "X", ""),
        Lie::error(500, "X", ""),
        Lie::Body(b"{}".to_vec()),
    ] {
        mirror.lie(Rule::once("GET", "/manifests/", lie));
        assert_eq!(repository.manifest(&tag("1")).await.unwrap().digest, digest);
    }
    let blob = Digest::sha256(b"{}");
    mirror.remove_blob(blob.as_str());
    assert_eq!(repository.blob_bytes(&blob, 10).await.unwrap(), "{}");
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    // Writing is no business of mirrors.
    mirror.forget();
    let writing = client.repository(&reference, Credentials::Anonymous, Access::Push);
    writing.has_blob(&blob).await.unwrap();
    assert!(mirror.seen().is_empty());
}
