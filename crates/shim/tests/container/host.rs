//! What every test needs: a directory, a root file system, a zygote, and a container in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oci::rootfs::Rootfs;
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMappingBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, MountBuilder, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use shim_api::client::{Attach, Events, ShimConnection, Started, Zygote, ZygoteOptions, stream_pair};
use shim_api::message::{AttachOptions, Event};
use shim_api::task::{ExitRecord, LogConfig, RestartPolicy, Task};
use tokio::net::UnixStream;

/// One container's surroundings; everything is removed when the test ends.
pub(crate) struct Host {
    pub(crate) directory: PathBuf,
    pub(crate) id: String,
    zygote: Option<Zygote>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Host {
    pub(crate) async fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("berth-shim-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        for part in [
            "root/bin",
            "root/dev",
            "root/proc",
            "root/sys",
            "root/tmp",
            "root/etc",
            "shim",
        ] {
            std::fs::create_dir_all(directory.join(part)).unwrap();
        }
        std::fs::copy("/bin/busybox", directory.join("root/bin/busybox")).unwrap();
        for applet in [
            "sh", "true", "echo", "cat", "sleep", "stty", "seq", "head", "kill", "test", "yes", "dd", "id",
        ] {
            std::os::unix::fs::symlink("busybox", directory.join("root/bin").join(applet)).unwrap();
        }
        let mut host = Self {
            directory,
            id: format!("{:x<64}", format!("{}{number}", std::process::id())),
            zygote: None,
        };
        host.start_zygote().await;
        host
    }

    /// Starts a zygote, as a new daemon does.
    pub(crate) async fn start_zygote(&mut self) {
        let options = ZygoteOptions {
            executable: shim_executable(),
            socket_directory: self.directory.join("shim"),
        };
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&options.socket_directory, permissions).unwrap();
        self.zygote = Some(Zygote::spawn(&options).await.unwrap());
    }

    /// Ends the zygote, as the daemon's death does.
    pub(crate) fn stop_zygote(&mut self) {
        self.zygote = None;
    }

    pub(crate) fn zygote_pid(&self) -> u32 {
        self.zygote.as_ref().unwrap().pid().unsigned_abs()
    }

    pub(crate) async fn new_shim(&self) -> ShimConnection {
        self.zygote.as_ref().unwrap().new_shim().await.unwrap()
    }

    pub(crate) fn cgroup_path(&self) -> String {
        format!("/berth-test-{}/{}", std::process::id(), self.id)
    }

    /// Returns a task that runs `script` in a shell.
    pub(crate) fn task(&self, script: &str) -> Box<Task> {
        let task = Task {
            id: self.id.clone(),
            spec: self.spec(script),
            rootfs: Rootfs::Directory {
                path: self.directory.join("root"),
                idmap: false,
            },
            user: None,
            groups: Vec::new(),
            seccomp_filter: None,
            joined: Vec::new(),
            keep: None,
            network: None,
            init: false,
            stdin: false,
            stdin_once: false,
            log: LogConfig {
                driver: "json-file".to_owned(),
                path: self.log(),
                options: Default::default(),
                attributes: Default::default(),
            },
            restart: RestartPolicy::No,
            auto_remove: true,
            socket: self.socket(),
            exit_record: self.directory.join("exit.json"),
            document: self.directory.join("task.json"),
        };
        Box::new(task)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("shim").join("s")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("container.log")
    }

    /// Writes the document, as the engine does before each start.
    pub(crate) fn write_document(&self, task: &Task) {
        let bytes = serde_json::to_vec(task).unwrap();
        base::file::write_atomic(&task.document, &bytes, 0o600, base::file::Durability::Crash).unwrap();
    }

    pub(crate) fn exit_record(&self) -> Option<ExitRecord> {
        let bytes = base::file::read_optional(&self.directory.join("exit.json"), 1 << 20).unwrap()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Returns the text of the log.
    pub(crate) fn logged(&self) -> String {
        let options = logs::reader::ReadOptions {
            tail: None,
            since: None,
            until: None,
            follow: false,
            stdout: true,
            stderr: true,
        };
        let mut reader = logs::reader::Reader::open(&self.log(), "json-file", options).unwrap();
        let mut text = String::new();
        while let logs::reader::Step::Record(record) = reader.step().unwrap() {
            text += &String::from_utf8_lossy(&record.line);
        }
        text
    }

    fn spec(&self, script: &str) -> Spec {
        let namespaces = [
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Cgroup,
        ]
        .map(|typ| LinuxNamespaceBuilder::default().typ(typ).build().unwrap());
        let linux = LinuxBuilder::default()
            .namespaces(namespaces)
            .cgroups_path(PathBuf::from(self.cgroup_path()))
            .build()
            .unwrap();
        let mount = |typ: &str, destination: &str| {
            MountBuilder::default()
                .typ(typ)
                .source(typ)
                .destination(destination)
                .build()
                .unwrap()
        };
        let devpts = MountBuilder::default()
            .typ("devpts")
            .source("devpts")
            .destination("/dev/pts")
            .options(["newinstance", "ptmxmode=0666", "mode=0620"].map(str::to_owned))
            .build()
            .unwrap();
        let mut spec = SpecBuilder::default()
            .root(RootBuilder::default().path("root").build().unwrap())
            .process(process(script))
            .mounts([mount("proc", "/proc"), mount("tmpfs", "/dev"), devpts])
            .hostname("test")
            .build()
            .unwrap();
        spec.set_linux(Some(linux));
        spec
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.zygote = None;
        if let Ok(layout) = cgroup::Layout::detect() {
            cgroup::Cgroup::remove_path(&layout, &self.cgroup_path(), Duration::from_secs(5)).ok();
            for hierarchy in layout.hierarchies() {
                // Only when no other test of this process has a group in it.
                let parent = format!("berth-test-{}", std::process::id());
                std::fs::remove_dir(hierarchy.mount_point().join(parent)).ok();
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a directory of the test's own, with no mounts in it"
        )]
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Returns a process that runs `script` in a shell.
pub(crate) fn process(script: &str) -> Process {
    ProcessBuilder::default()
        .args(["/bin/sh", "-c", script].map(str::to_owned))
        .env(["PATH=/bin".to_owned()])
        .cwd("/")
        .user(UserBuilder::default().uid(0u32).gid(0u32).build().unwrap())
        .build()
        .unwrap()
}

/// Gives the container a user namespace of its own, as the engine does.
pub(crate) fn own_user_namespace(host: &Host, task: &mut Task) {
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(0u32)
        .host_id(700_000u32)
        .size(65_536u32)
        .build()
        .unwrap();
    let linux = task.spec.linux_mut().as_mut().unwrap();
    linux.set_uid_mappings(Some(vec![mapping]));
    linux.set_gid_mappings(Some(vec![mapping]));
    let user = LinuxNamespaceBuilder::default()
        .typ(LinuxNamespaceType::User)
        .build()
        .unwrap();
    linux.namespaces_mut().as_mut().unwrap().push(user);
    task.rootfs = Rootfs::Directory {
        path: host.directory.join("root"),
        idmap: true,
    };
}

/// Returns the example `berth-shim`, built with these tests.
fn shim_executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/berth-shim");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// Asks for every stream.
pub(crate) fn all() -> AttachOptions {
    AttachOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        detach_keys: vec![16, 17],
    }
}

/// Returns a client's end and what goes to the shim.
pub(crate) fn client(options: AttachOptions) -> (UnixStream, Attach) {
    let (ours, stream) = stream_pair().unwrap();
    (ours, Attach { options, stream })
}

/// Starts `task` with the given clients and subscribes.
pub(crate) async fn start(
    host: &Host,
    task: Box<Task>,
    attaches: Vec<Attach>,
) -> (ShimConnection, Events, Started) {
    host.write_document(&task);
    let shim = host.new_shim().await;
    let events = shim.subscribe().await.unwrap();
    let started = shim.start(task, attaches, None, 0).await.unwrap();
    (shim, events, started)
}

/// Returns the next event; a minute without one is a failure.
pub(crate) async fn next(events: &mut Events) -> Option<Event> {
    tokio::time::timeout(Duration::from_secs(60), events.next())
        .await
        .expect("an event")
}

/// Waits for the container's end.
pub(crate) async fn exited(events: &mut Events) -> ExitRecord {
    loop {
        match next(events).await.expect("the shim lives") {
            Event::Exited { record } => return record,
            Event::Running { .. }
            | Event::OutOfMemory
            | Event::Restarting { .. }
            | Event::ExecExited { .. } => {}
        }
    }
}

/// Waits for the end of an exec.
pub(crate) async fn exec_exited(events: &mut Events, id: &str) -> u8 {
    loop {
        match next(events).await.expect("the shim lives") {
            Event::ExecExited { exec_id, code } if exec_id == id => return code,
            _ => {}
        }
    }
}

/// Reads a client's stream to its end.
pub(crate) async fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("the end of the stream")
        .unwrap();
    bytes
}

/// Reads a client's stream until `text` was seen.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) -> String {
    use tokio::io::AsyncReadExt;
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer);
        let count = tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .unwrap_or_else(|_| panic!("\"{text}\" after {seen:?}"))
            .unwrap();
        assert!(count > 0, "the end came before \"{text}\", after {seen:?}");
        seen += &String::from_utf8_lossy(&buffer[..count]);
    }
    seen
}

/// Takes Docker's frames apart: stdout's bytes and stderr's.
pub(crate) fn split(bytes: &[u8]) -> (String, String) {
    let [stdout, stderr] = split_bytes(bytes).map(|bytes| String::from_utf8(bytes).unwrap());
    (stdout, stderr)
}

/// As [`split`], for bytes that are no text.
fn split_bytes(mut bytes: &[u8]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes(header[4..].try_into().unwrap());
        let (payload, rest) = rest.split_at(usize::try_from(length).unwrap());
        streams[usize::from(header[0] - 1)].extend_from_slice(payload);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    streams
}

/// Returns how much of each mapping of a process is private, in KiB, largest first.
pub(crate) fn private_mappings(pid: i32) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut mappings: Vec<(u64, String)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first.ends_with(':') {
            if let (true, Some(last)) = (first.starts_with("Private_"), mappings.last_mut()) {
                last.0 += words
                    .next()
                    .and_then(|size| size.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        } else {
            mappings.push((0, line.to_owned()));
        }
    }
    mappings.retain(|(size, _)| *size > 0);
    mappings.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    mappings
}

/// Returns the private memory of a process in KiB, from `smaps_rollup` (proc(5)).
pub(crate) fn private_memory(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

/// Returns whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// Kills a process of this test.
pub(crate) fn kill(pid: i32) {
    let status = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until `condition` holds; a minute is a failure.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
