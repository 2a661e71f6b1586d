//! Whole lives of containers through the command line; needs root and a static busybox.
//!
//! This program is its own `berth oci`: called with `oci` as first argument it is the runtime.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program without harness"
)]

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == "oci").is_some() {
        return runtime_cli::main(args);
    }
    let tests: [Test; 7] = [
        ("created_started_killed_deleted", created_started_killed_deleted),
        (
            "run_gives_the_exit_code_and_leaves_nothing",
            run_gives_the_exit_code_and_leaves_nothing,
        ),
        (
            "exec_joins_and_gives_its_own_exit_code",
            exec_joins_and_gives_its_own_exit_code,
        ),
        ("pause_update_events", pause_update_events),
        (
            "the_terminal_goes_through_the_console_socket",
            the_terminal_goes_through_the_console_socket,
        ),
        (
            "failures_are_logged_and_leave_nothing",
            failures_are_logged_and_leave_nothing,
        ),
        (
            "rt_15_a_profile_in_the_document_is_in_force",
            rt_15_a_profile_in_the_document_is_in_force,
        ),
    ];
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    // The protocol of the standard harness, which nextest speaks: it lists, then runs each test alone.
    if has("--list") {
        for (name, _) in tests.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    for (name, test) in tests {
        if filter.as_ref().is_none_or(|filter| {
            if has("--exact") {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        }) {
            test(&Host::new(name));
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

type Test = (&'static str, fn(&Host));

/// A state directory, a bundle and a cgroup parent of a test's own.
struct Host {
    directory: tempfile::TempDir,
    cgroups: String,
}

impl Host {
    fn new(test: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bundle/rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for directory_in_root in ["proc", "sys", "dev", "tmp"] {
            std::fs::create_dir(directory.path().join("bundle/rootfs").join(directory_in_root)).unwrap();
        }
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in ["sh", "cat", "sleep", "echo", "true", "id", "mkdir"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let host = Self {
            directory,
            cgroups: format!("/berth-test-{}-{test}", std::process::id()),
        };
        host.write_document("echo hello", |_| ());
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a document that runs `script`, after `change`.
    #[expect(clippy::disallowed_methods, reason = "a scratch file of the test")]
    fn write_document(&self, script: &str, change: impl FnOnce(&mut Value)) {
        let capabilities = json!(["CAP_KILL", "CAP_CHOWN"]);
        let mut document = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh", "-c", script],
                "env": ["PATH=/bin", "TERM=xterm"], "noNewPrivileges": true,
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            },
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "life",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": format!("{}/c", self.cgroups),
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                               {"type": "cgroup"}],
                "resources": {"pids": {"limit": 50}},
            },
        });
        change(&mut document);
        std::fs::write(self.path("bundle/config.json"), document.to_string()).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["oci", "--root"])
            .arg(self.path("state"))
            .args(["--log-format", "json", "--log"])
            .arg(self.path("log"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. Output of a container that stays goes to a file, not into our pipe.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().unwrap();
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code().unwrap(), text)
    }

    fn ok(&self, args: &[&str]) -> String {
        let (code, text) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    }

    fn create(&self, id: &str) {
        let output = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path("output"))
            .unwrap();
        let status = self
            .command(&["create", "--bundle"])
            .arg(self.path("bundle"))
            .arg("--pid-file")
            .arg(self.path("pid"))
            .arg(id)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.read("output"));
    }

    fn run_bundle(&self, id: &str) -> (i32, String) {
        let bundle = self.path("bundle");
        self.run(&["run", "--bundle", bundle.to_str().unwrap(), id])
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    /// Waits until the container has the state.
    fn wait_for(&self, id: &str, status: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.state(id)["status"] != status {
            assert!(std::time::Instant::now() < deadline, "{id} is not {status}");
            std::thread::yield_now();
        }
    }

    /// Nothing of any container is left.
    fn assert_empty(&self) {
        assert_eq!(self.ok(&["list", "--quiet"]), "");
        let left = std::fs::read_dir(self.path("state")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "state directories");
        let layout = cgroup::Layout::detect().unwrap();
        assert!(cgroup::Cgroup::open(&layout, &format!("{}/c", self.cgroups)).is_err());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let (_, ids) = self.run(&["list", "--quiet"]);
        for id in ids.lines() {
            self.run(&["delete", "--force", id]);
        }
        let layout = cgroup::Layout::detect().unwrap();
        cgroup::Cgroup::remove_path(&layout, &self.cgroups, std::time::Duration::from_secs(5)).unwrap();
    }
}

fn created_started_killed_deleted(host: &Host) {
    host.write_document("echo started; exec sleep 1000", |_| ());
    host.create("c");
    let state = host.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"].to_string(), host.read("pid"));
    assert_eq!(host.read("output"), "");
    let bundle = host.path("bundle");
    let (code, text) = host.run(&["create", "--bundle", bundle.to_str().unwrap(), "c"]);
    assert!(code == 1 && text.contains("already exists"), "{text}");

    host.ok(&["start", "c"]);
    assert_eq!(host.state("c")["status"], "running");
    assert_eq!(host.run(&["start", "c"]).0, 1);
    let (code, text) = host.run(&["delete", "c"]);
    assert!(code == 1 && text.contains("not stopped"), "{text}");
    assert_eq!(
        host.ok(&["ps", "--format", "json", "c"]).trim(),
        format!("[{}]", state["pid"])
    );
    assert!(host.ok(&["list"]).contains("running"));

    host.ok(&["kill", "c", "KILL"]);
    host.wait_for("c", "stopped");
    let (code, text) = host.run(&["kill", "c"]);
    assert!(code == 1 && text.contains("container not running"), "{text}");
    host.ok(&["delete", "c"]);
    host.assert_empty();
    assert_eq!(host.read("output"), "started\n");
    host.ok(&["delete", "--force", "c"]);

    host.create("c");
    host.ok(&["delete", "c"]);
    host.assert_empty();
    assert_eq!(host.read("output"), "started\n");
}

fn run_gives_the_exit_code_and_leaves_nothing(host: &Host) {
    host.write_document("cat /proc/self/cgroup; exit 7", |_| ());
    let (code, text) = host.run_bundle("c");
    assert_eq!(code, 7, "{text}");
    assert!(
        text.lines().all(|line| line.ends_with(":/")),
        "the cgroup namespace shows a root: {text}"
    );
    host.assert_empty();
    host.write_document("kill -9 $$", |_| ());
    // PID 1 cannot be killed from inside; the shell goes on to its end.
    assert_eq!(host.run_bundle("c").0, 0);
    host.assert_empty();
}

fn exec_joins_and_gives_its_own_exit_code(host: &Host) {
    host.write_document("exec sleep 1000", |_| ());
    host.create("c");
    host.ok(&["start", "c"]);
    let exec = |args: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(args);
        host.run(&all)
    };
    let (code, text) = exec(&["c", "sh", "-c", "cat /proc/1/comm; exit 3"]);
    assert_eq!((code, text.as_str()), (3, "sleep\n"));
    let (_, text) = exec(&[
        "--user",
        "5:6",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        "c",
        "sh",
        "-c",
        "id -u; id -g; echo $A; pwd",
    ]);
    assert_eq!(text, "5\n6\nb\n/tmp\n");
    let (code, text) = exec(&["c", "/no/such/program"]);
    assert!(
        code == 255 && text.contains("no such file or directory"),
        "{text}"
    );
    assert_eq!(exec(&["--apparmor", "x", "c", "true"]).0, 255);
    host.ok(&["kill", "--all", "c", "SIGKILL"]);
    host.wait_for("c", "stopped");
    assert_eq!(exec(&["c", "true"]).0, 255);
    host.ok(&["delete", "c"]);
    host.assert_empty();
}

fn pause_update_events(host: &Host) {
    host.write_document("exec sleep 1000", |_| ());
    host.create("c");
    host.ok(&["start", "c"]);
    host.ok(&["pause", "c"]);
    assert_eq!(host.state("c")["status"], "paused");
    assert_eq!(host.run(&["exec", "c", "true"]).0, 255);
    host.ok(&["resume", "c"]);
    assert_eq!(host.state("c")["status"], "running");
    assert_eq!(host.run(&["resume", "c"]).0, 1);
    host.ok(&["update", "--memory", "64m", "--pids-limit", "30", "c"]);
    let stats: Value = serde_json::from_str(&host.ok(&["events", "--stats", "c"])).unwrap();
    assert_eq!(stats["data"]["pids"], json!({"current": 1, "limit": 30}));
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 64 << 20);
    // A paused container can be deleted by force.
    host.ok(&["pause", "c"]);
    host.ok(&["delete", "--force", "c"]);
    host.assert_empty();
}

fn the_terminal_goes_through_the_console_socket(host: &Host) {
    host.write_document("echo on a terminal", |document| {
        document["process"]["terminal"] = json!(true);
    });
    let bundle = host.path("bundle");
    let bundle = bundle.to_str().unwrap();
    let (code, text) = host.run(&["create", "--bundle", bundle, "c"]);
    assert!(code == 1 && text.contains("console socket"), "{text}");
    let path = host.path("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    host.ok(&[
        "create",
        "--bundle",
        bundle,
        "--console-socket",
        path.to_str().unwrap(),
        "c",
    ]);
    let (stream, _) = listener.accept().unwrap();
    let mut fds: Vec<OwnedFd> = Vec::new();
    sys::socket::receive_with_fds(&stream, &mut [0; 4096], &mut fds).unwrap();
    let mut master = std::fs::File::from(fds.remove(0));
    host.ok(&["start", "c"]);
    let mut text = Vec::new();
    // The end of a terminal is EIO.
    drop(std::io::Read::read_to_end(&mut master, &mut text));
    assert_eq!(String::from_utf8_lossy(&text), "on a terminal\r\n");
    host.wait_for("c", "stopped");
    host.ok(&["delete", "c"]);
    host.assert_empty();
}

fn failures_are_logged_and_leave_nothing(host: &Host) {
    host.write_document("true", |document| {
        document["mounts"].as_array_mut().unwrap().push(
            json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}),
        );
    });
    let (code, _) = host.run_bundle("c");
    assert_eq!(code, 1);
    let log = host.read("log");
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"].as_str().unwrap().contains("/no/such/source"),
        "{line}"
    );
    assert!(line["time"].is_string());
    host.assert_empty();

    host.write_document("true", |document| {
        document["process"]["args"] = json!(["/no/such/program"]);
    });
    let (code, text) = host.run_bundle("c");
    assert!(code == 1 && text.contains("no such file or directory"), "{text}");
    host.assert_empty();

    host.write_document("true", |document| {
        document["linux"]["resources"]["network"] = json!({"classID": 5});
    });
    let (code, text) = host.run_bundle("c");
    assert!(code == 1 && text.contains("net_cls"), "{text}");
    host.assert_empty();

    for (args, part) in [
        (&["state", "nobody"][..], "does not exist"),
        (&["state", "../x"], "invalid container ID"),
        (&["frobnicate"], "unknown command"),
        (&["create", "--no-pivot", "c"], "--no-pivot is not supported"),
        (&["kill", "--frob", "c"], "--frob"),
        (&["create", "--bundle", "/no/such/bundle", "c"], "not found"),
    ] {
        let (code, text) = host.run(args);
        assert!(code == 1 && text.contains(part), "{args:?}: {text}");
    }
    assert!(host.run(&["--version"]).1.contains("spec: 1."));
    let features: Value = serde_json::from_str(&host.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    host.ok(&["spec", "--bundle", host.directory.path().to_str().unwrap()]);
    assert!(Path::new(&host.path("config.json")).is_file());
}

fn rt_15_a_profile_in_the_document_is_in_force(host: &Host) {
    host.write_document("mkdir /tmp/x; echo $?", |document| {
        document["root"]["readonly"] = json!(false);
        document["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
        });
    });
    let (code, text) = host.run_bundle("c");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    host.assert_empty();
}
