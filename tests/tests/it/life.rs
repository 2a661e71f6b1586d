//! The life of a container: create, start, stop, kill, restart, wait, rm, ps, inspect.

use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::Daemon;

#[test]
fn created_started_exited_removed() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&[
        "create",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo hello; exit 3",
    ])?;
    assert_eq!(daemon.inspect("c1", "{{.State.Status}}")?, "created");
    assert_eq!(daemon.ok(&["start", "c1"])?, "c1");
    assert_eq!(daemon.ok(&["wait", "c1"])?, "3");
    assert_eq!(
        daemon.inspect("c1", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}")?,
        "exited 3 0"
    );
    assert_eq!(daemon.ok(&["logs", "c1"])?, "hello");
    let status = daemon.ok(&[
        "ps",
        "-a",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.Image}} {{.Names}} {{.State}}",
    ])?;
    assert_eq!(status, format!("{id} busybox c1 exited"));
    assert_eq!(daemon.ok(&["rm", "c1"])?, "c1");
    daemon.finish()
}

#[test]
fn start_attached_gives_output_and_code() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "create",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo again; exit 4",
    ])?;
    for _ in 0..2 {
        let output = daemon.berth(&["start", "--attach", "c1"])?.expect(4)?;
        assert_eq!(output.stdout, "again\n");
    }
    daemon.finish()
}

#[test]
fn files_survive_stop_and_start() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&["exec", "c1", "sh", "-c", "echo kept > /kept"])?;
    daemon.ok(&["stop", "-t", "0", "c1"])?;
    daemon.ok(&["start", "c1"])?;
    assert_eq!(daemon.ok(&["exec", "c1", "cat", "/kept"])?, "kept");
    daemon.finish()
}

#[test]
fn starting_twice_and_stopping_twice_is_fine() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&["start", "c1"])?;
    daemon.ok(&["stop", "-t", "0", "c1"])?;
    daemon.ok(&["stop", "-t", "0", "c1"])?;
    daemon.finish()
}

#[test]
fn stop_sends_the_signal_then_kills() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let polite = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    daemon.ok(&["run", "-d", "--name", "polite", "busybox", "sh", "-c", polite])?;
    daemon.wait_for_log("polite", "ready")?;
    assert_eq!(daemon.ok(&["stop", "polite"])?, "polite");
    assert_eq!(daemon.inspect("polite", "{{.State.ExitCode}}")?, "7");
    assert!(daemon.ok(&["logs", "polite"])?.ends_with("bye"));

    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; echo ready; sleep 1000",
    ])?;
    daemon.wait_for_log("deaf", "ready")?;
    let start = Instant::now();
    daemon.ok(&["stop", "-t", "1", "deaf"])?;
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
    assert_eq!(daemon.inspect("deaf", "{{.State.ExitCode}}")?, "137");
    daemon.finish()
}

#[test]
fn stop_signal_of_the_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--stop-signal",
        "USR1",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    daemon.wait_for_log("c1", "ready")?;
    daemon.ok(&["stop", "c1"])?;
    assert_eq!(daemon.inspect("c1", "{{.State.ExitCode}}")?, "9");
    daemon.finish()
}

#[test]
fn kill_sends_any_signal() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "trap 'echo got it' HUP; echo ready; while :; do sleep 0.05; done";
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", program])?;
    daemon.wait_for_log("c1", "ready")?;
    for spelling in ["HUP", "SIGHUP", "1"] {
        daemon.ok(&["kill", "-s", spelling, "c1"])?;
    }
    daemon.wait_for_log("c1", "got it")?;
    let output = daemon.berth(&["kill", "-s", "NOSUCH", "c1"])?.expect(1)?;
    assert!(output.stderr.contains("NOSUCH"), "{}", output.stderr);
    daemon.ok(&["kill", "c1"])?;
    assert_eq!(daemon.ok(&["wait", "c1"])?, "137");
    let output = daemon.berth(&["kill", "c1"])?.expect(1)?;
    assert!(output.stderr.contains("is not running"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn restart_keeps_the_id_and_counts_time_anew() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let first = daemon.inspect("c1", "{{.State.StartedAt}}")?;
    daemon.ok(&["restart", "-t", "0", "c1"])?;
    assert_eq!(
        daemon.inspect("c1", "{{.Id}} {{.State.Running}}")?,
        format!("{id} true")
    );
    assert_ne!(daemon.inspect("c1", "{{.State.StartedAt}}")?, first);
    daemon.finish()
}

#[test]
fn running_container_is_removed_only_by_force() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let output = daemon.berth(&["rm", "c1"])?.expect(1)?;
    assert!(
        output.stderr.contains("container is running"),
        "{}",
        output.stderr
    );
    daemon.ok(&["rm", "-f", "c1"])?;
    let output = daemon.berth(&["rm", "c1"])?.expect(1)?;
    assert!(
        output.stderr.contains("No such container: c1"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn wait_waits() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let mut waiting = daemon.command(["wait", "c1"])?;
    let child = waiting.stdout(std::process::Stdio::piped()).spawn()?;
    daemon.ok(&["kill", "-s", "KILL", "c1"])?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "137\n");
    daemon.finish()
}

#[test]
fn several_containers_in_one_command() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for name in ["a1", "b1"] {
        daemon.ok(&["create", "--name", name, "busybox", "sleep", "1000"])?;
    }
    assert_eq!(daemon.ok(&["start", "a1", "b1"])?, "a1\nb1");
    assert_eq!(daemon.ok(&["stop", "-t", "0", "a1", "b1"])?, "a1\nb1");
    let output = daemon.berth(&["rm", "a1", "missing", "b1"])?.expect(1)?;
    assert_eq!(output.stdout, "a1\nb1\n");
    assert!(
        output.stderr.contains("No such container: missing"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn ps_filters_and_formats() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "1000"])?;
    daemon
        .ok(&["run", "--name", "down", "busybox", "sh", "-c", "exit 5"])
        .ok();
    let names = |arguments: &[&str]| daemon.ok(&[&["ps", "--format", "{{.Names}}"][..], arguments].concat());
    assert_eq!(names(&[])?, "up");
    assert_eq!(names(&["-a"])?, "down\nup", "newest first");
    assert_eq!(names(&["-a", "--filter", "status=exited"])?, "down");
    assert_eq!(names(&["-a", "--filter", "exited=5"])?, "down");
    assert_eq!(names(&["-a", "--filter", "name=^/?up$"])?, "up");
    assert_eq!(names(&["-a", "-n", "1"])?, "down");
    assert_eq!(names(&["-a", "--filter", "ancestor=busybox"])?, "down\nup");
    let table = daemon.ok(&["ps"])?;
    let head: Vec<_> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        head,
        [
            "CONTAINER",
            "ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES"
        ]
    );
    assert!(
        table.contains("\"sleep 1000\"") && table.contains("Up "),
        "{table}"
    );
    assert!(daemon.ok(&["ps", "-a"])?.contains("Exited (5)"));
    daemon.finish()
}

#[test]
fn a_start_that_fails_can_be_tried_again_and_leaves_nothing() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "--name", "c1", "busybox", "/appears/later"])?;
    let output = daemon.berth(&["start", "c1"])?.expect(1)?;
    assert!(output.stderr.contains("/appears/later"), "{}", output.stderr);
    assert_eq!(
        daemon.inspect("c1", "{{.State.Running}} {{.State.ExitCode}}")?,
        "false 127"
    );
    assert!(testkit::residue::cgroups(daemon.place())?.is_empty());
    assert!(testkit::residue::mounts(daemon.place())?.is_empty());
    daemon.finish()
}

#[test]
fn attach_joins_a_running_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "echo before; read line; echo \"got $line\"; exit 6";
    daemon.ok(&["run", "-d", "-i", "--name", "c1", "busybox", "sh", "-c", program])?;
    daemon.wait_for_log("c1", "before")?;
    let output = daemon
        .berth_with(&["attach", "c1"], b"from attach\n")?
        .expect(6)?;
    assert_eq!(output.stdout, "got from attach\n");
    daemon.finish()
}

#[test]
fn many_at_once() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || -> Result<()> {
                    for turn in 0..4 {
                        let word = format!("{client}-{turn}");
                        assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", &word])?, word);
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    daemon.finish()
}

#[test]
fn info_and_version_tell_who_answers() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "busybox", "true"])?;
    assert_eq!(
        daemon.ok(&["info", "--format", "{{.Containers}} {{.Images}}"])?,
        "1 1"
    );
    assert!(
        daemon
            .ok(&["version", "--format", "{{.Server.APIVersion}}"])?
            .starts_with("1.")
    );
    daemon.finish()
}

#[test]
fn pause_freezes_and_unpause_goes_on() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", program])?;
    daemon.wait_for_log("c1", "5")?;
    daemon.ok(&["pause", "c1"])?;
    assert_eq!(
        daemon.inspect("c1", "{{.State.Status}} {{.State.Paused}}")?,
        "paused true"
    );
    assert!(daemon.ok(&["ps"])?.contains("(Paused)"));
    let output = daemon.berth(&["exec", "c1", "true"])?.expect(1)?;
    assert!(output.stderr.contains("paused"), "{}", output.stderr);
    let frozen = daemon.ok(&["logs", "c1"])?;
    let start = Instant::now();
    testkit::until("time to pass", Duration::from_secs(2), || {
        Ok(start.elapsed() > Duration::from_millis(100))
    })?;
    assert_eq!(daemon.ok(&["logs", "c1"])?, frozen);
    daemon.ok(&["unpause", "c1"])?;
    testkit::until("the log to go on", Duration::from_secs(5), || {
        Ok(daemon.ok(&["logs", "c1"])? != frozen)
    })?;
    daemon.ok(&["pause", "c1"])?;
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.finish()
}

#[test]
fn rename_moves_the_name() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["create", "--name", "old", "busybox", "true"])?;
    daemon.ok(&["create", "--name", "taken", "busybox", "true"])?;
    let output = daemon.berth(&["rename", "old", "taken"])?.expect(1)?;
    assert!(output.stderr.contains("already in use"), "{}", output.stderr);
    daemon.ok(&["rename", "old", "new"])?;
    assert_eq!(daemon.inspect("new", "{{.Id}} {{.Name}}")?, format!("{id} /new"));
    daemon.berth(&["inspect", "old"])?.expect(1)?;
    daemon.ok(&["create", "--name", "old", "busybox", "true"])?;
    daemon.finish()
}

#[test]
fn top_lists_processes_with_their_outside_pids() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "4242"])?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let text = daemon.ok(&["top", "c1"])?;
    assert!(text.contains("sleep 4242") && text.contains(&pid), "{text}");
    daemon.finish()
}

#[test]
fn events_tell_what_happened_in_order() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--rm", "--name", "c1", "busybox", "true"])?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs()
        + 1;
    let until = now.to_string();
    let filters = ["--filter", "type=container", "--filter", "container=c1"];
    let flags = ["--since", "0", "--until", &until, "--format", "{{.Action}}"];
    let text = daemon.ok(&[&["events"][..], &flags, &filters].concat())?;
    let actions: Vec<_> = text.lines().filter(|action| *action != "attach").collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    daemon.finish()
}

#[test]
fn stats_once() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run", "-d", "--name", "c1", "-m", "64m", "busybox", "sleep", "1000",
    ])?;
    let text = daemon.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.MemUsage}} {{.PIDs}}",
        "c1",
    ])?;
    assert!(
        text.starts_with("c1 ") && text.contains("/ 64MiB") && text.ends_with(" 1"),
        "{text}"
    );
    daemon.finish()
}

#[test]
fn ps_filters_as_docker_does() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let create = |name: &str, flags: &[&str]| {
        daemon.ok(&[&["create", "--name", name][..], flags, &["busybox", "true"]].concat())
    };
    create("web1", &["--label", "tier=front"])?;
    create("web2", &["--label", "tier=back", "-v", "data:/data"])?;
    create("old-web", &["--network", "host"])?;
    daemon.ok(&["run", "--name", "fails", "busybox", "true"])?;
    let names = |filters: &[&str]| -> Result<String> {
        let mut arguments = vec!["ps", "-a", "--format", "{{.Names}}"];
        for filter in filters {
            arguments.extend(["--filter", filter]);
        }
        let mut names: Vec<String> = daemon.ok(&arguments)?.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names.join(" "))
    };
    let id = daemon.inspect("web2", "{{.Id}}")?;
    let by_id = format!("id={}", &id[..8]);
    for (filters, expected) in [
        (&["name=web"][..], "old-web web1 web2"),
        (&["name=^/web"], "web1 web2"),
        (&["name=^web[0-9]$"], "web1 web2"),
        (&["name=^(web1|fails)$"], "fails web1"),
        (&["name=web1", "name=fails"], "fails web1"),
        (&["name=we("], ""),
        (&[&by_id], "web2"),
        (&["label=tier"], "web1 web2"),
        (&["label=tier", "label=tier=back"], "web2"),
        (&["status=exited"], "fails"),
        (&["status=created", "name=1"], "web1"),
        (&["exited=0"], "fails"),
        (&["exited=1"], ""),
        (&["ancestor=busybox"], "fails old-web web1 web2"),
        (&["ancestor=other"], ""),
        (&["before=web2"], "web1"),
        (&["since=web2"], "fails old-web"),
        (&["volume=data"], "web2"),
        (&["volume=/data"], "web2"),
        (&["network=host"], "old-web"),
    ] {
        assert_eq!(names(filters)?, expected, "{filters:?}");
    }
    let output = daemon.berth(&["ps", "--filter", "before=nobody"])?.expect(1)?;
    assert!(
        output.stderr.contains("No such container: nobody"),
        "{}",
        output.stderr
    );
    let output = daemon.berth(&["ps", "--filter", "what=ever"])?.expect(1)?;
    assert!(
        output.stderr.contains("invalid filter 'what'"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn templates_take_the_names_that_docker_has() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let version = daemon.ok(&[
        "version",
        "--format",
        "{{.Server.APIVersion}} {{.Server.ApiVersion}} {{.Server.MinAPIVersion}} {{.Client.APIVersion}} \
         {{.Server.Os}}{{.Server.GitCommit}}{{.Server.BuildTime}}",
    ])?;
    assert!(version.starts_with("1.50 1.50 1.24 1.50 linux"), "{version}");
    let info = daemon.ok(&[
        "info",
        "--format",
        "{{.ServerVersion}} {{.Driver}} {{.CgroupVersion}} {{.NCPU}} {{.CPUCfsQuota}} {{index .CgroupControllers \"pids\"}}",
    ])?;
    assert!(info.ends_with(" v1") || info.ends_with(" v2"), "{info}");
    daemon.ok(&["create", "--name", "c1", "--cpus", "0.5", "busybox", "true"])?;
    assert_eq!(
        daemon.inspect("c1", "{{.HostConfig.NanoCPUs}} {{.HostConfig.NanoCpus}}")?,
        "500000000 500000000"
    );
    assert_eq!(daemon.inspect("c1", "{{.ID}}")?, daemon.inspect("c1", "{{.Id}}")?);
    daemon.ok(&["volume", "create", "data"])?;
    let created = daemon.ok(&["volume", "inspect", "-f", "{{.CreatedAt}}", "data"])?;
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    daemon.finish()
}
