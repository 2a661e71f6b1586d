//! More processes in a running container.

use std::os::fd::AsFd;

use oci_spec::runtime::{Process, Spec};
use runtime::{CreateError, Created, ExecRequest, MissingCapabilities, Stdio, Step, create, exec};
use serde_json::{Value, json};

use crate::Test;
use crate::fixture::*;

pub(crate) const TESTS: &[Test] = &[
    ("exec_joins_everything", exec_joins_everything),
    ("exec_with_a_terminal", exec_with_a_terminal),
    ("exec_errors", exec_errors),
    ("exec_privileged", exec_privileged),
];

/// A container that runs until it is dropped.
struct Running {
    created: Created,
    spec: Spec,
    _scratch: Scratch,
}

impl Running {
    fn new(document: &Value, own_users: bool) -> Self {
        let scratch = Scratch::new();
        let spec = spec(document);
        let (stdio, _) = piped();
        let created = create(request(&spec, &scratch.overlay(own_users), stdio)).unwrap();
        Self {
            created,
            spec,
            _scratch: scratch,
        }
    }

    fn exec(
        &self,
        process: &Value,
        change: impl FnOnce(&mut ExecRequest<'_>),
    ) -> Result<Outcome, CreateError> {
        let process: Process = serde_json::from_value(process.clone()).unwrap();
        let (stdio, reader) = piped();
        let mut request = ExecRequest {
            target: self.created.pidfd.as_fd(),
            spec: &self.spec,
            process: &process,
            user: None,
            groups: &[],
            privileged: false,
            seccomp_filter: None,
            stdio,
            cgroup: None,
            preserve_fds: 0,
            parent_death_signal: Some(libc::SIGKILL),
            missing_capabilities: MissingCapabilities::Refuse,
        };
        change(&mut request);
        let mut created = exec(request)?;
        let reader = created.console.take().unwrap_or(reader);
        Ok(finish(created, reader))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        sys::signal::pidfd_send_signal(self.created.pidfd.as_fd(), libc::SIGKILL).unwrap();
        sys::process::wait_pidfd(self.created.pidfd.as_fd()).unwrap();
    }
}

fn process(arguments: &[&str]) -> Value {
    json!({
        "user": { "uid": 0, "gid": 0 },
        "args": arguments,
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": capabilities(&DOCKER),
    })
}

const LINKS: &str = "for n in mnt pid ipc uts net user cgroup; do readlink /proc/self/ns/$n; done";

fn exec_joins_everything() {
    for own_users in [true, false] {
        let mut document = document(&["sh", "-c", "while :; do sleep 1; done"]);
        if own_users {
            document = with_user_namespace(document);
        }
        let running = Running::new(&document, own_users);
        let own: Vec<_> = ["pid", "pid_for_children", "mnt"]
            .map(|link| std::fs::read_link(format!("/proc/self/ns/{link}")).unwrap())
            .into();
        let text =
            format!("{LINKS}; for n in mnt pid ipc uts net user cgroup; do readlink /proc/1/ns/$n; done");
        let mut root = process(&["sh", "-c", &text]);
        root["capabilities"] = capabilities(&["CAP_SYS_PTRACE"]);
        let output = running.exec(&root, |_| {}).unwrap().output;
        let lines: Vec<&str> = output.lines().collect();
        // The container's PID 1 has more capabilities, which hides its links from this one: docker's set is not enough.
        assert!(lines.len() >= 7, "{output}");
        for link in ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"] {
            let path = format!("/proc/{}/ns/{link}", running.created.pid.as_raw_nonzero());
            let expected = std::fs::read_link(path).unwrap();
            assert!(
                lines.contains(&expected.to_str().unwrap()),
                "{link} {expected:?}\n{output}"
            );
        }
        let again: Vec<_> = ["pid", "pid_for_children", "mnt"]
            .map(|link| std::fs::read_link(format!("/proc/self/ns/{link}")).unwrap())
            .into();
        assert_eq!(own, again);
        let outcome = running
            .exec(
                &process(&[
                    "sh",
                    "-c",
                    "id -u; id -G; echo $HOME; ls /proc/self/fd; cat /proc/self/stat",
                ]),
                |request| {
                    request.user = Some("alice");
                },
            )
            .unwrap();
        assert!(
            outcome
                .output
                .starts_with("1000\n1000 10\n/home/alice\n0\n1\n2\n3\n"),
            "{}",
            outcome.output
        );
        assert_eq!(
            running
                .exec(&process(&["sh", "-c", "exit 9"]), |_| {})
                .unwrap()
                .code,
            9
        );
    }
}

fn exec_with_a_terminal() {
    let running = Running::new(&with_user_namespace(document(&["sleep", "100"])), true);
    let outcome = running
        .exec(
            &process(&[
                "/bin/busybox",
                "sh",
                "-c",
                "/bin/busybox tty; /bin/busybox stty size",
            ]),
            |request| {
                request.stdio = Stdio::Terminal { size: Some((24, 80)) };
            },
        )
        .unwrap();
    assert_eq!(outcome.output, "/dev/pts/0\r\n24 80\r\n");
}

fn exec_errors() {
    let running = Running::new(&with_user_namespace(document(&["sleep", "100"])), true);
    let error = running.exec(&process(&["nothing"]), |_| {}).unwrap_err();
    assert_eq!((error.step(), error.errno()), (Step::Exec, libc::ENOENT));
    let mut outside = process(&["true"]);
    for number in 3..20 {
        outside["cwd"] = json!(format!("/proc/self/fd/{number}"));
        assert_eq!(running.exec(&outside, |_| {}).unwrap_err().step(), Step::Cwd);
    }
}

fn exec_privileged() {
    let running = Running::new(&with_user_namespace(document(&["sleep", "100"])), true);
    let outcome = running
        .exec(&process(&["cat", "/proc/self/status"]), |request| {
            request.privileged = true;
        })
        .unwrap();
    let eff = outcome
        .output
        .lines()
        .find(|line| line.starts_with("CapEff:"))
        .unwrap();
    assert!(eff.contains("1ff"), "{eff}");
}
