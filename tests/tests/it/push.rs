//! Images go to registries and to other daemons; credentials are checked, kept and forgotten.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::registry_server::RegistryServer;
use testkit::{Daemon, command, has, skip};

/// `ann` with the password `secret`, as docker's registry spells bcrypt.
const HTPASSWD: &str = "ann:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// Imports busybox under `name`; returns the image's id.
fn import(daemon: &Daemon, name: &str) -> Result<String> {
    let tar = testkit::image::busybox_tar(daemon.directory())?;
    daemon.ok(&[
        "import",
        "-c",
        "CMD [\"sh\"]",
        tar.to_str().context("path")?,
        name,
    ])
}

/// Returns how many uploads the registry has begun.
fn uploads(registry: &RegistryServer) -> usize {
    registry.log().matches("\"POST /v2/").count()
}

fn with_config(mut command: Command, directory: &Path) -> Command {
    command.env("DOCKER_CONFIG", directory);
    command
}

#[test]
fn push_sends_what_is_missing_once() -> Result<()> {
    let Some(registry) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    let daemon = Daemon::start()?;
    let address = registry.address().to_owned();
    let (one, two) = (format!("{address}/one:v1"), format!("{address}/two:v1"));
    let id = import(&daemon, &one)?;
    let first = daemon.ok(&["push", &one])?;
    assert!(
        first.starts_with(&format!("The push refers to repository [{address}/one]"))
            && first.contains(": Pushed")
            && first.contains("v1: digest: sha256:"),
        "{first}"
    );
    let again = daemon.ok(&["push", &one])?;
    assert!(again.contains(": Layer already exists"), "{again}");
    daemon.ok(&["tag", &one, &two])?;
    let other = daemon.ok(&["push", &two])?;
    assert!(other.contains(": Mounted from one"), "{other}");
    assert_eq!(first.lines().last(), other.lines().last());
    assert_eq!(daemon.ok(&["push", "-q", &two])?, two);
    // The layer was compressed once, the image is the same, and what comes back is what went.
    assert_eq!(
        daemon.ok(&["images", "-q", "--no-trunc"])?.lines().next(),
        Some(id.as_str())
    );
    daemon.ok(&["rmi", "-f", &id])?;
    daemon.ok(&["pull", "-q", &two])?;
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc"])?, id);
    assert_eq!(daemon.ok(&["run", "--rm", &two, "echo", "back"])?, "back");
    for (name, text) in [
        (
            format!("{address}/none"),
            "An image does not exist locally with the tag: ",
        ),
        (format!("{address}/two:none"), "tag does not exist: "),
    ] {
        let refused = daemon.berth(&["push", &name])?.expect(1)?;
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    daemon.finish()
}

#[test]
fn push_of_all_tags_and_by_dockers_client() -> Result<()> {
    let Some(registry) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    let daemon = Daemon::start()?;
    let name = format!("{}/all", registry.address());
    import(&daemon, &format!("{name}:a"))?;
    daemon.ok(&["tag", &format!("{name}:a"), &format!("{name}:b")])?;
    let pushed = daemon.ok(&["push", "-a", &name])?;
    for tag in ["a: digest: ", "b: digest: "] {
        assert!(pushed.contains(tag), "{pushed}");
    }
    if has("docker") {
        let before = uploads(&registry);
        let pushed = daemon.docker(&["push", &format!("{name}:b")])?.text()?;
        assert!(pushed.contains("Layer already exists"), "{pushed}");
        assert_eq!(uploads(&registry), before, "nothing was missing");
        let found = daemon
            .docker(&["search", &format!("{}/al", registry.address())])?
            .text()?;
        assert!(found.contains(&name), "{found}");
    }
    daemon.finish()
}

#[test]
fn login_keeps_and_forgets_credentials() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let htpasswd = directory.path().join("htpasswd");
    testkit::image::put(&htpasswd, HTPASSWD)?;
    let configuration = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}",
        htpasswd.display()
    );
    let Some(registry) = RegistryServer::docker(&configuration)? else {
        return skip("docker-registry is not installed");
    };
    let daemon = Daemon::start()?;
    let address = registry.address().to_owned();
    let name = format!("{address}/private:1");
    import(&daemon, &name)?;
    let berth = |arguments: &[&str], stdin: &str| -> Result<command::Output> {
        let mut command = with_config(daemon.command(arguments)?, directory.path());
        command::run(&mut command, stdin.as_bytes())
    };
    let login = ["login", "-u", "ann", "--password-stdin", &address];
    let refused = berth(&["push", &name], "")?.expect(1)?;
    assert!(
        refused.stderr.contains("no basic auth credentials"),
        "{}",
        refused.stderr
    );
    let wrong = berth(&login, "wrong\n")?.expect(1)?;
    assert!(wrong.stderr.contains("unauthorized"), "{}", wrong.stderr);
    assert!(!directory.path().join("config.json").exists());
    let right = berth(&login, "secret\n")?.expect(0)?;
    assert_eq!(right.stdout.trim(), "Login Succeeded");
    assert!(right.stderr.contains("stored unencrypted"), "{}", right.stderr);
    let mode = directory
        .path()
        .join("config.json")
        .metadata()?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    berth(&["push", "-q", &name], "")?.expect(0)?;
    assert!(!daemon.log_tail().contains("secret"));
    berth(&["logout", &address], "")?.expect(0)?;
    berth(&["push", "-q", &name], "")?.expect(1)?;
    daemon.finish()
}

/// docker's own command line on Berth: an image goes to a registry with passwords, into an archive, away, and comes back from both.
#[test]
fn docker_moves_images() -> Result<()> {
    if !has("docker") {
        return skip("docker's command line is not installed");
    }
    let directory = tempfile::tempdir()?;
    let htpasswd = directory.path().join("htpasswd");
    testkit::image::put(&htpasswd, HTPASSWD)?;
    let configuration = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}",
        htpasswd.display()
    );
    let Some(registry) = RegistryServer::docker(&configuration)? else {
        return skip("docker-registry is not installed");
    };
    let daemon = Daemon::with_busybox()?;
    let address = registry.address().to_owned();
    let name = format!("{address}/team/made:1");
    let docker = |arguments: &[&str], stdin: &str| -> Result<command::Output> {
        let mut command = with_config(daemon.docker_command(arguments), directory.path());
        command::run(&mut command, stdin.as_bytes())
    };
    let ok = |arguments: &[&str]| -> Result<String> { docker(arguments, "")?.text() };
    ok(&[
        "run",
        "--name",
        "cc",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo kept > /kept; rm /etc/group",
    ])?;
    assert_eq!(ok(&["diff", "cc"])?, "C /etc\nD /etc/group\nA /kept");
    let id = ok(&["commit", "-a", "ann", "-m", "words", "cc", &name])?;
    assert!(ok(&["history", "--no-trunc", &name])?.contains("words"));

    let refused = docker(&["push", &name], "")?.expect(1)?;
    assert!(
        refused.stderr.contains("no basic auth credentials"),
        "{refused:?}"
    );
    let login = ["login", "-u", "ann", "--password-stdin", &address];
    let said = docker(&login, "secret\n")?.expect(0)?;
    assert!(said.stdout.contains("Login Succeeded"), "{said:?}");
    let pushed = ok(&["push", &name])?;
    let digest = pushed
        .rsplit("digest: ")
        .next()
        .and_then(|text| text.split(' ').next())
        .context("a digest")?;
    let saved = directory.path().join("saved.tar").display().to_string();
    ok(&["save", "-o", &saved, &name])?;

    ok(&["rm", "cc"])?;
    let pruned = ok(&["image", "prune", "-af"])?;
    assert!(pruned.contains("Total reclaimed space"), "{pruned}");
    assert_eq!(ok(&["images", "-q"])?, "");
    let pulled = ok(&["pull", &name])?;
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert_eq!(ok(&["images", "-q", "--no-trunc"])?, id);
    ok(&["rmi", &name])?;
    let loaded = ok(&["load", "-i", &saved])?;
    assert_eq!(loaded, format!("Loaded image: {name}"));
    assert_eq!(ok(&["inspect", "-f", "{{.Id}}", &name])?, id);
    let look = "cat /kept; test ! -e /etc/group && echo gone";
    assert_eq!(
        ok(&["run", "--rm", "--network", "none", &name, "sh", "-c", look])?,
        "kept\ngone"
    );
    ok(&["logout", &address])?;
    let refused = docker(&["pull", &name], "")?.expect(1)?;
    assert!(
        refused.stderr.contains("no basic auth credentials"),
        "{refused:?}"
    );
    daemon.finish()
}

#[test]
fn im_03_helpers_answer_for_their_registry_only() -> Result<()> {
    let Some(registry) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    let directory = tempfile::tempdir()?;
    let helper = directory.path().join("docker-credential-liar");
    // Always the credentials of another registry.
    testkit::image::put(
        &helper,
        "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"elsewhere.example\",\"Username\":\"u\",\"Secret\":\"hunter2\"}'\n",
    )?;
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755))?;
    testkit::image::put(&directory.path().join("config.json"), "{\"credsStore\":\"liar\"}")?;
    let daemon = Daemon::start()?;
    let name = format!("{}/x:1", registry.address());
    import(&daemon, &name)?;
    let mut push = with_config(daemon.command(["push", "-q", &name])?, directory.path());
    let path = std::env::var("PATH").unwrap_or_default();
    push.env("PATH", format!("{}:{path}", directory.path().display()));
    let pushed = command::run(&mut push, b"")?.expect(0)?;
    assert!(
        pushed.stderr.contains("another registry") && !pushed.stderr.contains("hunter2"),
        "{}",
        pushed.stderr
    );
    daemon.finish()
}

#[test]
fn an_image_is_copied_to_another_daemon() -> Result<()> {
    let (source, target) = (Daemon::start()?, Daemon::start()?);
    let id = import(&source, "copied:1")?;
    let host = target.place().host();
    let first = source.berth(&["image", "copy", "copied:1", &host])?.expect(0)?;
    assert!(first.stderr.contains("Sending 3 of 3 blobs"), "{}", first.stderr);
    assert_eq!(target.ok(&["images", "-q", "--no-trunc"])?, id);
    assert_eq!(target.ok(&["run", "--rm", "copied:1", "echo", "there"])?, "there");
    let second = source.berth(&["image", "copy", "copied:1", &host])?.expect(0)?;
    assert!(
        second.stderr.contains("Sending 0 of 3 blobs"),
        "{}",
        second.stderr
    );
    // The same by ssh, whose far side is played by a script.
    target.ok(&["rmi", "copied:1"])?;
    let directory = tempfile::tempdir()?;
    let ssh = directory.path().join("ssh");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 3\nexec \"$FAR_BERTH\" \"$@\"\n";
    testkit::image::put(&ssh, script)?;
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755))?;
    let far = format!("ssh://far{}", target.place().socket().display());
    let mut copy = source.command(["image", "copy", "copied:1", &far])?;
    let path = std::env::var("PATH").unwrap_or_default();
    copy.env("PATH", format!("{}:{path}", directory.path().display()));
    copy.env("FAR_BERTH", testkit::berth()?);
    command::run(&mut copy, b"")?.expect(0)?;
    assert_eq!(target.ok(&["images", "-q", "--no-trunc"])?, id);
    target.finish()?;
    source.finish()
}

#[test]
fn a_daemon_killed_in_a_push_pushes_again() -> Result<()> {
    let Some(registry) = RegistryServer::docker("")? else {
        return skip("docker-registry is not installed");
    };
    let mut daemon = Daemon::start()?;
    let name = format!("{}/big:1", registry.address());
    let id = import(&daemon, &name)?;
    let mut push = daemon
        .command(["push", &name])?
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    // It has begun when the first line is there.
    let mut line = String::new();
    let output = push.stdout.take().context("output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    daemon.crash()?;
    push.wait()?;
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc"])?, id);
    let pushed = daemon.ok(&["push", &name])?;
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");
    daemon.ok(&["rmi", "-f", &id])?;
    daemon.ok(&["pull", "-q", &name])?;
    assert_eq!(daemon.ok(&["run", "--rm", &name, "echo", "whole"])?, "whole");
    daemon.finish()
}

#[test]
fn skopeo_reads_what_save_wrote() -> Result<()> {
    if !has("skopeo") {
        return skip("skopeo is not installed");
    }
    let daemon = Daemon::start()?;
    let id = import(&daemon, "saved:1")?;
    let file = daemon.directory().join("saved.tar");
    let file = file.to_str().context("path")?;
    daemon.ok(&["save", "-o", file, "saved:1"])?;
    for transport in ["docker-archive", "oci-archive"] {
        let again = daemon.directory().join(format!("{transport}.tar"));
        let again = again.to_str().context("path")?;
        // Each as its own kind: skopeo writes another configuration when it changes the kind.
        let (source, target) = match transport {
            "docker-archive" => (
                format!("docker-archive:{file}"),
                format!("docker-archive:{again}:again:1"),
            ),
            _ => (
                format!("oci-archive:{file}:1"),
                format!("oci-archive:{again}:again:1"),
            ),
        };
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", &source, &target]);
        command::run(&mut copy, b"")?.expect(0)?;
        daemon.ok(&["rmi", "-f", &id])?;
        daemon.ok(&["load", "-i", again])?;
        assert_eq!(daemon.ok(&["images", "-q", "--no-trunc"])?, id, "{transport}");
        assert_eq!(daemon.ok(&["run", "--rm", &id, "echo", "loaded"])?, "loaded");
    }
    daemon.finish()
}
