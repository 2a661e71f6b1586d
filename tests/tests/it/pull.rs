//! Images from registries: what is printed and sent, what a second pull fetches, and what a killed daemon leaves.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::registry::{Auth, Lie, LyingRegistry, Rule, digest};
use testkit::{Daemon, RegistryServer, command, has, skip, until};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer of busybox and a layer with one file of `size` bytes that do not compress.
struct Published {
    name: String,
    layers: [String; 2],
    manifest: String,
}

fn publish(daemon: &Daemon, registry: &LyingRegistry, tag: &str, size: usize) -> Result<Published> {
    let directory = daemon.directory().join(format!("image-{tag}"));
    std::fs::create_dir(&directory)?;
    let busybox = std::fs::read(testkit::image::busybox_tar(&directory)?)?;
    let mut random = Command::new("dd");
    random.args(["if=/dev/urandom", "bs=1000", "status=none"]);
    random
        .arg(format!("count={}", size / 1000))
        .arg(format!("of={}", directory.join("random").display()));
    command::run(&mut random, b"")?.expect(0)?;
    let mut tar = Command::new("tar");
    tar.arg("-cf")
        .arg(directory.join("random.tar"))
        .arg("-C")
        .arg(&directory)
        .arg("random");
    command::run(&mut tar, b"")?.expect(0)?;
    let tars = [busybox, std::fs::read(directory.join("random.tar"))?];
    let mut layers = Vec::new();
    for (at, tar) in tars.iter().enumerate() {
        let path = directory.join(format!("{at}.tar"));
        std::fs::File::create_new(&path)?.write_all(tar)?;
        let packed = Command::new("gzip")
            .args(["-1", "-n", "-c"])
            .arg(&path)
            .output()?;
        layers.push((GZIP, packed.stdout));
    }
    let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let names = [digest(&layers[0].1), digest(&layers[1].1)];
    let manifest = registry.add_image("team/app", tag, config.to_string().as_bytes(), &layers);
    Ok(Published {
        name: format!("{}/team/app:{tag}", registry.address()),
        layers: names,
        manifest,
    })
}

fn short(digest: &str) -> &str {
    &digest[7..19]
}

#[test]
fn pull_prints_what_docker_prints_and_run_uses_it() -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let image = publish(&daemon, &registry, "v1", 100_000)?;
    let printed = daemon.ok(&["pull", &image.name])?;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "v1: Pulling from team/app");
    for layer in &image.layers {
        for text in ["Pulling fs layer", "Download complete", "Pull complete"] {
            let line = format!("{}: {text}", short(layer));
            assert!(lines.contains(&line.as_str()), "{line} in {printed}");
        }
    }
    let end = [
        format!("Digest: {}", image.manifest),
        format!("Status: Downloaded newer image for {}", image.name),
        image.name.clone(),
    ];
    assert_eq!(&lines[lines.len() - 3..], end, "{printed}");
    // The second time.
    let printed = daemon.ok(&["pull", &image.name])?;
    assert!(
        printed.contains(&format!("{}: Already exists", short(&image.layers[1]))),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("Status: Image is up to date for {}", image.name)),
        "{printed}"
    );
    assert_eq!(daemon.ok(&["pull", "-q", &image.name])?, image.name);
    assert_eq!(registry.count("GET", &image.layers[0]), 1);
    // By digest.
    let repository = image.name.trim_end_matches(":v1");
    let by_digest = format!("{repository}@{}", image.manifest);
    let digests = daemon.ok(&["image", "inspect", "-f", "{{json .RepoDigests}}", &image.name])?;
    assert_eq!(digests, format!("[\"{by_digest}\"]"));
    assert_eq!(
        daemon.ok(&["run", "--rm", &by_digest, "sh", "-c", "wc -c < /random"])?,
        "100000"
    );
    daemon.ok(&["rmi", &image.name])?;
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    // A reference with a digest only.
    let printed = daemon.ok(&["pull", &by_digest])?;
    assert!(
        printed.starts_with(&format!("{repository}@{}: Pulling from team/app", image.manifest))
            || printed.starts_with(&format!("{}: Pulling from team/app", image.manifest)),
        "{printed}"
    );
    assert_eq!(daemon.ok(&["run", "--rm", &by_digest, "echo", "hello"])?, "hello");
    let removed = daemon.ok(&["rmi", &by_digest])?;
    assert!(removed.contains(&format!("Untagged: {by_digest}")), "{removed}");
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    daemon.finish()
}

#[test]
fn run_pulls_as_the_flag_says() -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let image = publish(&daemon, &registry, "v1", 1000)?;
    let never = daemon
        .berth(&["run", "--pull", "never", "--rm", &image.name, "true"])?
        .expect(125)?;
    assert!(
        never.stderr.contains(&format!("No such image: {}", image.name)),
        "{}",
        never.stderr
    );
    let missing = daemon
        .berth(&["run", "--rm", &image.name, "echo", "hello"])?
        .expect(0)?;
    assert_eq!(missing.stdout, "hello\n");
    let expected = format!("Unable to find image '{}' locally\n", image.name);
    assert!(missing.stderr.starts_with(&expected), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("Status: Downloaded newer image"),
        "{}",
        missing.stderr
    );
    registry.forget();
    let present = daemon
        .berth(&["run", "--rm", &image.name, "echo", "hello"])?
        .expect(0)?;
    assert!(
        !present.stderr.contains("Unable to find image"),
        "{}",
        present.stderr
    );
    assert!(registry.seen().is_empty());
    let always = daemon
        .berth(&["run", "--rm", "--pull=always", &image.name, "echo", "hello"])?
        .expect(0)?;
    assert!(
        always.stderr.contains("Status: Image is up to date"),
        "{}",
        always.stderr
    );
    let quiet = daemon
        .berth(&[
            "run",
            "--rm",
            "-q",
            "--network=none",
            "--pull=always",
            &image.name,
            "true",
        ])?
        .expect(0)?;
    assert_eq!(quiet.stderr, "");
    let created = daemon
        .berth(&["create", "--pull", "always", &image.name, "true"])?
        .expect(0)?;
    assert_eq!(created.stdout.trim().len(), 64);
    let nowhere = format!("{}/team/none:v1", registry.address());
    let failed = daemon.berth(&["run", "--rm", &nowhere, "true"])?.expect(125)?;
    assert!(
        failed.stderr.contains("Run 'berth run --help'"),
        "{}",
        failed.stderr
    );
    daemon.finish()
}

#[test]
fn all_tags_and_platforms() -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let one = publish(&daemon, &registry, "v1", 1000)?;
    publish(&daemon, &registry, "v2", 2000)?;
    let repository = one.name.trim_end_matches(":v1");
    let printed = daemon.ok(&["pull", "--all-tags", repository])?;
    assert!(
        printed.contains("v1: Pulling from team/app") && printed.contains("v2: Pulling from team/app"),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("Status: Downloaded newer image for {repository}")),
        "{printed}"
    );
    assert_eq!(daemon.ok(&["images", "-q"])?.lines().count(), 2);
    let refused = daemon.berth(&["pull", "-a", &one.name])?.expect(1)?;
    assert_eq!(refused.stderr.trim(), "tag can't be used with --all-tags/-a");
    let other = daemon
        .berth(&["pull", "--platform", "linux/s390x", &one.name])?
        .expect(1)?;
    let expected = "does not match the specified platform: wanted linux/s390x, actual: linux/amd64";
    assert!(other.stderr.contains(expected), "{}", other.stderr);
    daemon.finish()
}

#[test]
fn a_pull_goes_on_after_the_daemon_was_killed() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let image = publish(&daemon, &registry, "v1", 6_000_000)?;
    let size = registry.blob(&image.layers[1]).context("a blob")?.len();
    registry.lie(Rule::always("GET", &image.layers[1], Lie::Stall(4_000_000)));
    let mut pull = daemon.command(["pull", &image.name])?.spawn()?;
    let part = daemon
        .place()
        .data_root()
        .join("content/ingest")
        .join(format!("{}.part", &image.layers[1][7..]));
    until("most of the layer", Duration::from_secs(20), || {
        Ok(std::fs::metadata(&part).is_ok_and(|meta| meta.len() >= 4_000_000))
    })?;
    let blobs = daemon.place().data_root().join("content/blobs/sha256");
    until("the first layer", Duration::from_secs(20), || {
        Ok(blobs.join(&image.layers[0][7..]).exists())
    })?;
    daemon.kill()?;
    pull.wait()?;
    registry.be_honest();
    daemon.launch()?;
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    daemon.ok(&["pull", &image.name])?;
    assert_eq!(registry.count("GET", &image.layers[0]), 1);
    let seen = registry.seen();
    let sent: u64 = seen
        .iter()
        .filter(|seen| seen.target.contains(&image.layers[1]))
        .map(|seen| seen.sent)
        .sum();
    assert!(sent < u64::try_from(size + (1 << 20))?, "{sent} of {size}");
    assert_eq!(
        daemon.ok(&["run", "--rm", &image.name, "sh", "-c", "wc -c < /random"])?,
        "6000000"
    );
    daemon.finish()
}

#[test]
fn a_client_that_hangs_up_ends_its_pull() -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let image = publish(&daemon, &registry, "v1", 3_000_000)?;
    registry.lie(Rule::always("GET", &image.layers[1], Lie::Stall(2_000_000)));
    let mut pull = daemon.command(["pull", &image.name])?.spawn()?;
    let staging = daemon.place().data_root().join("layers");
    let stagings = || -> usize {
        let drivers = std::fs::read_dir(&staging).into_iter().flatten().flatten();
        drivers
            .filter_map(|driver| Some(std::fs::read_dir(driver.path().join("staging")).ok()?.count()))
            .sum()
    };
    registry.wait_for("GET", &image.layers[1], 1, Duration::from_secs(20))?;
    until("a layer in the making", Duration::from_secs(20), || {
        Ok(stagings() > 0)
    })?;
    pull.kill()?;
    pull.wait()?;
    until("the end of the pull", Duration::from_secs(20), || {
        Ok(stagings() == 0)
    })?;
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    registry.be_honest();
    daemon.ok(&["pull", &image.name])?;
    daemon.finish()
}

#[test]
fn errors_have_dockers_statuses_and_texts() -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = LyingRegistry::start()?;
    let image = publish(&daemon, &registry, "v1", 1000)?;
    let address = registry.address();
    let create = |query: &str| daemon.api("POST", &format!("/images/create?{query}"), None);
    let unknown = create(&format!("fromImage={address}/team/app&tag=nope"))?;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert!(
        unknown.body.contains(&format!(
            "manifest for {address}/team/app:nope not found: manifest unknown"
        )),
        "{}",
        unknown.body
    );
    assert_eq!(create("fromImage=UPPER&tag=x")?.status, 400);
    assert_eq!(
        create(&format!("fromImage={address}/team/app&tag=a%20b"))?.status,
        400
    );
    assert_eq!(create("fromImage=127.0.0.1:1/x&tag=latest")?.status, 500);
    // After the first message the stream tells it.
    registry.lie(Rule::always("GET", &image.layers[1], Lie::Flip(600)));
    let reply = create(&format!("fromImage={address}/team/app&tag=v1"))?;
    assert_eq!(reply.status, 200);
    let last: serde_json::Value = serde_json::from_str(reply.body.lines().last().context("a line")?)?;
    assert!(
        last["errorDetail"]["message"].is_string() && last["error"].is_string(),
        "{last}"
    );
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    registry.be_honest();
    registry.set_auth(Auth::Basic {
        username: "me".to_owned(),
        password: "secret".to_owned(),
    });
    let denied = create(&format!("fromImage={address}/team/app&tag=v1"))?;
    assert!(
        matches!(denied.status, 404 | 500),
        "{} {}",
        denied.status,
        denied.body
    );
    daemon.finish()
}

#[test]
fn round_trip_with_dockers_registry_and_cli() -> Result<()> {
    let Some(server) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let daemon = Daemon::start()?;
    let lying = LyingRegistry::start()?;
    let image = publish(&daemon, &lying, "v1", 50_000)?;
    let name = format!("{}/team/app:v1", server.address());
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    copy.arg(format!("docker://{}", image.name))
        .arg(format!("docker://{name}"));
    command::run(&mut copy, b"")?.expect(0)?;
    daemon.ok(&["pull", &name])?;
    let digests = daemon.ok(&["image", "inspect", "-f", "{{json .RepoDigests}}", &name])?;
    assert!(digests.contains(&image.manifest), "{digests}");
    assert_eq!(daemon.ok(&["run", "--rm", &name, "echo", "hello"])?, "hello");
    if has("docker") {
        daemon.ok(&["rmi", &name])?;
        let printed = daemon.docker(&["pull", &name])?.text()?;
        assert!(
            printed.contains(&format!("Status: Downloaded newer image for {name}")),
            "{printed}"
        );
        let printed = daemon.docker(&["pull", &name])?.text()?;
        assert!(
            printed.contains(&format!("Status: Image is up to date for {name}")),
            "{printed}"
        );
        let unknown = daemon.docker(&["pull", &format!("{}/team/none:v1", server.address())])?;
        assert_ne!(unknown.code, 0);
        assert!(unknown.stderr.contains("not found"), "{}", unknown.stderr);
    }
    daemon.finish()
}
