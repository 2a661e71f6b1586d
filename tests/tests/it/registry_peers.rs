//! `berth registry serve` and other people's programs: skopeo, docker, podman, curl, docker-registry.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use oci::Digest;
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::registry_server::RegistryServer;
use testkit::{command, has, skip, until};

use crate::registry_protocol::{MANIFEST, get, manifest, put};

fn run(program: &str, arguments: &[&str]) -> Result<command::Output> {
    command::run(Command::new(program).args(arguments), b"")
}

/// Copies an image; both ends may be registries without TLS.
fn skopeo(from: &str, to: &str) -> Result<command::Output> {
    let flags = [
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "-q",
    ];
    run(
        "skopeo",
        &[&flags[..], &["--preserve-digests", "--all", from, to]].concat(),
    )
}

fn digest(image: &str) -> Result<String> {
    run(
        "skopeo",
        &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", image],
    )?
    .text()
}

/// Pushes a small image by hand and returns its name for skopeo.
fn image(registry: &RegistryServer, layers: &[&[u8]]) -> Result<String> {
    let mut document = manifest(registry, "app", layers)?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| Digest::sha256(layer)).collect::<Vec<_>>() }
    })
    .to_string();
    let pushed = crate::registry_protocol::push_blob(registry, "app", config.as_bytes())?;
    document["config"] = crate::registry_protocol::descriptor(
        "application/vnd.oci.image.config.v1+json",
        &pushed,
        config.len(),
    );
    put(registry, "app", "v1", MANIFEST, &document)?.expect(201)?;
    Ok(format!("docker://{}/app:v1", registry.address()))
}

#[test]
fn registry_and_skopeo_and_docker_registry_agree() -> Result<()> {
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let Some(docker) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    let berth = RegistryServer::berth(&[])?;
    let original = image(&berth, &[b"first layer", b"second layer"])?;
    let expected = digest(&original)?;
    let there = format!("docker://{}/copy/app:v1", docker.address());
    let back = format!("docker://{}/back/app:v2", berth.address());
    let layout = format!("oci:{}:v1", berth.directory().join("layout").display());
    let again = format!("docker://{}/again:v3", berth.address());
    for (from, to) in [
        (&original, &there),
        (&there, &back),
        (&back, &layout),
        (&layout, &again),
    ] {
        skopeo(from, to)?.expect(0)?;
    }
    for image in [&there, &back, &again] {
        assert_eq!(digest(image)?, expected, "{image}");
    }
    let log = berth.log();
    // The first copy brought nothing that was not there: both came back as mounts or as uploads of the same bytes.
    assert!(log.contains("stored manifest"), "{log}");
    let tags = run(
        "skopeo",
        &[
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{}/back/app", berth.address()),
        ],
    )?;
    assert!(tags.text()?.contains("\"v2\""));
    Ok(())
}

#[test]
fn registry_serves_docker() -> Result<()> {
    let Some(dockerd) = Dockerd::start()? else {
        return skip("dockerd is not installed");
    };
    let registry = RegistryServer::berth(&[])?;
    let tar = testkit::image::busybox_tar(dockerd.place().directory())?;
    let tar = tar.to_str().context("path")?;
    let name = format!("{}/team/busybox", registry.address());
    let tagged = format!("{name}:v1");
    let docker = |arguments: &[&str]| dockerd.docker(arguments, b"")?.text();
    docker(&["import", tar, &tagged])?;
    docker(&["push", &tagged])?;
    let uploads = |log: &str| log.lines().filter(|line| line.contains("stored blob")).count();
    assert_eq!(uploads(&registry.log()), 2);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &tagged])?;
    // The same image under another name: its layer is mounted, only the configuration is sent again.
    let other = format!("{}/other/busybox:v1", registry.address());
    docker(&["tag", &tagged, &other])?;
    docker(&["push", &other])?;
    let log = registry.log();
    assert_eq!(uploads(&log), 3, "{log}");
    assert_eq!(
        log.lines().filter(|line| line.contains("mounted blob")).count(),
        1,
        "{log}"
    );
    docker(&["rmi", &tagged, &other])?;
    docker(&["pull", &tagged])?;
    assert_eq!(docker(&["image", "inspect", "--format", "{{.Id}}", &tagged])?, id);
    let found = docker(&[
        "search",
        "--format",
        "{{.Name}}",
        &format!("{}/busybox", registry.address()),
    ])?;
    let found: Vec<&str> = found.lines().collect();
    assert!(
        found.iter().any(|line| line.contains("team/busybox")),
        "{found:?}"
    );
    Ok(())
}

#[test]
fn registry_serves_podman() -> Result<()> {
    if !has("podman") {
        return skip("podman is not installed");
    }
    let place = Place::create()?;
    let registry = RegistryServer::berth(&[])?;
    let tar = testkit::image::busybox_tar(place.directory())?;
    let path = |name: &str| place.directory().join(name).display().to_string();
    let (root, runroot, tmp) = (path("root"), path("runroot"), path("tmp"));
    let podman = |arguments: &[&str]| {
        let global = [
            "--root",
            &root,
            "--runroot",
            &runroot,
            "--tmpdir",
            &tmp,
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ];
        run("podman", &[&global[..], arguments].concat())?.text()
    };
    let name = format!("{}/busybox:v1", registry.address());
    podman(&["import", tar.to_str().context("path")?, &name])?;
    podman(&["push", "--tls-verify=false", &name])?;
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &name])?;
    podman(&["rmi", &name])?;
    podman(&["pull", "--tls-verify=false", &name])?;
    assert_eq!(podman(&["image", "inspect", "--format", "{{.Id}}", &name])?, id);
    let found = podman(&[
        "search",
        "--tls-verify=false",
        "--format",
        "{{.Name}}",
        &format!("{}/busy", registry.address()),
    ])?;
    assert!(found.contains("busybox"), "{found}");
    podman(&["rmi", "--all"])?;
    Ok(())
}

#[test]
fn registry_is_a_cache_of_another() -> Result<()> {
    let (Some(mut upstream), true) = (RegistryServer::docker("")?, has("skopeo")) else {
        return skip("docker-registry or skopeo is not installed");
    };
    let source = RegistryServer::berth(&[])?;
    let layer = b"a layer ".repeat(200_000);
    let original = image(&source, &[&layer])?;
    let expected = digest(&original)?;
    skopeo(&original, &format!("docker://{}/team/app:v1", upstream.address()))?.expect(0)?;
    let url = format!("http://{}", upstream.address());
    let mut cache = RegistryServer::berth(&["--proxy", &url])?;
    let cached = format!("docker://{}/team/app:v1", cache.address());
    let target = |name: &str| format!("oci:{}:v1", source.directory().join(name).display());
    for name in ["one", "two"] {
        skopeo(&cached, &target(name))?.expect(0)?;
    }
    // Each blob was fetched once.
    let blob = format!("GET /v2/team/app/blobs/{}", Digest::sha256(&layer));
    let fetched = upstream.log().lines().filter(|line| line.contains(&blob)).count();
    assert_eq!(fetched, 1, "{}", upstream.log());
    // What the upstream has not is not there, and nothing can be pushed.
    get(&cache, "/v2/team/app/manifests/v2")?.expect(404)?;
    get(&cache, "/v2/nobody/manifests/v1")?.expect(404)?;
    let elsewhere = format!("/v2/nobody/blobs/{}", Digest::sha256(&layer));
    get(&cache, &elsewhere)?.expect(404)?;
    cache
        .request("POST", "/v2/team/app/blobs/uploads/", &[], b"")?
        .expect(405)?;
    // A tag that moves there moves here.
    let moved = image(&source, &[b"another layer"])?;
    let moved_digest = digest(&moved)?;
    assert_ne!(moved_digest, expected);
    skopeo(&moved, &format!("docker://{}/team/app:v1", upstream.address()))?.expect(0)?;
    assert_eq!(digest(&cached)?, moved_digest);
    skopeo(&cached, &target("three"))?.expect(0)?;
    // Without the upstream, also after a restart, what is known is served.
    upstream.stop()?;
    cache.kill()?;
    cache.launch()?;
    skopeo(&cached, &target("four"))?.expect(0)?;
    let old = format!("docker://{}/team/app@{expected}", cache.address());
    skopeo(&old, &target("five"))?.expect(0)?;
    get(&cache, "/v2/team/app/manifests/unknown")?.expect(503)?;
    Ok(())
}

#[test]
fn im_01_registry_cache_keeps_nothing_that_is_wrong() -> Result<()> {
    let Some(upstream) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let source = RegistryServer::berth(&[])?;
    let layer = b"a layer ".repeat(100_000);
    let original = image(&source, &[&layer])?;
    skopeo(&original, &format!("docker://{}/app:v1", upstream.address()))?.expect(0)?;
    let digest = Digest::sha256(&layer);
    // The upstream's disk lies.
    let hex = digest.hex();
    let file = upstream.root().join(format!(
        "docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    ));
    let length = std::fs::metadata(&file)?.len();
    std::fs::remove_file(&file)?;
    testkit::image::put(&file, &"b".repeat(usize::try_from(length)?))?;
    let url = format!("http://{}", upstream.address());
    let cache = RegistryServer::berth(&["--proxy", &url])?;
    let path = format!("/v2/app/blobs/{digest}");
    for _ in 0..2 {
        let answer = get(&cache, &path)?;
        // It was sent while it came, but never to its end.
        assert!(
            answer.status != 200 || answer.body.len() < layer.len(),
            "{}",
            answer.status
        );
        until("the fetch to end", Duration::from_secs(20), || {
            Ok(cache.log().contains("error: fetch blob"))
        })?;
    }
    assert!(!cache.root().join("content/blobs/sha256").join(hex).exists());
    until("its file to go", Duration::from_secs(20), || {
        Ok(std::fs::read_dir(cache.root().join("uploads"))?.count() == 0)
    })?;
    Ok(())
}
