//! Pushes to `berth registry serve` that are cut off, and garbage collection beside pushes.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use oci::Digest;
use serde_json::Value;
use testkit::registry_server::RegistryServer;
use testkit::{berth, command, until};

use crate::registry_protocol::{MANIFEST, begin, get, manifest, push_blob, put};

/// Pushes an image as clients do, its layer in two chunks.
fn push(registry: &RegistryServer, layer: &[u8]) -> Result<()> {
    let half = layer.len() / 2;
    let upload = begin(registry, "app")?;
    for (from, part) in [(0, &layer[..half]), (half, &layer[half..])] {
        let range = format!("{from}-{}", from + part.len() - 1);
        registry
            .request("PATCH", &upload, &[("Content-Range", &range)], part)?
            .expect(202)?;
    }
    let digest = Digest::sha256(layer);
    registry
        .request("PUT", &format!("{upload}?digest={digest}"), &[], b"")?
        .expect(201)?;
    let document = manifest(registry, "app", &[layer])?;
    put(registry, "app", "v1", MANIFEST, &document)?.expect(201)?;
    Ok(())
}

/// Fails unless the tag names a manifest that is there with all its blobs; returns its layer.
fn check(registry: &RegistryServer) -> Result<Vec<u8>> {
    let answer = get(registry, "/v2/app/manifests/v1")?.expect(200)?;
    assert_eq!(
        answer.header("docker-content-digest"),
        Some(Digest::sha256(&answer.body).as_str())
    );
    let document: Value = answer.json()?;
    let mut last = Vec::new();
    let layers = document["layers"].as_array().context("layers")?;
    for blob in std::iter::once(&document["config"]).chain(layers) {
        let digest = blob["digest"].as_str().context("digest")?;
        last = get(registry, &format!("/v2/app/blobs/{digest}"))?
            .expect(200)?
            .body;
        assert_eq!(Digest::sha256(&last).as_str(), digest);
    }
    Ok(last)
}

#[test]
fn registry_survives_kill_9_at_every_step_of_a_push() -> Result<()> {
    for step in registry::server::STEPS {
        let (old, new) = (b"the old layer".repeat(1000), b"the new layer".repeat(100_000));
        let mut registry = RegistryServer::berth(&[])?;
        push(&registry, &old)?;
        registry.kill()?;
        registry.set_environment(&[("BERTH_FAILPOINT", step)]);
        registry.launch()?;
        assert!(push(&registry, &new).is_err(), "{step}");
        assert_eq!(registry.wait()?, 128 + 9, "{step}");
        registry.set_environment(&[]);
        registry.launch()?;
        let layer = check(&registry)?;
        assert!(layer == old || layer == new, "{step}");
        let is_new = *step == "manifest.recorded";
        assert_eq!(layer == new, is_new, "{step}");
        // The client tries again.
        push(&registry, &new)?;
        assert!(check(&registry)? == new, "{step}");
        // What the killed server left half done is gone with the next start, but for uploads that may go on.
        assert_eq!(registry.stop()?, 0);
        registry.launch()?;
        let files = std::fs::read_dir(registry.root().join("uploads"))?.count();
        assert!(files <= 1, "{step}: {files} files");
    }
    Ok(())
}

#[test]
fn registry_resumes_uploads_after_kill_9() -> Result<()> {
    let mut registry = RegistryServer::berth(&[])?;
    let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::sha256(&bytes);
    let upload = begin(&registry, "app")?;
    let part = 1_000_003;
    registry
        .request("PATCH", &upload, &[], &bytes[..part])?
        .expect(202)?;
    registry.kill()?;
    registry.launch()?;
    let answer = get(&registry, &upload)?.expect(204)?;
    assert_eq!(answer.header("range"), Some(format!("0-{}", part - 1).as_str()));
    let range = format!("{part}-{}", bytes.len() - 1);
    registry
        .request("PATCH", &upload, &[("Content-Range", &range)], &bytes[part..])?
        .expect(202)?;
    registry.kill()?;
    registry.launch()?;
    registry
        .request("PUT", &format!("{upload}?digest={digest}"), &[], b"")?
        .expect(201)?;
    assert!(get(&registry, &format!("/v2/app/blobs/{digest}"))?.body == bytes);
    Ok(())
}

#[test]
fn registry_keeps_what_came_before_a_cut() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let bytes = vec![b'x'; 3 << 20];
    let upload = begin(&registry, "app")?;
    let mut stream = TcpStream::connect(registry.address())?;
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&bytes[..2 << 20])?;
    drop(stream);
    let mut received = 0;
    until("the bytes before the cut", Duration::from_secs(20), || {
        let answer = get(&registry, &upload)?.expect(204)?;
        let range = answer.header("range").context("range")?.to_owned();
        received = range.trim_start_matches("0-").parse::<usize>()? + 1;
        Ok(received == 2 << 20)
    })?;
    let range = format!("{received}-{}", bytes.len() - 1);
    let digest = Digest::sha256(&bytes);
    let path = format!("{upload}?digest={digest}");
    registry
        .request("PUT", &path, &[("Content-Range", &range)], &bytes[received..])?
        .expect(201)?;
    Ok(())
}

#[test]
fn registry_ends_gracefully() -> Result<()> {
    let mut registry = RegistryServer::berth(&[])?;
    let bytes = vec![b'x'; 8 << 20];
    let half = bytes.len() / 2;
    let digest = Digest::sha256(&bytes);
    let upload = begin(&registry, "app")?;
    let mut stream = TcpStream::connect(registry.address())?;
    let head = format!(
        "PUT {upload}?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&bytes[..half])?;
    until("the request to arrive", Duration::from_secs(10), || {
        let path = format!("{}/uploads", registry.root().display());
        let id = upload.rsplit('/').next().unwrap_or_default();
        let upload = std::fs::metadata(std::path::Path::new(&path).join(id));
        Ok(upload.is_ok_and(|upload| upload.len() > 0))
    })?;
    registry.signal(rustix::process::Signal::TERM)?;
    until("the server to hear it", Duration::from_secs(10), || {
        Ok(registry.log().contains("stopping"))
    })?;
    // Nobody is let in any more, and what had begun is carried to its end.
    stream.write_all(&bytes[half..])?;
    assert_eq!(registry.wait()?, 0);
    assert!(
        registry.log().contains(&format!("stored blob {digest}")),
        "{}",
        registry.log()
    );
    Ok(())
}

fn collect(registry: &RegistryServer, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(berth()?);
    command
        .args(["registry", "garbage-collect", "--root"])
        .arg(registry.root())
        .args(arguments);
    command::run(&mut command, b"")?.text()
}

#[test]
fn registry_garbage_is_collected_while_it_serves() -> Result<()> {
    let registry = RegistryServer::berth(&["--delete"])?;
    let (kept, lost, loose) = (b"kept layer", b"lost layer", b"loose blob");
    push(&registry, kept)?;
    let document = manifest(&registry, "gone", &[lost, kept])?;
    put(&registry, "gone", "v1", MANIFEST, &document)?.expect(201)?;
    let loose = push_blob(&registry, "gone", loose)?;
    registry
        .request("DELETE", "/v2/gone/manifests/v1", &[], b"")?
        .expect(202)?;
    let blobs = registry.root().join("content/blobs/sha256");
    let count = || Ok::<_, anyhow::Error>(std::fs::read_dir(&blobs)?.count());
    assert_eq!(count()?, 6);
    // What is young may be in the middle of a push.
    assert!(collect(&registry, &["--delete-untagged"])?.contains("files removed: 0"));
    let trial = collect(&registry, &["--delete-untagged", "--dry-run", "--grace", "0s"])?;
    assert!(
        trial.contains("untagged manifests would be removed: 1"),
        "{trial}"
    );
    assert_eq!(count()?, 6);
    // The manifest without a tag is kept, and so is what it names.
    collect(&registry, &["--grace", "0s"])?;
    get(&registry, &format!("/v2/gone/blobs/{loose}"))?.expect(404)?;
    assert_eq!(count()?, 5);
    collect(&registry, &["--delete-untagged", "--grace", "0s"])?;
    assert_eq!(count()?, 3);
    assert!(check(&registry)? == kept);
    get(&registry, "/v2/gone/tags/list")?.expect(404)?;
    // A blob that was removed can be pushed again.
    push_blob(&registry, "gone", lost)?;
    Ok(())
}

#[test]
fn registry_garbage_collection_takes_nothing_from_pushes() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            for _ in 0..10 {
                collect(&registry, &["--delete-untagged", "--grace", "1m"])?;
            }
            Ok::<_, anyhow::Error>(())
        });
        for round in 0..20u32 {
            push(&registry, format!("layer {round}").repeat(1000).as_bytes())?;
            check(&registry)?;
        }
        collecting
            .join()
            .map_err(|_panic| anyhow::anyhow!("the collector failed"))?
    })
}

#[test]
fn registry_directory_has_one_server() -> Result<()> {
    let registry = RegistryServer::berth(&[])?;
    let mut second = Command::new(berth()?);
    second
        .args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"])
        .arg(registry.root());
    let output = command::run(&mut second, b"")?.expect(1)?;
    assert!(
        output.stderr.contains("is served by another process"),
        "{}",
        output.stderr
    );
    Ok(())
}
