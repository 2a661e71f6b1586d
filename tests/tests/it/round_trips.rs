//! One image on every road between Berth, its registry and other people's programs: it is the same image at each end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::registry_server::RegistryServer;
use testkit::{Daemon, command, has, skip};

/// Somebody who can push and pull, load and save.
enum Peer {
    Berth(Daemon),
    Docker(Dockerd),
    Podman(Place),
}

impl Peer {
    fn name(&self) -> &'static str {
        match self {
            Self::Berth(_) => "berth",
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        match self {
            Self::Berth(daemon) => daemon.ok(arguments),
            Self::Docker(dockerd) => dockerd.docker(arguments, b"")?.text(),
            Self::Podman(place) => {
                let path = |name: &str| place.directory().join(name).display().to_string();
                let global = [
                    ("--root", path("root")),
                    ("--runroot", path("runroot")),
                    ("--tmpdir", path("tmp")),
                    ("--storage-driver", "vfs".to_owned()),
                    ("--cgroup-manager", "cgroupfs".to_owned()),
                    ("--events-backend", "none".to_owned()),
                ];
                let mut podman = Command::new("podman");
                for (flag, value) in global {
                    podman.arg(flag).arg(value);
                }
                podman.args(arguments);
                if matches!(arguments.first(), Some(&"push" | &"pull")) {
                    podman.arg("--tls-verify=false");
                }
                command::run(&mut podman, b"")?.text()
            }
        }
        .with_context(|| format!("{} {}", self.name(), arguments.join(" ")))
    }

    /// Returns the digest of the image's configuration, which is its id with everybody.
    fn id(&self, image: &str) -> Result<String> {
        let id = self.run(&["image", "inspect", "--format", "{{.Id}}", image])?;
        Ok(id.trim_start_matches("sha256:").to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Self::Podman(_) = self {
            // Its layers are read-only directories.
            drop(self.run(&["rmi", "--all", "--force"]));
        }
    }
}

fn peers() -> Result<Vec<Peer>> {
    let mut peers = vec![Peer::Berth(Daemon::with_busybox()?)];
    match Dockerd::start()? {
        Some(dockerd) => peers.push(Peer::Docker(dockerd)),
        None => skip("dockerd is not installed")?,
    }
    if has("podman") {
        peers.push(Peer::Podman(Place::create()?));
    } else {
        skip("podman is not installed")?;
    }
    Ok(peers)
}

/// Makes an image of three layers with a deletion in it; returns its archive as docker writes them.
fn archive(berth: &Peer) -> Result<String> {
    let Peer::Berth(daemon) = berth else {
        anyhow::bail!("not Berth");
    };
    let script = "echo one > /one; mkdir -p /deep/er; ln -s one /link; rm /etc/group";
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", script])?;
    daemon.ok(&[
        "commit",
        "-c",
        "LABEL a=b",
        "-c",
        "CMD [\"cat\", \"/link\"]",
        "c1",
        "middle",
    ])?;
    daemon.ok(&[
        "run",
        "--name",
        "c2",
        "middle",
        "sh",
        "-c",
        "rm -r /deep; chmod 600 /one; chown 7:8 /one",
    ])?;
    daemon.ok(&["commit", "-c", "CMD [\"cat\", \"/link\"]", "c2", "trip:v1"])?;
    daemon.ok(&["rm", "c1", "c2"])?;
    let path = daemon.directory().join("trip.tar").display().to_string();
    daemon.ok(&["save", "-o", &path, "trip:v1"])?;
    Ok(path)
}

/// Push by each, pull by each, on Berth's registry and on docker's.
#[test]
fn i03_one_image_by_every_client_and_registry() -> Result<()> {
    let peers = peers()?;
    let archive = archive(&peers[0])?;
    let id = peers[0].id("trip:v1")?;
    let mut registries = vec![("berth", RegistryServer::berth(&[])?)];
    match RegistryServer::docker("")? {
        Some(registry) => registries.push(("docker-registry", registry)),
        None => skip("docker-registry is not installed")?,
    }
    for peer in &peers {
        peer.run(&["load", "-i", &archive])?;
    }
    let local = |peer: &Peer| match peer {
        Peer::Podman(_) => "docker.io/library/trip:v1",
        _ => "trip:v1",
    };
    for (kind, registry) in &registries {
        for from in &peers {
            let name = format!("{}/by/{}:v1", registry.address(), from.name());
            from.run(&["tag", local(from), &name])?;
            assert_eq!(from.id(&name)?, id, "{} made another image of it", from.name());
            from.run(&["push", &name])?;
            let mut digests = BTreeMap::new();
            for to in &peers {
                let told = format!("{} to {kind} to {}", from.name(), to.name());
                // Nothing of it is there, so that it comes indeed.
                to.run(&["rmi", "-f", &name]).ok();
                to.run(&["pull", &name])?;
                assert_eq!(to.id(&name)?, id, "{told}");
                let template = "{{range .RepoDigests}}{{println .}}{{end}}";
                let known = to.run(&["image", "inspect", "--format", template, &name])?;
                let repository = name.trim_end_matches(":v1");
                // Podman names every manifest by which it knows the image.
                let of = |line: &str| Some(line.strip_prefix(repository)?.strip_prefix('@')?.to_owned());
                let known: BTreeSet<String> = known.lines().filter_map(of).collect();
                assert!(!known.is_empty(), "{told}");
                digests.insert(to.name(), known);
            }
            let first = digests["berth"].first().context("a digest")?;
            assert!(
                digests.values().all(|known| known.contains(first)),
                "{kind}: {digests:?}"
            );
            if has("skopeo") {
                let mut inspect = Command::new("skopeo");
                inspect.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
                inspect.arg(format!("docker://{name}"));
                assert_eq!(&command::run(&mut inspect, b"")?.text()?, first, "{kind}");
            }
        }
    }
    // It does what it did.
    let Peer::Berth(daemon) = &peers[0] else {
        return Ok(());
    };
    for from in &peers {
        let name = format!("{}/by/{}:v1", registries[0].1.address(), from.name());
        assert_eq!(daemon.ok(&["run", "--rm", &name])?, "one");
        let look = daemon.ok(&[
            "run",
            "--rm",
            &name,
            "sh",
            "-c",
            "stat -c '%a %u:%g' /one; ls -d /deep /etc/group",
        ]);
        let look = look.unwrap_or_else(|error| error.to_string());
        assert!(look.contains("600 7:8") && !look.contains("\n/deep"), "{look}");
    }
    Ok(())
}

/// Archives of each, loaded by each; and skopeo turns one kind into the other.
#[test]
fn i03_archives_of_one_are_read_by_the_others() -> Result<()> {
    let peers = peers()?;
    let original = archive(&peers[0])?;
    let id = peers[0].id("trip:v1")?;
    let Peer::Berth(daemon) = &peers[0] else {
        return Ok(());
    };
    let path = |name: &str| daemon.directory().join(name).display().to_string();
    for from in &peers[1..] {
        from.run(&["load", "-i", &original])?;
        let local = match from {
            Peer::Podman(_) => "docker.io/library/trip:v1",
            _ => "trip:v1",
        };
        let mut formats: Vec<&[&str]> = vec![&[]];
        if let Peer::Podman(_) = from {
            formats = vec![&["--format", "docker-archive"], &["--format", "oci-archive"]];
        }
        for (number, format) in formats.iter().enumerate() {
            let saved = path(&format!("{}{number}.tar", from.name()));
            from.run(&[&["save"], *format, &["-o", &saved, local]].concat())?;
            daemon.ok(&["rmi", "-f", "trip:v1"])?;
            let loaded = daemon.ok(&["load", "-i", &saved])?;
            assert!(loaded.contains("trip:v1"), "{}: {loaded}", from.name());
            // An OCI archive of podman's has a configuration that podman wrote.
            if !format.contains(&"oci-archive") {
                assert_eq!(peers[0].id("trip:v1")?, id, "{} {format:?}", from.name());
            }
            assert_eq!(
                daemon.ok(&["run", "--rm", "trip:v1"])?,
                "one",
                "{} {format:?}",
                from.name()
            );
        }
    }
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let (oci, docker) = (path("skopeo-oci.tar"), path("skopeo-docker.tar"));
    let copy = |from: &str, to: &str| -> Result<()> {
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "-q", from, to]);
        command::run(&mut copy, b"")?.expect(0).map(drop)
    };
    copy(
        &format!("docker-archive:{original}"),
        &format!("oci-archive:{oci}:trip:v1"),
    )?;
    copy(
        &format!("oci-archive:{oci}"),
        &format!("docker-archive:{docker}:trip:v1"),
    )?;
    for archive in [&oci, &docker] {
        daemon.ok(&["rmi", "-f", "trip:v1"])?;
        daemon.ok(&["load", "-i", archive])?;
        assert_eq!(daemon.ok(&["run", "--rm", "trip:v1"])?, "one", "{archive}");
    }
    Ok(())
}

/// A Debian image with real services goes through push, prune and pull, and runs. The image is the one of the benchmarks
/// (`benches/image`: mmdebstrap's minbase, nginx and redis, postgres, python), 1.5 GB: minutes with a debug build.
#[test]
#[ignore = "needs the image of benches/image, and minutes"]
fn i03_a_debian_image_with_services_travels() -> Result<()> {
    let image = std::env::var("BERTH_BENCH_IMAGE").unwrap_or_else(|_| "/tmp/bench-image".to_owned());
    if !Path::new(&image).join("gzip/index.json").exists() {
        return skip("there is no image: see benches/image");
    }
    let patience = Duration::from_secs(900);
    let daemon = Daemon::start()?;
    let registry = RegistryServer::berth(&[])?;
    let slowly = |arguments: &[&str]| -> Result<String> {
        command::run_within(&mut daemon.command(arguments)?, b"", patience)?.text()
    };
    // Plain tars, so that the push has to compress.
    let archive = daemon.directory().join("image.tar").display().to_string();
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", &format!("oci:{image}/gzip:gzip")])
        .arg(format!("docker-archive:{archive}:debian:services"));
    command::run_within(&mut copy, b"", patience)?.expect(0)?;
    slowly(&["load", "-q", "-i", &archive])?;
    std::fs::remove_file(&archive)?;
    let serve = |image: &str| -> Result<()> {
        let run = |name: &str, program: &str, ask: &str| -> Result<String> {
            daemon.ok(&[
                "run",
                "-d",
                "--name",
                name,
                "--network",
                "none",
                image,
                "sh",
                "-c",
                program,
            ])?;
            let mut answer = String::new();
            testkit::until(name, Duration::from_secs(60), || {
                let asked = daemon.berth(&["exec", name, "sh", "-c", ask])?;
                answer = asked.stdout.trim().to_owned();
                Ok(asked.code == 0)
            })?;
            daemon.ok(&["rm", "-f", name])?;
            Ok(answer)
        };
        let nginx = run(
            "nginx",
            "exec nginx -g 'daemon off;'",
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1/\").status)'",
        )?;
        let redis = run(
            "redis",
            "exec redis-server --save '' --port 6379",
            "redis-cli ping | grep PONG",
        )?;
        let postgres = run(
            "postgres",
            "install -d -o postgres /tmp/pg; cd /tmp; su postgres -c \"$(ls -d /usr/lib/postgresql/*/bin)/initdb -D /tmp/pg\"; \
             exec su postgres -c \"$(ls -d /usr/lib/postgresql/*/bin)/postgres -D /tmp/pg -k /tmp\"",
            "cd /tmp; su postgres -c \"psql -h /tmp -tAc 'select 40 + 2'\"",
        )?;
        assert_eq!(
            (nginx.as_str(), redis.as_str(), postgres.as_str()),
            ("200", "PONG", "42")
        );
        Ok(())
    };
    serve("debian:services")?;
    let name = format!("{}/team/services:1", registry.address());
    daemon.ok(&["tag", "debian:services", &name])?;
    slowly(&["push", "-q", &name])?;
    let id = daemon.ok(&["images", "-q", "--no-trunc", &name])?;
    slowly(&["image", "prune", "-a", "-f"])?;
    assert_eq!(daemon.ok(&["images", "-q"])?, "");
    slowly(&["pull", "-q", &name])?;
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", &name])?, id);
    serve(&name)?;
    slowly(&["system", "check"])?;
    daemon.finish()
}
