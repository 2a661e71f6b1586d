//! What a container did to its files: told, kept as an image, taken out as an archive; and how images go again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Daemon, Start, command, has, skip};

/// Does everything that a layer can tell: changes, additions, deletions, a directory made anew, links, attributes.
const DEEDS: &str = "echo changed > /etc/group; rm /etc/passwd; mkdir -p /new/sub; echo x > /new/sub/file; \
    ln /new/sub/file /new/hard; ln -s sub/file /new/soft; chmod 700 /home; mkfifo /new/pipe; rm -r /var; mkdir /var; \
    chown 1000:2000 /new/sub/file; echo more >> /etc/hosts";

/// Parameters of the machine's overlay module; what they were is put back.
struct OverlayDefaults(Vec<(PathBuf, String)>);

impl OverlayDefaults {
    /// Switches everything on; `None` where that cannot be done.
    fn all_on() -> Result<Option<Self>> {
        let mut defaults = Self(Vec::new());
        for name in ["redirect_dir", "index", "metacopy", "xino_auto", "nfs_export"] {
            let path = Path::new("/sys/module/overlay/parameters").join(name);
            let Ok(before) = std::fs::read_to_string(&path) else {
                return Ok(None);
            };
            let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&path) else {
                return Ok(None);
            };
            // nfs_export and metacopy exclude each other.
            let value = if name == "nfs_export" { b"N" } else { b"Y" };
            if file.write_all(value).is_err() {
                return Ok(None);
            }
            defaults.0.push((path, before));
        }
        Ok(Some(defaults))
    }
}

impl Drop for OverlayDefaults {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(path) {
                drop(file.write_all(before.as_bytes()));
            }
        }
    }
}

/// Hosts whose overlay module has other defaults: what a container writes is plain directories and files there, too.
#[test]
fn overlay_defaults_of_the_host_do_not_matter() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run", "--name", "base", "busybox", "sh", "-c",
        "mkdir -p /deep/er && echo one > /deep/er/one && head -c 100000 /dev/zero > /deep/large && ln /deep/large /deep/second",
    ])?;
    daemon.ok(&["commit", "base", "base"])?;
    let deeds =
        "mv /deep /moved && chmod 600 /moved/large && chown 5:6 /moved/second && echo two >> /moved/er/one";
    let seen = |name: &str| -> Result<String> {
        daemon.ok(&["run", "--name", name, "base", "sh", "-c", deeds])?;
        // A restart meets what the first run has left.
        daemon.berth(&["start", "-a", name])?.expect(1)?;
        let diff = daemon.ok(&["diff", name])?;
        daemon.ok(&["commit", name, name])?;
        let look = "ls /; cat /moved/er/one; stat -c '%a %u %g %s %h' /moved/large /moved/second";
        let said = daemon.ok(&["run", "--rm", name, "sh", "-c", look])?;
        Ok(format!("{diff}\n{said}"))
    };
    let usual = seen("usual")?;
    assert!(
        usual.contains("D /deep\n") && usual.contains("one\ntwo\n600 5 6 100000"),
        "{usual}"
    );
    let Some(defaults) = OverlayDefaults::all_on()? else {
        return skip("the parameters of the overlay module cannot be written");
    };
    let changed = seen("changed");
    drop(defaults);
    assert_eq!(usual, changed?);
    daemon.ok(&["rm", "usual"])?;
    daemon.ok(&["rm", "base", "changed"])?;
    daemon.finish()
}

#[test]
fn i04_diff_commit_and_history() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "c1",
        "-v",
        "/vol/deep",
        "busybox",
        "sh",
        "-c",
        DEEDS,
    ])?;
    let diff = daemon.ok(&["diff", "c1"])?;
    let expected = [
        "C /etc",
        "C /etc/group",
        "D /etc/passwd",
        "C /home",
        "A /new",
        "A /new/hard",
        "A /new/pipe",
        "A /new/soft",
        "A /new/sub",
        "A /new/sub/file",
        "A /vol",
        "A /vol/deep",
    ];
    assert_eq!(diff.lines().collect::<Vec<_>>(), expected);
    let id = daemon.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "words",
        "-c",
        "ENV A=1",
        "-c",
        "CMD [\"cat\", \"/new/soft\"]",
        "c1",
        "made:1",
    ])?;
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"])?, "x");
    let look = "ls -ln /new/sub/file | cut -c1-20; stat -c '%u:%g %h' /new/hard; ls /etc/passwd 2>&1; echo $A; stat -c %a /home; ls -A /var";
    let seen = daemon.ok(&["run", "--rm", "made:1", "sh", "-c", look])?;
    assert!(
        seen.contains("1000:2000 2") && seen.contains("No such file") && seen.contains("\n1\n700"),
        "{seen}"
    );
    let history = daemon.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.ID}}|{{.CreatedBy}}|{{.Comment}}",
        "made:1",
    ])?;
    let base = daemon.ok(&["image", "inspect", "-f", "{{.Id}}", "busybox"])?;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines[0], format!("{id}|sh -c {DEEDS}|words"));
    assert!(lines[1].starts_with(&format!("{base}||")), "{history}");
    assert_eq!(
        daemon.ok(&[
            "image",
            "inspect",
            "-f",
            "{{.Parent}} {{.Author}} {{.Comment}}",
            "made:1"
        ])?,
        format!("{base} me words")
    );
    // The same again is the same layer, and a container that did nothing adds none.
    daemon.ok(&["create", "--name", "c2", "made:1"])?;
    assert_eq!(daemon.ok(&["diff", "c2"])?, "");
    daemon.ok(&["commit", "c2", "made:2"])?;
    let layers = |name: &str| daemon.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", name]);
    assert_eq!(layers("made:1")?, layers("made:2")?);
    daemon.finish()
}

/// I4: a container's files go back, commit by commit, to those it was created with.
#[test]
fn i04_rollback_restores() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let base = daemon.ok(&["image", "inspect", "-f", "{{.Id}}", "busybox"])?;
    let script = "echo $(cat /n 2>/dev/null)x > /n; echo y > /data/n; rm -f /etc/passwd";
    daemon.ok(&[
        "run", "--name", "c1", "-v", "/data", "busybox", "sh", "-c", script,
    ])?;
    let first = daemon.ok(&["commit", "c1", "state:1"])?;
    daemon.ok(&["start", "c1"])?;
    daemon.ok(&["wait", "c1"])?;
    let second = daemon.ok(&["commit", "c1"])?;
    daemon.ok(&["start", "c1"])?;
    daemon.ok(&["wait", "c1"])?;
    let look = |expected: &str| -> Result<()> {
        let found = daemon.berth(&["cp", "c1:/n", "-"])?;
        let has = |text: &str| found.stdout.contains(text);
        assert_eq!(has("x\n"), !expected.is_empty(), "{}", found.stdout);
        assert!(has(expected) && !has(&format!("{expected}x")), "{}", found.stdout);
        Ok(())
    };
    look("xxx")?;
    // What nobody committed is a step of its own.
    assert_eq!(daemon.ok(&["rollback", "c1"])?, second);
    look("xx")?;
    assert_eq!(daemon.ok(&["diff", "c1"])?, "");
    assert_eq!(daemon.inspect("c1", "{{.Image}}")?, second);
    assert_eq!(daemon.ok(&["rollback", "c1", "1"])?, first);
    look("x")?;
    // A commit from here leaves the second one out of the line.
    daemon.ok(&["start", "c1"])?;
    daemon.ok(&["wait", "c1"])?;
    let third = daemon.ok(&["commit", "c1"])?;
    assert_ne!(third, second);
    let refused = daemon.berth(&["rollback", "c1", "3"])?.expect(1)?;
    assert!(
        refused.stderr.contains("can go back by 2 steps only"),
        "{}",
        refused.stderr
    );
    assert_eq!(daemon.ok(&["rollback", "c1", "2"])?, base);
    let refused = daemon.berth(&["rollback", "c1"])?.expect(1)?;
    assert!(
        refused.stderr.contains("is as it was created"),
        "{}",
        refused.stderr
    );
    look("")?;
    // Its configuration and its volumes stay; it runs as it did.
    daemon.ok(&["start", "c1"])?;
    daemon.ok(&["wait", "c1"])?;
    look("x")?;
    assert_eq!(
        daemon.ok(&["diff", "c1"])?,
        "A /data\nC /etc\nD /etc/passwd\nA /n"
    );
    daemon.ok(&["run", "-d", "--name", "c2", "busybox", "sleep", "1000"])?;
    let refused = daemon.berth(&["rollback", "c2"])?.expect(1)?;
    assert!(
        refused
            .stderr
            .contains("container is running: stop the container first"),
        "{}",
        refused.stderr
    );
    for wrong in ["0", "-1", "x"] {
        assert_ne!(daemon.berth(&["rollback", "c1", wrong])?.code, 0, "{wrong}");
    }
    daemon.finish()
}

/// A running container is frozen meanwhile and goes on; `--pause=false` leaves it alone.
#[test]
fn commit_of_a_running_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo x > /made; echo ready; sleep 1000",
    ])?;
    daemon.wait_for_log("c1", "ready")?;
    daemon.ok(&["commit", "c1", "running"])?;
    assert_eq!(daemon.inspect("c1", "{{.State.Status}}")?, "running");
    assert_eq!(daemon.ok(&["run", "--rm", "running", "cat", "/made"])?, "x");
    daemon.ok(&["commit", "--pause=false", "c1", "running:2"])?;
    let events = daemon.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        "0s",
        "--filter",
        "container=c1",
        "--format",
        "{{.Action}}",
    ]);
    if let Ok(events) = events {
        assert_eq!(events.matches("unpause").count(), 1, "{events}");
    }
    let refused = daemon.berth(&["commit", "-c", "RUN x", "c1"])?.expect(1)?;
    assert!(
        refused.stderr.contains("run is not a valid change command"),
        "{}",
        refused.stderr
    );
    let refused = daemon.berth(&["commit", "c1", "UPPER"])?.expect(1)?;
    assert!(refused.stderr.contains("must be lowercase"), "{}", refused.stderr);
    daemon.finish()
}

/// T8: an edit that hides itself behind its size and time is told.
#[test]
fn t08_an_edit_in_place_is_told() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let script = "touch -r /etc/group /tmp/when; sed -i s/tty/yyy/ /etc/group; touch -r /tmp/when /etc/group; rm /tmp/when; touch -r /etc /etc";
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", script])?;
    assert_eq!(daemon.ok(&["diff", "c1"])?, "C /etc\nC /etc/group");
    daemon.finish()
}

/// I15: what an image deleted stays deleted where it is loaded.
#[test]
fn i15_deletions_travel() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "rm /etc/passwd; rm -r /home; mkdir /home; echo new > /home/file",
    ])?;
    daemon.ok(&["commit", "c1", "less"])?;
    let archive = daemon.directory().join("less.tar");
    let archive = archive.to_str().context("path")?;
    daemon.ok(&["save", "-o", archive, "less"])?;
    let other = Daemon::start()?;
    other.ok(&["load", "-i", archive])?;
    let seen = other.ok(&["run", "--rm", "less", "sh", "-c", "ls /etc; ls /home"])?;
    assert!(
        !seen.contains("passwd") && seen.contains("group") && seen.contains("file"),
        "{seen}"
    );
    other.finish()?;
    daemon.finish()
}

#[test]
fn export_and_import() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", DEEDS])?;
    let archive = daemon.directory().join("c1.tar");
    let archive = archive.to_str().context("path")?;
    daemon.ok(&["export", "-o", archive, "c1"])?;
    let listed = command::run(
        std::process::Command::new("tar").args(["--numeric-owner", "-tvf", archive]),
        b"",
    )?
    .text()?;
    assert!(
        listed.contains("1000/2000") && !listed.contains("etc/passwd"),
        "{listed}"
    );
    assert!(!listed.contains("/100000"), "ids of the host: {listed}");
    daemon.ok(&["import", archive, "again"])?;
    assert_eq!(
        daemon.ok(&["run", "--rm", "again", "cat", "/new/soft", "/etc/group"])?,
        "x\nchanged"
    );
    // A running one too, and no mount is left on the host.
    daemon.ok(&["run", "-d", "--name", "c2", "busybox", "sleep", "1000"])?;
    daemon.ok(&["export", "-o", archive, "c2"])?;
    daemon.finish()
}

/// By docker 20.10's rules, as its daemon answered to the same commands by hand.
#[test]
fn parents_and_children_are_removed_in_order() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let parent = daemon.ok(&["image", "inspect", "-f", "{{.Id}}", "busybox"])?;
    daemon.ok(&["run", "--name", "c1", "busybox", "touch", "/x"])?;
    let child = daemon.ok(&["commit", "c1", "child"])?;
    daemon.ok(&["rm", "c1"])?;
    assert_eq!(daemon.ok(&["rmi", "busybox"])?, "Untagged: busybox:latest");
    for arguments in [&["rmi", &parent][..], &["rmi", "-f", &parent]] {
        let refused = daemon.berth(arguments)?.expect(1)?;
        let text = format!(
            "conflict: unable to delete {} (cannot be forced) - image has dependent child images",
            &parent[7..19]
        );
        assert!(refused.stderr.contains(&text), "{}", refused.stderr);
    }
    assert_eq!(daemon.ok(&["image", "prune", "-f"])?, "Total reclaimed space: 0B");
    // What lies between is listed with --all only.
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc"])?, child);
    assert_eq!(daemon.ok(&["images", "-aq", "--no-trunc"])?.lines().count(), 2);
    daemon.ok(&["tag", "child", "other/x:1"])?;
    let refused = daemon.berth(&["rmi", &child])?.expect(1)?;
    assert!(
        refused
            .stderr
            .contains("(must be forced) - image is referenced in multiple repositories"),
        "{}",
        refused.stderr
    );
    let removed = daemon.ok(&["rmi", "-f", &child])?;
    let lines: Vec<&str> = removed.lines().collect();
    assert_eq!(&lines[..2], ["Untagged: child:latest", "Untagged: other/x:1"]);
    assert_eq!(lines[2], format!("Deleted: {child}"));
    assert_eq!(lines[4], format!("Deleted: {parent}"), "{removed}");
    assert_eq!(lines.len(), 6);
    assert_eq!(daemon.ok(&["images", "-aq"])?, "");
    daemon.finish()
}

/// I6: layers are kept once, and their size is counted as shared.
#[test]
fn i06_disk_usage_of_shared_layers() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=1000 count=500 2>/dev/null",
    ])?;
    daemon.ok(&["commit", "c1", "big"])?;
    let reply = daemon.api("GET", "/v1.41/system/df", None)?;
    let usage: serde_json::Value = serde_json::from_str(&reply.body)?;
    let images = usage["Images"].as_array().context("images")?;
    let of = |name: &str| {
        images
            .iter()
            .find(|image| image["RepoTags"][0] == name)
            .context("image")
    };
    let (base, big) = (of("busybox:latest")?, of("big:latest")?);
    assert!(base["SharedSize"].as_i64() > Some(0));
    assert_eq!(base["SharedSize"], base["Size"]);
    assert_eq!(big["SharedSize"], base["Size"]);
    assert_eq!(
        big["Size"].as_i64(),
        base["Size"].as_i64().map(|size| size + 500_000)
    );
    assert_eq!(usage["LayersSize"], big["Size"]);
    assert_eq!(usage["Containers"][0]["SizeRw"], 500_000);
    let text = daemon.ok(&["system", "df", "-v"])?;
    for heading in [
        "REPOSITORY   TAG       IMAGE ID",
        "SHARED SIZE   UNIQUE SIZE   CONTAINERS",
        "LOCAL VOLUMES",
        "Build cache usage: 0B",
    ] {
        assert!(text.contains(heading), "{text}");
    }
    assert!(text.contains("500kB"), "{text}");
    daemon.finish()
}

/// Killed at each step, a commit is there whole or not at all, and the container goes on.
#[test]
fn f01_killed_at_every_step_of_commit() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo x > /made; echo ready; sleep 1000",
    ])?;
    daemon.wait_for_log("c1", "ready")?;
    let steps = engine::failpoint::STEPS
        .iter()
        .filter(|step| step.starts_with("commit."));
    for step in steps {
        daemon.terminate()?;
        daemon.set_start(Start {
            arguments: Vec::new(),
            environment: vec![("BERTH_FAILPOINT".to_owned(), (*step).to_owned())],
            host: None,
        });
        daemon.launch()?;
        daemon.berth(&["commit", "c1", "made"])?;
        daemon
            .wait_for_end(Duration::from_secs(10))
            .with_context(|| format!("not killed at {step}"))?;
        daemon.set_start(Start::default());
        daemon.launch()?;
        daemon
            .wait_for("c1", "{{.State.Status}}", "running")
            .with_context(|| format!("after {step}"))?;
        if daemon.berth(&["image", "inspect", "made"])?.code == 0 {
            assert_eq!(
                daemon.ok(&["run", "--rm", "made", "cat", "/made"])?,
                "x",
                "{step}"
            );
            daemon.ok(&["rmi", "made"])?;
        }
        assert_eq!(daemon.ok(&["images", "-aq"])?.lines().count(), 1, "after {step}");
        daemon.ok(&["commit", "c1", "made"])?;
        daemon.ok(&["rmi", "made"])?;
    }
    daemon.finish()
}

/// The unmodified docker command line does it all.
#[test]
fn docker_commits_copies_and_prunes() -> Result<()> {
    if !has("docker") {
        return skip("docker's command line is not installed");
    }
    let daemon = Daemon::with_busybox()?;
    let docker = |arguments: &[&str]| daemon.docker(arguments)?.text();
    docker(&[
        "run",
        "--name",
        "c1",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo x > /made; rm /etc/passwd",
    ])?;
    assert_eq!(docker(&["diff", "c1"])?, "C /etc\nD /etc/passwd\nA /made");
    let id = docker(&["commit", "-m", "words", "c1", "made"])?;
    assert!(docker(&["history", "made"])?.contains("words"));
    let place = daemon.directory();
    let at = |name: &str| place.join(name).display().to_string();
    docker(&["cp", "c1:/made", &at("out")])?;
    assert_eq!(std::fs::read_to_string(place.join("out"))?, "x\n");
    docker(&["cp", &at("out"), "c1:/etc/in"])?;
    docker(&["cp", "c1:/etc", &at("etc")])?;
    assert_eq!(std::fs::read_to_string(place.join("etc/in"))?, "x\n");
    docker(&["export", "-o", &at("all.tar"), "c1"])?;
    let usage = docker(&["system", "df"])?;
    assert!(
        usage.starts_with(
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages          2         1"
        ),
        "{usage}"
    );
    docker(&["system", "df", "-v"])?;
    docker(&["rmi", "made"])?;
    docker(&["system", "prune", "-f", "--volumes"])?;
    assert_eq!(docker(&["ps", "-aq"])?, "");
    let pruned = docker(&["image", "prune", "-af"])?;
    assert!(
        pruned.contains("untagged: busybox:latest") && pruned.contains("Total reclaimed space"),
        "{pruned}"
    );
    assert!(!pruned.contains(&id), "{pruned}");
    daemon.finish()
}
