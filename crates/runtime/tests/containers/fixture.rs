//! A busybox root, a document, and a run with its output.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::rootfs::Rootfs;
use oci_spec::runtime::Spec;
use runtime::{BindIds, CreateError, CreateRequest, Created, Gate, MissingCapabilities, Stdio, create};
use serde_json::{Value, json};
use sys::path::Root;

/// The first host id of the tests' containers.
pub(crate) const BASE: u32 = 0x3000_0000;

/// A directory with a busybox root, removed at the end.
pub(crate) struct Scratch {
    parent: Root,
    name: String,
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = std::env::temp_dir();
        let parent = Root::open(&directory).unwrap();
        let name = format!("berth-runtime-{}", base::id::random_hex::<8>().unwrap());
        let path = directory.join(&name);
        for part in [
            "lower/bin",
            "lower/etc",
            "lower/root",
            "lower/tmp",
            "upper",
            "work",
        ] {
            drop(parent.mkdir_all(format!("{name}/{part}"), 0o755).unwrap());
        }
        let scratch = Self { parent, name, path };
        std::fs::copy("/bin/busybox", scratch.path.join("lower/bin/busybox")).unwrap();
        let root = scratch.root();
        for applet in [
            "sh", "cat", "id", "ls", "stat", "true", "false", "sleep", "mount", "umount", "unshare", "env",
            "hostname", "readlink",
        ] {
            root.symlink("busybox", format!("bin/{applet}")).unwrap();
        }
        scratch.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
        );
        scratch.file("etc/group", "root:x:0:\nwheel:x:10:root,alice\nalice:x:1000:\n");
        scratch
    }

    /// The image's tree.
    pub(crate) fn root(&self) -> Root {
        Root::open(self.path.join("lower")).unwrap()
    }

    /// Puts a file into the image.
    pub(crate) fn file(&self, path: &str, content: &str) {
        let file = self.root().create_file(path, 0o644).unwrap();
        rustix::io::write(&file, content.as_bytes()).unwrap();
    }

    pub(crate) fn overlay(&self, idmap: bool) -> Rootfs {
        let ids = if idmap { BASE } else { 0 };
        for directory in ["upper", "work"] {
            std::os::unix::fs::chown(self.path.join(directory), Some(ids), Some(ids)).unwrap();
        }
        Rootfs::Overlay {
            lowers: vec![self.path.join("lower")],
            upper: self.path.join("upper"),
            work: self.path.join("work"),
            idmap,
            volatile: true,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.parent.remove_all(&self.name).unwrap();
    }
}

/// A document as docker's clients get it, with every namespace but the user's.
pub(crate) fn document(arguments: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": arguments,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": capabilities(&DOCKER),
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" },
                { "type": "cgroup" },
            ],
            "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap", "/proc/interrupts"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

pub(crate) const DOCKER: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

pub(crate) fn capabilities(names: &[&str]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names })
}

/// The document with a user namespace of its own.
pub(crate) fn with_user_namespace(mut document: Value) -> Value {
    let linux = &mut document["linux"];
    linux["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": BASE, "size": 65536 }]);
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
    document
}

pub(crate) fn spec(document: &Value) -> Spec {
    serde_json::from_value(document.clone()).unwrap()
}

/// What a container said and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) code: u8,
    pub(crate) warnings: Vec<String>,
}

/// The request that the tests begin with.
pub(crate) fn request<'a>(spec: &'a Spec, rootfs: &'a Rootfs, stdio: Stdio) -> CreateRequest<'a> {
    CreateRequest {
        id: "test",
        spec,
        rootfs,
        user: None,
        groups: &[],
        seccomp_filter: None,
        init: false,
        stdio,
        gate: Gate::Immediately,
        cgroup: None,
        bundle: Path::new("/"),
        preserve_fds: 0,
        parent_death_signal: Some(libc::SIGKILL),
        missing_capabilities: MissingCapabilities::Drop,
        bind_ids: BindIds::Idmapped,
        plug: None,
        pins: &[],
    }
}

/// Standard streams with output into a pipe, whose other end is returned.
pub(crate) fn piped() -> (Stdio, OwnedFd) {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdio = Stdio::Fds {
        stdin: null,
        stdout: writer.try_clone().unwrap(),
        stderr: writer,
    };
    (stdio, reader)
}

pub(crate) fn read_all(reader: OwnedFd) -> String {
    let mut output = Vec::new();
    // A terminal's master ends with EIO.
    drop(std::fs::File::from(reader).read_to_end(&mut output));
    String::from_utf8_lossy(&output).into_owned()
}

/// Waits for the end of a container.
pub(crate) fn finish(created: Created, reader: OwnedFd) -> Outcome {
    let output = read_all(reader);
    let ended = sys::process::wait_pidfd(created.pidfd.as_fd()).unwrap();
    Outcome {
        output,
        code: ended.code(),
        warnings: created.warnings,
    }
}

/// Runs a container whose request was changed by `change`.
pub(crate) fn run_with(
    document: &Value,
    rootfs: &Rootfs,
    change: impl FnOnce(&mut CreateRequest<'_>),
) -> Result<Outcome, CreateError> {
    let spec = spec(document);
    let (stdio, reader) = piped();
    let mut request = request(&spec, rootfs, stdio);
    change(&mut request);
    let created = create(request)?;
    Ok(finish(created, reader))
}

pub(crate) fn run(document: &Value, rootfs: &Rootfs) -> Result<Outcome, CreateError> {
    run_with(document, rootfs, |_| {})
}

/// Runs a shell script in a container with a user namespace and idmapped layers; it must succeed.
pub(crate) fn script(text: &str) -> String {
    let scratch = Scratch::new();
    let outcome = run(
        &with_user_namespace(document(&["sh", "-c", text])),
        &scratch.overlay(true),
    )
    .unwrap();
    assert_eq!(outcome.code, 0, "{}", outcome.output);
    outcome.output
}
