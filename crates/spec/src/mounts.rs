//! The mounts of a container: docker's default ones, and those that were asked for.

use serde_json::{Value, json};

/// A mount that the engine has resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A path of the host.
    Bind {
        /// The path on the host.
        source: String,
        /// The path inside.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
        /// Whether mounts below the source come along.
        recursive: bool,
        /// Whether mounts below a read-only bind are read-only too.
        read_only_recursive: bool,
        /// `rprivate`, `rslave`, …
        propagation: String,
        /// Whether the source holds the container's ids already, so that it needs no idmapped mount.
        plain_ids: bool,
    },
    /// Memory.
    Tmpfs {
        /// The path inside.
        target: String,
        /// Mount options beyond docker's `noexec,nosuid,nodev`.
        options: Vec<String>,
        /// Whether it is read-only.
        read_only: bool,
    },
}

impl Mount {
    /// Returns the path inside.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }

    pub(crate) fn to_oci(&self) -> Value {
        match self {
            Self::Bind {
                source,
                target,
                read_only,
                recursive,
                read_only_recursive,
                propagation,
                plain_ids,
            } => {
                let mut options = vec![if *recursive { "rbind" } else { "bind" }];
                if !propagation.is_empty() {
                    options.push(propagation);
                } else {
                    options.push("rprivate");
                }
                if *plain_ids {
                    options.push("noidmap");
                }
                match (*read_only, *read_only_recursive && *recursive) {
                    (true, true) => options.extend(["ro", "rro"]),
                    (true, false) => options.push("ro"),
                    (false, _) => options.push("rw"),
                }
                json!({"destination": target, "type": "bind", "source": source, "options": options})
            }
            Self::Tmpfs {
                target,
                options,
                read_only,
            } => {
                let mut all = vec!["noexec", "nosuid", "nodev"];
                for option in options {
                    // `exec` takes docker's `noexec` back, and so on.
                    all.retain(|known| known.strip_prefix("no") != Some(option));
                    if !all.contains(&option.as_str()) {
                        all.push(option);
                    }
                }
                if *read_only {
                    all.push("ro");
                }
                json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": all})
            }
        }
    }
}

/// The group of terminals, as the distributions number it.
pub(crate) const TTY_GROUP: u32 = 5;

/// The option of devpts that gives terminals to [`TTY_GROUP`].
pub(crate) const TTY_OPTION: &str = "gid=5";

/// What decides about the default mounts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultMounts<'a> {
    /// Whether /sys is writable (privileged).
    pub(crate) writable_sys: bool,
    /// Whether the cgroup's files are writable.
    pub(crate) writable_cgroup: bool,
    /// Whether /sys is mounted by bind: the network namespace belongs to another user namespace.
    pub(crate) bind_sys: bool,
    /// What /dev/shm is.
    pub(crate) shm: Shm<'a>,
}

/// What /dev/shm is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shm<'a> {
    /// Memory of this many bytes.
    Own(u64),
    /// The host's.
    Host,
    /// That of the container with this process (`/proc/PID`).
    Of(&'a str),
    /// Nothing.
    Absent,
}

/// Returns docker's default mounts, in order.
pub(crate) fn defaults(facts: DefaultMounts<'_>) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let access = |writable| if writable { "rw" } else { "ro" };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                TTY_OPTION,
            ],
        ),
    ];
    if facts.bind_sys {
        all.push(mount(
            "/sys",
            "bind",
            "/sys",
            &["rbind", "rslave", "nosuid", "noexec", "nodev", "ro"],
        ));
    } else {
        all.push(mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access(facts.writable_sys)],
        ));
    }
    all.push(mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &[access(facts.writable_cgroup), "nosuid", "noexec", "nodev"],
    ));
    // Shows the queues of the IPC namespace in which it is mounted, also those of the host, which may not have it mounted.
    all.push(mount(
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ));
    match facts.shm {
        Shm::Own(size) => all.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={size}")],
        )),
        Shm::Host => all.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"])),
        // A word of our own: the runtime takes the mount from that process's mount namespace.
        Shm::Of(process) => all.push(mount("/dev/shm", "shm", process, &["nosuid", "noexec", "nodev"])),
        Shm::Absent => {}
    }
    all
}
