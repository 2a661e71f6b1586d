//! What is damaged in the data root is named, concerns nothing else, and is mended: F-20 of docs/security-tests.md.
//! And the policy: an image that does not pass is refused with the rule's name.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testkit::{Daemon, Host, Start};

/// A small generator, so that a failure can be repeated: PCG's multiplier.
struct Random(u64);

impl Random {
    fn next(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound.max(1)
    }
}

/// Regular files below a directory, in a fixed order.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Truncate,
    Delete,
    Swap,
}

fn damage(files: &[PathBuf], at: usize, how: Damage, random: &mut Random) -> Result<()> {
    let path = &files[at];
    let length = usize::try_from(std::fs::metadata(path)?.len())?;
    match how {
        Damage::Flip => {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
            if length > 0 {
                let place = random.next(length) as u64;
                let mut byte = [0];
                file.read_exact_at(&mut byte, place)?;
                file.write_all_at(&[byte[0] ^ (1 << random.next(8))], place)?;
            }
        }
        Damage::Truncate => {
            let file = std::fs::OpenOptions::new().write(true).open(path)?;
            file.set_len(random.next(length) as u64)?;
        }
        Damage::Delete => std::fs::remove_file(path)?,
        Damage::Swap => {
            let other = &files[random.next(files.len())];
            let aside = path.with_extension("swapped");
            std::fs::rename(path, &aside)?;
            if other == path {
                std::fs::rename(&aside, path)?;
            } else {
                std::fs::rename(other, path)?;
                std::fs::rename(&aside, other)?;
            }
        }
    }
    Ok(())
}

/// Writes a file anew, whether it is there or not.
fn replace(path: &Path, content: &str) -> Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    testkit::image::put(path, content)
}

fn archive(daemon: &Daemon) -> Result<String> {
    let path = daemon.directory().join("images.tar").display().to_string();
    daemon.ok(&["save", "-o", &path, "busybox"])?;
    Ok(path)
}

fn layer_file(daemon: &Daemon) -> Result<PathBuf> {
    let layers = daemon.place().data_root().join("layers/overlay/layers");
    files(&layers)?
        .into_iter()
        .find(|path| path.ends_with("bin/busybox"))
        .context("the layer's busybox")
}

/// F-20: every kind of damage to a layer, a blob, a document, the index and a snapshot, each found by name and mended.
#[test]
fn f_20_damage_is_named_and_mended() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let archive = archive(&daemon)?;
    daemon.ok(&["create", "--name", "kept", "--network", "none", "busybox", "true"])?;
    let clean = daemon.berth(&["system", "check"])?.expect(0)?;
    assert!(clean.stdout.contains(" 0 damaged, 0 repaired"), "{clean:?}");

    // A byte of an unpacked layer, with its time put back.
    let busybox = layer_file(&daemon)?;
    let time = std::fs::metadata(&busybox)?.modified()?;
    let file = std::fs::OpenOptions::new().write(true).open(&busybox)?;
    file.write_all_at(b"X", 5000)?;
    file.set_modified(time)?;
    drop(file);
    let found = daemon.berth(&["system", "check"])?.expect(1)?;
    assert!(
        found.stdout.contains("damaged: layer sha256:")
            && found.stdout.contains("\"bin/busybox\" has another content")
            && found.stdout.contains("images: busybox:latest"),
        "{found:?}"
    );
    let mended = daemon.berth(&["system", "check", "--repair"])?.expect(0)?;
    assert!(mended.stdout.contains("repaired: layer sha256:"), "{mended:?}");
    daemon.berth(&["system", "check"])?.expect(0)?;
    daemon.ok(&["run", "--rm", "--network", "none", "busybox", "true"])?;

    // The layer's blob, which nobody else has: set aside, and brought again by load.
    let blobs = daemon.place().data_root().join("content/blobs/sha256");
    let mut largest = files(&blobs)?;
    largest.sort_by_key(|path| std::fs::metadata(path).map_or(0, |meta| meta.len()));
    let blob = largest.pop().context("a blob")?;
    std::fs::OpenOptions::new()
        .write(true)
        .open(&blob)?
        .write_all_at(b"XXXX", 600)?;
    let found = daemon.berth(&["system", "check", "--repair"])?.expect(1)?;
    assert!(
        found.stdout.contains("failed: blob sha256:")
            && found.stdout.contains("load or pull the image again"),
        "{found:?}"
    );
    assert!(!blob.exists());
    daemon.ok(&["load", "-i", &archive])?;
    daemon.berth(&["system", "check", "--repair"])?.expect(0)?;
    daemon.berth(&["system", "check"])?.expect(0)?;

    // The index, and what is recorded of a snapshot: the next daemon starts, and says so.
    daemon.terminate()?;
    let index = daemon.place().data_root().join("content/index.json");
    replace(&index, "{\"schemaVersion\":2,")?;
    let snapshots = daemon.place().data_root().join("layers/overlay/snapshots");
    let facts = files(&snapshots)?
        .into_iter()
        .find(|path| path.ends_with("facts.json"))
        .context("the snapshot's facts")?;
    replace(&facts, "\0\0\0")?;
    daemon.launch()?;
    let found = daemon.berth(&["system", "check"])?.expect(1)?;
    assert!(
        found.stdout.contains("repaired: store index.json") && found.stdout.contains("damaged: container "),
        "{found:?}"
    );
    daemon.berth(&["system", "check", "--repair"])?.expect(0)?;
    daemon.ok(&["start", "-a", "kept"])?;
    daemon.ok(&["rm", "kept"])?;
    daemon.finish()
}

/// F-20: what is recorded beside an unpacked layer damaged in every way: the layer is named, everything else goes on, and it is
/// mended, by whoever unpacks it again or by a repair.
#[test]
fn f_20_damaged_facts_of_a_layer() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "steady",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let layers = daemon.place().data_root().join("layers/overlay/layers");
    let facts = files(&layers)?
        .into_iter()
        .find(|path| path.ends_with("facts.json"))
        .context("the layer's facts")?;
    let sound = std::fs::read_to_string(&facts)?;
    let zeros = "0".repeat(64);
    let id = sound
        .split("sha256:")
        .nth(1)
        .and_then(|text| text.get(..64))
        .context("a digest")?;
    for (kind, content) in [
        ("empty", Some(String::new())),
        ("zeros", Some("\0".repeat(sound.len()))),
        ("cut", Some(sound[..sound.len() / 2].to_owned())),
        ("another document", Some("{}".to_owned())),
        ("another digest", Some(sound.replace(id, &zeros))),
        ("missing", None),
    ] {
        for restart in [false, true] {
            match &content {
                Some(content) => replace(&facts, content)?,
                None => std::fs::remove_file(&facts)?,
            }
            if restart {
                daemon.crash()?;
            }
            daemon
                .ok(&["exec", "steady", "true"])
                .with_context(|| kind.to_owned())?;
            daemon.ok(&["images"])?;
            let mended = daemon.berth(&["system", "check", "--repair"])?;
            assert!(
                mended.code == 0 && mended.stdout.contains("repaired: layer sha256:"),
                "{kind}: {mended:?}"
            );
            assert!(std::fs::read_to_string(&facts)?.contains(id), "{kind}");
            daemon.berth(&["system", "check"])?.expect(0)?;
            daemon.ok(&["run", "--rm", "--network", "none", "busybox", "true"])?;
        }
    }
    daemon.ok(&["rm", "-f", "steady"])?;
    daemon.finish()
}

/// F-20: one random file of the data root flipped, cut, deleted or swapped with another: the daemon starts and lists.
/// `BERTH_F20_ROUNDS` for a long run.
#[test]
fn f_20_the_daemon_starts_with_any_one_file_damaged() -> Result<()> {
    let rounds = std::env::var("BERTH_F20_ROUNDS").map_or(Ok(40), |text| text.parse::<usize>())?;
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "--name", "kept", "--network", "none", "busybox", "true"])?;
    daemon.ok(&["volume", "create", "some"])?;
    daemon.terminate()?;
    let root = daemon.place().data_root();
    let saved = daemon.directory().join("saved");
    let copy = |from: &Path, to: &Path| -> Result<()> {
        let status = std::process::Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .args([from, to])
            .status()?;
        anyhow::ensure!(status.success(), "cp");
        Ok(())
    };
    copy(&root, &saved)?;
    let mut random = Random(20);
    for round in 0..rounds {
        archive::remove_tree_at(&root)?;
        copy(&saved, &root)?;
        let all: Vec<PathBuf> = files(&root)?
            .into_iter()
            // Swapped with a container's record, both of what is known of the container would be gone.
            .filter(|path| round % 4 != 3 || !path.to_string_lossy().contains("state.db"))
            .collect();
        let at = random.next(all.len());
        let how = [Damage::Flip, Damage::Truncate, Damage::Delete, Damage::Swap][round % 4];
        damage(&all, at, how, &mut random)?;
        let told = format!("round {round}: {how:?} of {}", all[at].display());
        daemon.launch().with_context(|| told.clone())?;
        daemon.ok(&["images"]).with_context(|| told.clone())?;
        let listed = daemon.ok(&["ps", "-a"]).with_context(|| told.clone())?;
        assert!(listed.contains("kept"), "{told}: {listed}");
        let repaired = daemon.berth(&["system", "check", "--repair"])?;
        assert!(matches!(repaired.code, 0 | 1), "{told}: {repaired:?}");
        daemon.terminate()?;
    }
    archive::remove_tree_at(&saved)?;
    daemon.launch()?;
    daemon.finish()
}

/// F-20: whatever happens to the store's file, containers and volumes are found again by what lies beside it, and those that
/// run go on.
#[test]
fn f_20_a_damaged_store_is_set_aside_and_made_anew() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["volume", "create", "--label", "a=b", "some"])?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "runs",
        "-v",
        "some:/data",
        "busybox",
        "sh",
        "-c",
        "echo x > /data/x; sleep 1000",
    ])?;
    daemon.ok(&["run", "-d", "--rm", "--name", "goes", "busybox", "sleep", "1000"])?;
    daemon.ok(&["create", "--name", "created", "busybox", "true"])?;
    daemon
        .berth(&[
            "run",
            "--name",
            "ended",
            "busybox",
            "sh",
            "-c",
            "echo words; exit 3",
        ])?
        .expect(3)?;
    daemon.ok(&["create", "--name", "before", "busybox", "true"])?;
    daemon.ok(&["rename", "before", "after"])?;
    daemon.ok(&["create", "--name", "gone", "busybox", "true"])?;
    daemon.ok(&["rm", "gone"])?;
    let store = daemon.place().data_root().join("state.db");
    let facts = |daemon: &Daemon| -> Result<Vec<String>> {
        let list = daemon.ok(&[
            "ps",
            "-a",
            "--no-trunc",
            "--format",
            "{{.Names}} {{.ID}} {{.Image}} {{.State}}",
        ])?;
        let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
        lines.sort();
        for name in ["runs", "goes"] {
            lines.push(daemon.inspect(name, "{{.State.Pid}} {{json .HostConfig}} {{json .Mounts}}")?);
        }
        lines.push(daemon.inspect("ended", "{{.State.ExitCode}}")?);
        lines.push(daemon.ok(&[
            "volume",
            "inspect",
            "-f",
            "{{.Name}} {{json .Labels}} {{.CreatedAt}}",
            "some",
        ])?);
        lines.push(daemon.ok(&["images", "-q", "--no-trunc"])?);
        Ok(lines)
    };
    let before = facts(&daemon)?;
    for (number, kind) in ["gone", "empty", "zeros", "no database", "schema", "log"]
        .into_iter()
        .enumerate()
    {
        daemon.kill()?;
        let bytes = std::fs::read(&store)?;
        match kind {
            "gone" => std::fs::remove_file(&store)?,
            "empty" => std::fs::OpenOptions::new().write(true).open(&store)?.set_len(0)?,
            // Rows live in the log as long as nothing brought them into the file.
            "log" => {
                for suffix in ["-wal", "-shm"] {
                    let path = PathBuf::from(format!("{}{suffix}", store.display()));
                    if path.exists() {
                        std::fs::remove_file(path)?;
                    }
                }
            }
            _ => {
                let file = std::fs::OpenOptions::new().write(true).open(&store)?;
                match kind {
                    "zeros" => file.write_all_at(&vec![0; bytes.len()], 0)?,
                    "no database" => file.write_all_at(b"no database", 0)?,
                    _ => file.write_all_at(&vec![0xff; 3000], 1000)?,
                }
            }
        }
        if kind != "log" {
            // Else the pages in it mend the file.
            for suffix in ["-wal", "-shm"] {
                drop(std::fs::remove_file(format!("{}{suffix}", store.display())));
            }
        }
        daemon.launch().with_context(|| kind.to_owned())?;
        let after = facts(&daemon).with_context(|| kind.to_owned())?;
        assert_eq!(before, after, "{kind}");
        let report = daemon.berth(&["system", "check"])?.expect(0)?;
        // The log may have been brought into the file by then.
        assert!(
            kind == "log" || report.stdout.contains("repaired: store state.db"),
            "{kind}: {report:?}"
        );
        assert_eq!(daemon.ok(&["exec", "runs", "cat", "/data/x"])?, "x");
        assert_eq!(daemon.ok(&["logs", "ended"])?, "words");
        daemon
            .ok(&["run", "--rm", "busybox", "true"])
            .with_context(|| format!("{kind} {number}"))?;
    }
    let aside = std::fs::read_dir(daemon.place().data_root())?
        .filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.file_name().to_string_lossy().contains("damaged"))
        })
        .count();
    assert!(aside > 0, "the damaged files are gone");
    daemon.ok(&["start", "-a", "created"])?;
    daemon.ok(&["rm", "-f", "runs", "goes", "created", "ended", "after"])?;
    daemon.ok(&["volume", "rm", "some"])?;
    daemon.finish()
}

/// F-20: without the store's file networks are found again, with who is on them and what they publish.
#[test]
fn f_20_networks_are_found_again_without_the_store() -> Result<()> {
    let mut daemon = Daemon::with_busybox_and(Start {
        host: Some(Host::new("machine")?),
        ..Start::default()
    })?;
    let sleep = ["busybox", "sleep", "10000"];
    let facts = |daemon: &Daemon| -> Result<Vec<String>> {
        let mut lines = vec![daemon.ok(&["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"])?];
        for network in ["bridge", "net", "inner"] {
            let format = "{{.Created}} {{.Internal}} {{json .IPAM.Config}} {{json .Labels}} {{json .Options}} {{json .Containers}}";
            lines.push(daemon.ok(&["network", "inspect", "-f", format, network])?);
        }
        for name in ["web", "plain", "waits"] {
            lines.push(daemon.inspect(name, "{{.State.Status}} {{json .NetworkSettings}}")?);
        }
        // The next one gets an address that nobody has, and knows the name.
        let asked = "ip -4 -o addr show eth0; wget -q -O - http://web/";
        let said = daemon.ok(&["run", "--rm", "--network", "net", "busybox", "sh", "-c", asked])?;
        assert!(said.ends_with("page") && !said.contains("10.78.0.2/"), "{said}");
        Ok(lines)
    };
    daemon.ok(&[
        "network",
        "create",
        "--subnet",
        "10.78.0.0/24",
        "--label",
        "a=b",
        "net",
    ])?;
    daemon.ok(&["network", "create", "--internal", "inner"])?;
    daemon.ok(&["network", "create", "gone"])?;
    daemon.ok(&["network", "rm", "gone"])?;
    let serve = "mkdir /www; echo page > /www/index.html; httpd -f -p 80 -h /www";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net",
        "-p",
        "80",
        "busybox",
        "sh",
        "-c",
        serve,
    ])?;
    daemon.ok(&[&["run", "-d", "--name", "plain", "-p", "8080:80"], &sleep[..]].concat())?;
    daemon.ok(&["create", "--name", "waits", "--network", "net", "busybox", "true"])?;
    // What is joined and left later counts as well.
    daemon.ok(&["network", "connect", "--alias", "other", "inner", "web"])?;
    daemon.ok(&["network", "connect", "inner", "waits"])?;
    daemon.ok(&["network", "connect", "net", "plain"])?;
    daemon.ok(&["network", "disconnect", "net", "plain"])?;
    let before = facts(&daemon)?;
    let store = daemon.place().data_root().join("state.db");
    for kind in ["gone", "zeros"] {
        daemon.kill()?;
        if kind == "zeros" {
            let length = std::fs::metadata(&store)?.len();
            let file = std::fs::OpenOptions::new().write(true).open(&store)?;
            file.write_all_at(&vec![0; usize::try_from(length)?], 0)?;
        } else {
            std::fs::remove_file(&store)?;
        }
        for suffix in ["-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{}{suffix}", store.display())));
        }
        daemon.launch()?;
        assert_eq!(before, facts(&daemon)?, "{kind}");
        let told = daemon.ok(&["system", "check"])?;
        assert!(told.contains("networks were missing in it"), "{kind}: {told}");
    }
    // A port that is taken is still known to be.
    let taken = daemon
        .berth(&["run", "--rm", "-p", "8080:80", "busybox", "true"])?
        .expect(125)?;
    assert!(
        taken.stderr.contains("port is already allocated"),
        "{}",
        taken.stderr
    );
    let busy = daemon.berth(&["network", "rm", "inner"])?.expect(1)?;
    assert!(busy.stderr.contains("has active endpoints"), "{}", busy.stderr);
    daemon.ok(&["start", "-a", "waits"])?;
    daemon.ok(&["rm", "-f", "web", "plain", "waits"])?;
    daemon.ok(&["network", "rm", "net", "inner"])?;
    daemon.finish()
}

/// F-06: after a power cut a layer that was not synced by then is as empty as the cut has left it; it is unpacked again from its
/// blob, also where a container stands on it.
#[test]
fn f_06_layers_that_a_power_cut_took_are_unpacked_again() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", "echo x > /made"])?;
    daemon.ok(&["commit", "-c", "CMD [\"cat\", \"/made\"]", "c1", "made"])?;
    daemon.ok(&["run", "--rm", "made"])?;
    daemon.ok(&["create", "--name", "stands", "made"])?;
    daemon.kill()?;
    let layers = daemon.place().data_root().join("layers/overlay/layers");
    let mut cut = 0;
    for entry in std::fs::read_dir(&layers)? {
        let layer = entry?.path();
        let facts = layer.join("facts.json");
        let text = std::fs::read_to_string(&facts)?;
        let mut document: serde_json::Value = serde_json::from_str(&text)?;
        document["boot"] = "00000000-0000-4000-8000-000000000000".into();
        replace(&facts, &document.to_string())?;
        drop(std::fs::remove_file(layer.join("synced")));
        // ext4 without a sync: the names are there and nothing in the files.
        for file in files(&layer.join("diff"))? {
            std::fs::OpenOptions::new().write(true).open(&file)?.set_len(0)?;
            cut += 1;
        }
    }
    assert!(cut > 1, "there was nothing to cut");
    daemon.launch()?;
    assert_eq!(daemon.ok(&["start", "-a", "stands"])?, "x");
    assert_eq!(daemon.ok(&["run", "--rm", "made"])?, "x");
    daemon.berth(&["system", "check"])?.expect(0)?;
    daemon.finish()
}

/// IM-09, F-20: signatures lie beside the image in Berth's own registry; what is damaged comes again, and is asked about again.
#[test]
fn im_09_signatures_from_our_own_registry() -> Result<()> {
    use crate::registry_protocol::{MANIFEST, descriptor, push_blob, put};
    if !testkit::has("openssl") {
        return testkit::skip("openssl is not installed");
    }
    let registry = testkit::RegistryServer::berth(&[])?;
    let place = registry.directory().to_owned();
    let path = |name: &str| place.join(name).display().to_string();
    let openssl = |arguments: &[&str]| -> Result<Vec<u8>> {
        let output = std::process::Command::new("openssl").args(arguments).output()?;
        anyhow::ensure!(output.status.success(), "openssl {arguments:?}: {output:?}");
        Ok(output.stdout)
    };
    for key in ["ours", "other"] {
        openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &path(key),
        ])?;
    }
    openssl(&["ec", "-in", &path("ours"), "-pubout", "-out", &path("ours.pub")])?;
    let policy = serde_json::json!({
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {format!("{}/team", registry.address()): [{
            "type": "sigstoreSigned", "keyPath": path("ours.pub"), "signedIdentity": {"type": "matchRepository"},
        }]}},
    });
    testkit::image::put(&place.join("policy.json"), &policy.to_string())?;
    let maker = Daemon::with_busybox()?;
    let name = format!("{}/team/app:v1", registry.address());
    maker.ok(&["tag", "busybox", &name])?;
    let pushed = maker.ok(&["push", &name])?;
    let digest = pushed
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"))
        .context("a digest")?
        .to_owned();
    maker.finish()?;
    let daemon = Daemon::start_with(Start {
        arguments: vec!["--policy".to_owned(), path("policy.json")],
        ..Start::default()
    })?;
    let sign = |key: &str| -> Result<()> {
        let payload = serde_json::json!({
            "critical": {
                "identity": {"docker-reference": format!("{}/team/app", registry.address())},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        drop(std::fs::remove_file(place.join("payload")));
        testkit::image::put(&place.join("payload"), &payload)?;
        openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            &path(key),
            "-out",
            &path("signature"),
            &path("payload"),
        ])?;
        let signature = String::from_utf8(openssl(&["base64", "-A", "-in", &path("signature")])?)?;
        let blob = push_blob(&registry, "team/app", payload.as_bytes())?;
        let config = push_blob(&registry, "team/app", b"{}")?;
        let mut layer = descriptor(
            "application/vnd.dev.cosign.simplesigning.v1+json",
            &blob,
            payload.len(),
        );
        layer["annotations"] = serde_json::json!({"dev.cosignproject.cosign/signature": signature});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer],
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config, 2),
        });
        let tag = format!("{}.sig", digest.replace(':', "-"));
        put(&registry, "team/app", &tag, MANIFEST, &manifest)?
            .expect(201)
            .map(drop)
    };
    let refused = |told: &str| -> Result<()> {
        let output = daemon.berth(&["pull", &name])?;
        assert!(
            output.code != 0 && output.stderr.contains("refused by rule"),
            "{told}: {output:?}"
        );
        Ok(())
    };
    refused("without a signature")?;
    sign("other")?;
    refused("with another's signature")?;
    sign("ours")?;
    daemon.ok(&["pull", &name])?;
    daemon.ok(&["run", "--rm", &name, "true"])?;
    // A blob is damaged: it comes again from where it came, and passes again.
    let mut blobs = files(&daemon.place().data_root().join("content/blobs/sha256"))?;
    blobs.sort_by_key(|path| std::fs::metadata(path).map_or(0, |meta| meta.len()));
    let largest = blobs.pop().context("a blob")?;
    std::fs::OpenOptions::new()
        .write(true)
        .open(&largest)?
        .write_all_at(b"XXXX", 600)?;
    let found = daemon.berth(&["system", "check"])?.expect(1)?;
    assert!(found.stdout.contains("damaged: blob sha256:"), "{found:?}");
    let mended = daemon.berth(&["system", "check", "--repair"])?.expect(0)?;
    assert!(mended.stdout.contains("repaired: blob sha256:"), "{mended:?}");
    daemon.berth(&["system", "check"])?.expect(0)?;
    daemon.ok(&["run", "--rm", &name, "true"])?;
    daemon.finish()
}

/// IM-09: the policy is asked for archives, imports and containers, changes take effect at once, and refusals name the rule.
#[test]
fn im_09_the_policy_is_asked_on_every_road() -> Result<()> {
    let policy = std::env::temp_dir().join(format!("berth-policy-{}.json", std::process::id()));
    replace(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    let outcome = with_policy(&policy);
    std::fs::remove_file(&policy)?;
    outcome
}

fn with_policy(policy: &Path) -> Result<()> {
    let daemon = Daemon::with_busybox_and(Start {
        arguments: vec!["--policy".to_owned(), policy.display().to_string()],
        ..Start::default()
    })?;
    let archive = archive(&daemon)?;
    let run = ["run", "--rm", "--network", "none", "busybox", "true"];
    daemon.ok(&run)?;
    let refused = |arguments: &[&str], rule: &str| -> Result<()> {
        let output = daemon.berth(arguments)?;
        assert!(
            output.code != 0 && output.stderr.contains(rule),
            "{arguments:?}: {output:?}"
        );
        Ok(())
    };
    replace(
        policy,
        r#"{"default":[{"type":"reject"}],"transports":{"containers-storage":{"":[{"type":"insecureAcceptAnything"}]}}}"#,
    )?;
    refused(&["load", "-i", &archive], "is refused by rule default (reject)")?;
    daemon.ok(&run)?;
    replace(
        policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"docker.io/library":[{"type":"reject"}]}}}"#,
    )?;
    refused(
        &run,
        "\"busybox:latest\" is refused by rule transports.docker.\"docker.io/library\" (reject)",
    )?;
    daemon.ok(&["load", "-i", &archive])?;
    replace(policy, r#"{"default":[{"type":"signedBy"}]}"#)?;
    refused(&run, "\"signedBy\" are not supported")?;
    daemon.finish()
}
