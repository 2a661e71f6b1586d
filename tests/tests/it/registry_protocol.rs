//! `berth registry serve` by the word of the OCI distribution specification 1.1, one request at a time.

use anyhow::{Context, Result};
use oci::Digest;
use serde_json::{Value, json};
use testkit::registry_server::{Answer, RegistryServer};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Pushes a blob in one request.
pub(crate) fn push_blob(registry: &RegistryServer, name: &str, bytes: &[u8]) -> Result<Digest> {
    let digest = Digest::sha256(bytes);
    let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    let answer = registry.request("POST", &path, &[], bytes)?.expect(201)?;
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    Ok(digest)
}

/// Begins an upload and returns its path.
pub(crate) fn begin(registry: &RegistryServer, name: &str) -> Result<String> {
    let path = format!("/v2/{name}/blobs/uploads/");
    let answer = registry.request("POST", &path, &[], b"")?.expect(202)?;
    Ok(answer.header("location").context("no location")?.to_owned())
}

/// Returns a manifest of blobs that are pushed for it.
pub(crate) fn manifest(registry: &RegistryServer, name: &str, layers: &[&[u8]]) -> Result<Value> {
    let config = b"{}";
    let mut document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": descriptor("application/vnd.oci.image.config.v1+json", &push_blob(registry, name, config)?, 2)
    });
    for layer in layers {
        let digest = push_blob(registry, name, layer)?;
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar", &digest, layer.len());
        document["layers"].as_array_mut().context("layers")?.push(layer);
    }
    Ok(document)
}

pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

pub(crate) fn put(
    registry: &RegistryServer,
    name: &str,
    reference: &str,
    media_type: &str,
    document: &Value,
) -> Result<Answer> {
    let path = format!("/v2/{name}/manifests/{reference}");
    let headers = [("Content-Type", media_type)];
    registry.request("PUT", &path, &headers, document.to_string().as_bytes())
}

pub(crate) fn get(registry: &RegistryServer, path: &str) -> Result<Answer> {
    registry.request("GET", path, &[], b"")
}

#[test]
fn registry_answers_at_its_base() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let answer = get(&registry, "/v2/")?.expect(200)?;
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        Some("registry/2.0")
    );
    get(&registry, "/v2")?.expect(200)?;
    get(&registry, "/v1/_ping")?.expect(200)?;
    get(&registry, "/")?.expect(404)?;
    let answer = registry.request("POST", "/v2/", &[], b"")?.expect(405)?;
    assert_eq!(
        (answer.code().as_str(), answer.header("allow")),
        ("UNSUPPORTED", Some("GET, HEAD"))
    );
    Ok(())
}

#[test]
fn registry_takes_blobs_in_every_way() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let bytes = b"0123456789".repeat(5000);
    let digest = Digest::sha256(&bytes);
    // POST and PUT.
    let upload = begin(&registry, "one")?;
    let answer = registry.request("PUT", &format!("{upload}?digest={digest}"), &[], &bytes)?;
    let location = answer.expect(201)?.header("location").map(str::to_owned);
    assert_eq!(location, Some(format!("/v2/one/blobs/{digest}")));
    // POST alone.
    push_blob(&registry, "two", &bytes)?;
    // POST, PATCH without a range as docker does, PUT.
    let upload = begin(&registry, "three")?;
    let answer = registry.request("PATCH", &upload, &[], &bytes)?.expect(202)?;
    assert_eq!(answer.header("range"), Some("0-49999"));
    registry
        .request("PUT", &format!("{upload}?digest={digest}"), &[], b"")?
        .expect(201)?;
    // Chunks, the last one with PUT; what does not follow is refused and changes nothing.
    let upload = begin(&registry, "four")?;
    let chunk = |method: &str, path: &str, from: usize, to: usize| {
        let range = format!("{from}-{}", to - 1);
        registry.request(method, path, &[("Content-Range", &range)], &bytes[from..to])
    };
    assert_eq!(
        chunk("PATCH", &upload, 0, 10_000)?.expect(202)?.header("range"),
        Some("0-9999")
    );
    for (from, to) in [(0, 10_000), (20_000, 30_000), (9_999, 20_000)] {
        let answer = chunk("PATCH", &upload, from, to)?.expect(416)?;
        assert_eq!(answer.header("range"), Some("0-9999"));
        assert_eq!(answer.header("location"), Some(upload.as_str()));
    }
    let wrong = [("Content-Range", "10000-19999")];
    let answer = registry
        .request("PATCH", &upload, &wrong, b"short")?
        .expect(400)?;
    assert_eq!(answer.code(), "SIZE_INVALID");
    registry
        .request("PATCH", &upload, &[("Content-Range", "nonsense")], b"x")?
        .expect(416)?;
    let answer = get(&registry, &upload)?.expect(204)?;
    assert_eq!(answer.header("range"), Some("0-9999"));
    chunk("PATCH", &upload, 10_000, 20_000)?.expect(202)?;
    chunk("PUT", &format!("{upload}?digest={digest}"), 20_000, 50_000)?.expect(201)?;
    get(&registry, &upload)?.expect(404)?;
    for name in ["one", "two", "three", "four"] {
        let answer = get(&registry, &format!("/v2/{name}/blobs/{digest}"))?.expect(200)?;
        assert!(answer.body == bytes, "{name}");
    }
    // The empty blob is one too.
    let empty = push_blob(&registry, "one", b"")?;
    assert!(
        get(&registry, &format!("/v2/one/blobs/{empty}"))?
            .expect(200)?
            .body
            .is_empty()
    );
    // One copy for all.
    let blobs = std::fs::read_dir(registry.root().join("content/blobs/sha256"))?.count();
    assert_eq!(blobs, 2);
    assert_eq!(std::fs::read_dir(registry.root().join("uploads"))?.count(), 0);
    Ok(())
}

#[test]
fn registry_refuses_wrong_uploads() -> Result<()> {
    let registry = RegistryServer::berth(&["--max-blob-size", "1k"])?;
    let wrong = Digest::sha256(b"other");
    let upload = begin(&registry, "a")?;
    let answer = registry.request("PUT", &format!("{upload}?digest={wrong}"), &[], b"content")?;
    assert_eq!(answer.expect(400)?.code(), "DIGEST_INVALID");
    // What is wrong is gone.
    get(&registry, &upload)?.expect(404)?;
    let upload = begin(&registry, "a")?;
    let answer = registry.request("PUT", &upload, &[], b"content")?.expect(400)?;
    assert_eq!(answer.code(), "DIGEST_INVALID");
    let sha512 = format!("{upload}?digest=sha512:{}", "0".repeat(128));
    let answer = registry.request("PUT", &sha512, &[], b"content")?.expect(400)?;
    assert!(
        answer.text().contains("sha512 is not supported"),
        "{}",
        answer.text()
    );
    // Another repository's upload is none of this one's.
    let stolen = upload.replace("/v2/a/", "/v2/b/");
    get(&registry, &stolen)?.expect(404)?;
    registry.request("DELETE", &stolen, &[], b"")?.expect(404)?;
    registry.request("DELETE", &upload, &[], b"")?.expect(204)?;
    assert_eq!(
        get(&registry, &upload)?.expect(404)?.code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    // The limit, announced and not.
    let upload = begin(&registry, "a")?;
    registry
        .request("PATCH", &upload, &[], &[b'x'; 1025])?
        .expect(413)?;
    registry
        .request("PATCH", &upload, &[], &[b'x'; 1000])?
        .expect(202)?;
    registry
        .request("PATCH", &upload, &[], &[b'x'; 25])?
        .expect(413)?;
    Ok(())
}

#[test]
fn registry_serves_parts_of_blobs() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = push_blob(&registry, "a", &bytes)?;
    let path = format!("/v2/a/blobs/{digest}");
    let answer = registry.request("HEAD", &path, &[], b"")?.expect(200)?;
    assert_eq!(answer.header("content-length"), Some("1200000"));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    let tag = answer.header("etag").context("no etag")?.to_owned();
    let part = |headers: &[(&str, &str)]| registry.request("GET", &path, headers, b"");
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-500000", 1000, 500_001),
        ("bytes=1199999-", 1_199_999, 1_200_000),
        ("bytes=-5", 1_199_995, 1_200_000),
        ("bytes=5-99999999", 5, 1_200_000),
    ] {
        let answer = part(&[("Range", range)])?.expect(206)?;
        assert!(answer.body == bytes[from..to], "{range}");
        let expected = format!("bytes {from}-{}/1200000", to - 1);
        assert_eq!(answer.header("content-range"), Some(expected.as_str()));
    }
    let answer = part(&[("Range", "bytes=1200000-")])?.expect(416)?;
    assert_eq!(answer.header("content-range"), Some("bytes */1200000"));
    assert_eq!(
        part(&[("Range", "bytes=0-1,5-6")])?.expect(200)?.body.len(),
        bytes.len()
    );
    assert!(part(&[("If-None-Match", &tag)])?.expect(304)?.body.is_empty());
    part(&[("If-None-Match", "\"other\"")])?.expect(200)?;
    part(&[("If-Range", &tag), ("Range", "bytes=0-0")])?.expect(206)?;
    part(&[("If-Range", "\"other\""), ("Range", "bytes=0-0")])?.expect(200)?;
    Ok(())
}

#[test]
fn registry_keeps_repositories_apart() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let digest = push_blob(&registry, "secret", b"secret layer")?;
    let other = format!("/v2/public/blobs/{digest}");
    assert_eq!(get(&registry, &other)?.expect(404)?.code(), "BLOB_UNKNOWN");
    // A manifest cannot name what only another repository has.
    let config = push_blob(&registry, "public", b"{}")?;
    let document = json!({
        "schemaVersion": 2, "config": descriptor("application/x", &config, 2),
        "layers": [descriptor("application/x", &digest, 12)]
    });
    let answer = put(&registry, "public", "v1", MANIFEST, &document)?.expect(400)?;
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(answer.json()?["errors"][0]["detail"]["digest"], digest.as_str());
    assert_eq!(
        get(&registry, "/v2/public/manifests/v1")?.expect(404)?.code(),
        "MANIFEST_UNKNOWN"
    );
    // A mount gives it, and one of what is not there is an ordinary upload.
    let mount = |from: &str, digest: &Digest| {
        let path = format!("/v2/public/blobs/uploads/?mount={digest}&from={from}");
        registry.request("POST", &path, &[], b"")
    };
    mount("nothing", &digest)?.expect(202)?;
    mount("secret", &Digest::sha256(b"unknown"))?.expect(202)?;
    let answer = mount("secret", &digest)?.expect(201)?;
    assert_eq!(answer.header("location"), Some(other.as_str()));
    assert_eq!(get(&registry, &other)?.expect(200)?.body, b"secret layer");
    put(&registry, "public", "v1", MANIFEST, &document)?.expect(201)?;
    Ok(())
}

#[test]
fn registry_stores_manifests_as_they_are() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let document = manifest(&registry, "a/b", &[b"layer"])?;
    let bytes = format!("  {document}\n");
    let digest = Digest::sha256(bytes.as_bytes());
    let path = "/v2/a/b/manifests/v1";
    let headers = [("Content-Type", MANIFEST)];
    let answer = registry
        .request("PUT", path, &headers, bytes.as_bytes())?
        .expect(201)?;
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    let location = answer.header("location").context("location")?.to_owned();
    for path in [path, location.as_str()] {
        let answer = get(&registry, path)?.expect(200)?;
        assert_eq!(answer.text(), bytes);
        assert_eq!(answer.header("content-type"), Some(MANIFEST));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        let head = registry.request("HEAD", path, &[], b"")?.expect(200)?;
        assert_eq!(
            head.header("content-length"),
            Some(bytes.len().to_string().as_str())
        );
        let tag = answer.header("etag").context("etag")?;
        registry
            .request("GET", path, &[("If-None-Match", tag)], b"")?
            .expect(304)?;
    }
    let other = Digest::sha256(b"other");
    let answer = put(&registry, "a/b", other.as_str(), MANIFEST, &document)?.expect(400)?;
    assert_eq!(answer.code(), "DIGEST_INVALID");
    // Sizes that are not those of the blobs, and documents that are none.
    let mut wrong = document.clone();
    wrong["layers"][0]["size"] = json!(99);
    assert_eq!(
        put(&registry, "a/b", "v2", MANIFEST, &wrong)?.expect(400)?.code(),
        "MANIFEST_INVALID"
    );
    for (kind, body) in [
        (MANIFEST, json!([])),
        (INDEX, document.clone()),
        (
            "application/vnd.docker.distribution.manifest.v1+json",
            json!({ "schemaVersion": 1, "fsLayers": [] }),
        ),
        ("text/plain", document.clone()),
    ] {
        let answer = put(&registry, "a/b", "v2", kind, &body)?.expect(400)?;
        assert_eq!(answer.code(), "MANIFEST_INVALID", "{kind}");
    }
    // An index of what is there, and of what is not.
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &digest, bytes.len())] });
    put(&registry, "a/b", "index", INDEX, &index)?.expect(201)?;
    put(&registry, "other", "index", INDEX, &index)?.expect(400)?;
    assert_eq!(
        get(&registry, "/v2/a/b/manifests/index")?.header("content-type"),
        Some(INDEX)
    );
    Ok(())
}

#[test]
fn registry_lists_tags_and_repositories_in_pages() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let document = manifest(&registry, "a/tags", &[])?;
    for tag in ["v2", "v10", "V1", "latest", "v1"] {
        put(&registry, "a/tags", tag, MANIFEST, &document)?.expect(201)?;
    }
    let list = |query: &str| -> Result<(Value, Option<String>)> {
        let answer = get(&registry, &format!("/v2/a/tags/tags/list{query}"))?.expect(200)?;
        Ok((
            answer.json()?["tags"].clone(),
            answer.header("link").map(str::to_owned),
        ))
    };
    assert_eq!(list("")?, (json!(["V1", "latest", "v1", "v10", "v2"]), None));
    assert_eq!(
        list("?n=2")?,
        (
            json!(["V1", "latest"]),
            Some("</v2/a/tags/tags/list?last=latest&n=2>; rel=\"next\"".to_owned())
        )
    );
    assert_eq!(list("?n=2&last=v1")?, (json!(["v10", "v2"]), None));
    assert_eq!(list("?n=0")?, (json!([]), None));
    assert_eq!(list("?last=zzz")?, (json!([]), None));
    get(&registry, "/v2/a/tags/tags/list?n=-1")?.expect(400)?;
    assert_eq!(
        get(&registry, "/v2/nobody/tags/list")?.expect(404)?.code(),
        "NAME_UNKNOWN"
    );
    manifest(&registry, "without-manifest", &[])?;
    for name in ["b", "c/d"] {
        let document = manifest(&registry, name, &[])?;
        put(&registry, name, "x", MANIFEST, &document)?.expect(201)?;
    }
    let answer = get(&registry, "/v2/_catalog?n=2")?.expect(200)?;
    assert_eq!(answer.json()?, json!({ "repositories": ["a/tags", "b"] }));
    let next = answer.header("link").context("link")?;
    assert_eq!(next, "</v2/_catalog?last=b&n=2>; rel=\"next\"");
    let answer = get(&registry, "/v2/_catalog?last=b&n=2")?.expect(200)?;
    assert_eq!(answer.json()?, json!({ "repositories": ["c/d"] }));
    assert_eq!(answer.header("link"), None);
    let answer = get(&registry, "/v1/search?q=d&n=10")?.expect(200)?;
    assert_eq!(answer.json()?["results"][0]["name"], "c/d");
    assert_eq!(answer.json()?["num_results"], 1);
    Ok(())
}

#[test]
fn registry_tells_referrers() -> Result<()> {
    let registry = RegistryServer::berth(&["--delete"])?;
    let image = manifest(&registry, "a", &[b"layer"])?;
    let image_bytes = image.to_string();
    let subject = Digest::sha256(image_bytes.as_bytes());
    let list = |query: &str| -> Result<Answer> {
        get(&registry, &format!("/v2/a/referrers/{subject}{query}"))?.expect(200)
    };
    assert_eq!(list("")?.json()?["manifests"], json!([]));
    let referrer = |kind: Option<&str>, note: &str| -> Result<Digest> {
        let mut document = manifest(&registry, "a", &[])?;
        document["subject"] = descriptor(MANIFEST, &subject, image_bytes.len());
        document["annotations"] = json!({ "note": note });
        if let Some(kind) = kind {
            document["artifactType"] = json!(kind);
        }
        let digest = Digest::sha256(document.to_string().as_bytes());
        let answer = put(&registry, "a", digest.as_str(), MANIFEST, &document)?.expect(201)?;
        assert_eq!(answer.header("oci-subject"), Some(subject.as_str()));
        Ok(digest)
    };
    // Referrers may come before what they are about.
    let signature = referrer(Some("application/vnd.test.signature+json"), "one")?;
    let other = referrer(None, "two")?;
    put(&registry, "a", "v1", MANIFEST, &image)?.expect(201)?;
    let answer = list("")?;
    assert_eq!(answer.header("content-type"), Some(INDEX));
    let mut digests: Vec<String> = answer.json()?["manifests"]
        .as_array()
        .context("manifests")?
        .iter()
        .map(|descriptor| descriptor["digest"].as_str().unwrap_or_default().to_owned())
        .collect();
    digests.sort();
    let mut expected = [signature.to_string(), other.to_string()];
    expected.sort();
    assert_eq!(digests, expected);
    for query in [
        "?artifactType=application/vnd.test.signature%2Bjson",
        "?artifactType=application/vnd.test.signature+json",
    ] {
        let answer = list(query)?;
        assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
        let found = &answer.json()?["manifests"];
        assert_eq!(found.as_array().map(Vec::len), Some(1));
        assert_eq!(found[0]["digest"], signature.as_str());
        assert_eq!(found[0]["artifactType"], "application/vnd.test.signature+json");
        assert_eq!(found[0]["annotations"], json!({ "note": "one" }));
    }
    registry
        .request("DELETE", &format!("/v2/a/manifests/{signature}"), &[], b"")?
        .expect(202)?;
    assert_eq!(list("")?.json()?["manifests"].as_array().map(Vec::len), Some(1));
    get(&registry, "/v2/a/referrers/sha256:0")?.expect(400)?;
    Ok(())
}

#[test]
fn im_08_registry_removes_only_when_told() -> Result<()> {
    let mut registry = RegistryServer::berth(&[])?;
    let document = manifest(&registry, "a", &[b"layer"])?;
    let digest = Digest::sha256(document.to_string().as_bytes());
    let layer = Digest::sha256(b"layer");
    for tag in ["v1", "v2"] {
        put(&registry, "a", tag, MANIFEST, &document)?.expect(201)?;
    }
    let by_tag = "/v2/a/manifests/v1".to_owned();
    let by_digest = format!("/v2/a/manifests/{digest}");
    let blob = format!("/v2/a/blobs/{layer}");
    for path in [&by_tag, &by_digest, &blob] {
        let answer = registry.request("DELETE", path, &[], b"")?.expect(405)?;
        assert_eq!(answer.code(), "UNSUPPORTED");
        get(&registry, path)?.expect(200)?;
    }
    registry.stop()?;
    registry.set_arguments(&["--delete"]);
    registry.launch()?;
    let delete = |path: &str| registry.request("DELETE", path, &[], b"");
    // A manifest that is there is complete: its blobs stay.
    delete(&blob)?.expect(405)?;
    delete(&by_tag)?.expect(202)?;
    delete(&by_tag)?.expect(404)?;
    get(&registry, &by_tag)?.expect(404)?;
    get(&registry, "/v2/a/manifests/v2")?.expect(200)?;
    delete(&by_digest)?.expect(202)?;
    get(&registry, "/v2/a/manifests/v2")?.expect(404)?;
    get(&registry, &by_digest)?.expect(404)?;
    delete(&blob)?.expect(202)?;
    // What was removed does not come back from anywhere.
    get(&registry, &blob)?.expect(404)?;
    registry.request("HEAD", &blob, &[], b"")?.expect(404)?;
    delete(&blob)?.expect(404)?;
    assert_eq!(get(&registry, "/v2/a/tags/list")?.json()?["tags"], json!([]));
    Ok(())
}

#[test]
fn registry_can_be_read_only() -> Result<()> {
    let mut registry = RegistryServer::berth(&[])?;
    let document = manifest(&registry, "a", &[b"layer"])?;
    put(&registry, "a", "v1", MANIFEST, &document)?.expect(201)?;
    registry.stop()?;
    registry.set_arguments(&["--read-only"]);
    registry.launch()?;
    get(&registry, "/v2/a/manifests/v1")?.expect(200)?;
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v2"),
        ("DELETE", "/v2/a/manifests/v1"),
    ] {
        let answer = registry.request(method, path, &[], b"")?.expect(405)?;
        assert!(answer.text().contains("read-only"), "{}", answer.text());
    }
    Ok(())
}

#[test]
fn im_05_im_08_registry_limits_hold() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let large = vec![b' '; (4 << 20) + 1];
    let headers = [("Content-Type", MANIFEST)];
    let answer = registry
        .request("PUT", "/v2/a/manifests/v1", &headers, &large)?
        .expect(413)?;
    assert!(answer.text().contains("4194304"), "{}", answer.text());
    // Heads without end are refused, and nothing of this is remembered.
    let header = "x".repeat(200 << 10);
    let answer = registry.request("GET", "/v2/", &[("X-Long", &header)], b"")?;
    assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("X-{n}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = registry.request("GET", "/v2/", &many, b"")?;
    assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    for path in [
        "/v2/../../etc/passwd/manifests/v1",
        "/v2/a%2f..%2fb/manifests/v1",
        "/v2/a/blobs/uploads/..%2f..%2fregistry.db",
        "/v2/a/blobs/sha256:..%2f..%2fregistry.db",
        "/v2/a/manifests/..%2f..%2fx",
    ] {
        let answer = get(&registry, path)?;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
    get(&registry, "/v2/_catalog?n=1000000000000")?.expect(200)?;
    get(&registry, "/v2/")?.expect(200)?;
    Ok(())
}
