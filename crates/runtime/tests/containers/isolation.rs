//! What a container must not see or do, by the classes of the security reference (RT-02 to RT-20).

use std::os::fd::AsFd;
use std::path::Path;

use runtime::{Stdio, Step};
use rustix::fs::{FileType, Mode, OFlags};
use serde_json::{Value, json};
use sys::path::Root;

use crate::Test;
use crate::fixture::*;

pub(crate) const TESTS: &[Test] = &[
    ("rt13_own_cgroup", rt13_own_cgroup),
    (
        "rt01_the_runtime_is_not_in_reach",
        rt01_the_runtime_is_not_in_reach,
    ),
    ("rt02_descriptors_and_cwd", rt02_descriptors_and_cwd),
    ("rt03_hostile_roots", rt03_hostile_roots),
    (
        "rt03_hostile_roots_without_a_tmpfs",
        rt03_hostile_roots_without_a_tmpfs,
    ),
    ("rt04_masks_hold", rt04_masks_hold),
    ("rt05_no_mounts_inside_proc", rt05_no_mounts_inside_proc),
    ("rt06_capabilities", rt06_capabilities),
    ("rt07_rt08_users_and_groups", rt07_rt08_users_and_groups),
    ("rt09_own_session", rt09_own_session),
    ("rt11_own_keyring", rt11_own_keyring),
    (
        "rt14_sysctls_of_shared_namespaces",
        rt14_sysctls_of_shared_namespaces,
    ),
    (
        "rt16_nested_namespaces_do_not_unmask",
        rt16_nested_namespaces_do_not_unmask,
    ),
    ("rt20_inherited_attributes", rt20_inherited_attributes),
    ("seccomp_is_installed", seccomp_is_installed),
    ("nothing_is_mounted_on_the_host", nothing_is_mounted_on_the_host),
];

fn rt01_the_runtime_is_not_in_reach() {
    let scratch = Scratch::new();
    scratch.root().symlink("/proc/self/exe", "bin/link").unwrap();
    for program in ["/proc/self/exe", "/proc/1/exe", "link", "/proc/self/fd/3"] {
        let error = run(&with_user_namespace(document(&[program])), &scratch.overlay(true)).unwrap_err();
        assert_eq!(error.step(), Step::Exec, "{program}: {error}");
    }
    let document = document(&[
        "sh",
        "-c",
        "readlink /proc/1/exe; ls /proc/1/fd; cat /proc/1/environ; true",
    ]);
    for own_users in [true, false] {
        let document = if own_users {
            with_user_namespace(document.clone())
        } else {
            document.clone()
        };
        let outcome = run_with(&document, &scratch.overlay(own_users), |request| {
            request.init = true;
        })
        .unwrap();
        assert!(!outcome.output.contains("containers"), "{}", outcome.output);
        assert!(outcome.output.contains("denied"), "{}", outcome.output);
    }
}

fn rt02_descriptors_and_cwd() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    // Leaked descriptors without close-on-exec, as a careless caller has them.
    let leaked: Vec<_> = (0..32)
        .map(|_| {
            let directory = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            sys::fd::dup2_inheritable(directory.as_fd(), std::os::fd::AsRawFd::as_raw_fd(&directory))
                .unwrap();
            directory
        })
        .collect();
    let listing = with_user_namespace(document(&["sh", "-c", "ls /proc/$$/fd; true"]));
    assert_eq!(run(&listing, &rootfs).unwrap().output, "0\n1\n2\n");
    let mut escape = with_user_namespace(document(&["ls", "-d", "."]));
    for number in 0..64 {
        for form in ["/proc/self/fd", "/proc/1/fd", "/dev/fd", "/proc/thread-self/fd"] {
            escape["process"]["cwd"] = json!(format!("{form}/{number}"));
            let error = run(&escape, &rootfs).unwrap_err();
            assert_eq!(error.step(), Step::Cwd, "{form}/{number}: {error}");
        }
    }
    drop(leaked);
}

/// One shape of a hostile path inside an image.
fn shape(root: &Root, path: &str, shape: usize) {
    let (parent, _) = path.rsplit_once('/').unwrap_or(("", path));
    if !parent.is_empty() {
        drop(root.mkdir_all(parent, 0o755).unwrap());
    }
    root.remove_all(path).unwrap();
    match shape {
        0 => root.symlink("/canary", path).unwrap(),
        1 => root
            .symlink("../../../../../../../../../../canary", path)
            .unwrap(),
        2 => root.symlink("/does/not/exist", path).unwrap(),
        3 => {
            for link in 0..41 {
                let name = format!("chain{link}");
                root.remove_all(&name).unwrap();
                root.symlink(format!("/chain{}", link + 1), &name).unwrap();
            }
            root.symlink("/chain0", path).unwrap();
        }
        4 => root.mknod(path, FileType::Fifo, 0o666, 0).unwrap(),
        5 => root.mknod(path, FileType::Socket, 0o666, 0).unwrap(),
        6 => root
            .mknod(path, FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 1))
            .unwrap(),
        7 => drop(root.create_file(path, 0o666).unwrap()),
        _ => drop(root.mkdir_all(format!("{path}/inner"), 0o777).unwrap()),
    }
}

/// Everything that the runtime touches in a root, as any of nine shapes: contained or refused, and never a hang.
///
/// Red on Debian's runc 1.1.5 (tried): with `/dev` a link to a directory of the host that has a file `ptmx`, and no mount
/// on /dev, it removes that file and leaves five links there (CVE-2026-41579). crun 1.8.1 leaves the directory alone.
fn rt03_hostile_roots() {
    hostile_roots(true);
}

/// The same without a tmpfs on /dev, as bundles may ask for it: the nodes, links and the console are made in the image's
/// own directory. runc 1.1.5 deletes and plants files outside here (CVE-2026-41579), binds masks and standard streams to
/// what /dev/null leads to (CVE-2025-31133, CVE-2026-88265), crun 1.8.1 makes the console outside (CVE-2026-88264).
fn rt03_hostile_roots_without_a_tmpfs() {
    hostile_roots(false);
}

fn hostile_roots(tmpfs: bool) {
    const PATHS: [&str; 24] = [
        "dev",
        "dev/null",
        "dev/console",
        "dev/ptmx",
        "dev/pts",
        "dev/shm",
        "dev/mqueue",
        "dev/tty",
        "dev/fd",
        "dev/core",
        "proc",
        "sys",
        "sys/fs/cgroup",
        "etc",
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
        "run",
        "work",
        "data/target",
        ".dockerenv",
    ];
    let host = Scratch::new();
    let host_root = Root::open(&host.path).unwrap();
    drop(host_root.create_file("hosts", 0o644).unwrap());
    let canary = Path::new("/canary");
    assert!(!canary.exists(), "the test needs that name for itself");
    drop(Root::open("/").unwrap().mkdir_all("canary", 0o700).unwrap());
    let before = listing(canary);
    let mounts_before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut cells = 0;
    for path in PATHS {
        for kind in 0..9 {
            let scratch = Scratch::new();
            shape(&scratch.root(), path, kind);
            let mut document = with_user_namespace(document(&["/bin/true"]));
            for (destination, source) in [
                ("/etc/hosts", host.path.join("hosts")),
                ("/etc/hostname", host.path.join("hosts")),
                ("/etc/resolv.conf", host.path.join("hosts")),
                ("/data/target", host.path.join("upper")),
            ] {
                document["mounts"].as_array_mut().unwrap().push(json!({
                    "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate"],
                }));
            }
            if !tmpfs {
                let mounts = document["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["destination"] != "/dev");
            }
            document["process"]["cwd"] = json!("/work");
            let started = std::time::Instant::now();
            let spec = spec(&document);
            let rootfs = scratch.overlay(true);
            let mut request = request(&spec, &rootfs, Stdio::Terminal { size: None });
            request.user = Some("root");
            if let Ok(mut created) = runtime::create(request) {
                let console = created.console.take().unwrap();
                finish(created, console);
            }
            assert!(started.elapsed().as_secs() < 2, "{path}, shape {kind}");
            cells += 1;
        }
    }
    let after = listing(canary);
    Root::open("/").unwrap().remove_dir("canary").unwrap();
    assert_eq!(before, after);
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts_before
    );
    assert_eq!(cells, 216);
    assert!(rustix::process::wait(rustix::process::WaitOptions::NOHANG).is_err());
}

fn listing(path: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).unwrap();
    let mut all: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    all.push(format!(
        "{} {} {}",
        metadata.mode(),
        metadata.uid(),
        metadata.mtime_nsec()
    ));
    all
}

fn rt04_masks_hold() {
    for own_users in [true, false] {
        let scratch = Scratch::new();
        let text = "for f in /proc/keys /proc/timer_list /proc/interrupts; do stat -c '%n %F %t:%T' $f; cat $f; echo; done; for d in /proc/acpi /sys/firmware; do ls -A $d; (echo x > $d/x) 2>/dev/null && echo written; done; for r in /proc/sys/kernel/ostype /proc/irq/default_smp_affinity /proc/sysrq-trigger; do (: > $r) 2>/dev/null && echo $r written; done; true";
        let mut document = document(&["sh", "-c", text]);
        if own_users {
            document = with_user_namespace(document);
        }
        // A swapped null device of the image must not matter.
        shape(&scratch.root(), "dev/null", 6);
        let outcome = run(&document, &scratch.overlay(own_users)).unwrap();
        let expected: String = ["keys", "timer_list", "interrupts"]
            .map(|file| format!("/proc/{file} character special file 1:3\n\n"))
            .concat();
        assert_eq!(outcome.output, expected, "{own_users}");
    }
}

fn rt05_no_mounts_inside_proc() {
    let scratch = Scratch::new();
    scratch.root().symlink("/proc/sys", "trap").unwrap();
    let rootfs = scratch.overlay(true);
    for destination in [
        "/proc/self",
        "/proc/sys",
        "/proc/1/attr",
        "/trap/kernel",
        "/proc/sys/kernel",
    ] {
        let mut document = with_user_namespace(document(&["true"]));
        document["mounts"].as_array_mut().unwrap().push(json!({
            "destination": destination, "type": "bind", "source": scratch.path.join("upper"), "options": ["rbind"],
        }));
        let error = run(&document, &rootfs).unwrap_err();
        assert_eq!(error.step(), Step::Mount, "{destination}");
    }
}

fn status(output: &str, key: &str) -> String {
    let line = output
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or_default();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

fn rt06_capabilities() {
    let scratch = Scratch::new();
    let docker = "00000000a80425fb";
    let none = "0000000000000000";
    for own_users in [true, false] {
        for (user, nnp) in [(0, false), (1000, false), (0, true), (1000, true)] {
            for init in [true, false] {
                let mut document = document(&["cat", "/proc/self/status"]);
                if own_users {
                    document = with_user_namespace(document);
                }
                document["process"]["user"] = json!({ "uid": user, "gid": user, "additionalGids": [10] });
                document["process"]["noNewPrivileges"] = json!(nnp);
                if user != 0 {
                    // As the engine asks for it: a user other than root has the bounding set alone.
                    document["process"]["capabilities"] = json!({ "bounding": DOCKER });
                }
                let outcome = run_with(&document, &scratch.overlay(own_users), |request| {
                    request.init = init;
                })
                .unwrap();
                let output = outcome.output;
                let held = if user == 0 { docker } else { none };
                for (key, value) in [
                    ("CapInh:", none),
                    ("CapAmb:", none),
                    ("CapBnd:", docker),
                    ("CapEff:", held),
                    ("CapPrm:", held),
                    ("NoNewPrivs:", if nnp { "1" } else { "0" }),
                ] {
                    assert_eq!(
                        status(&output, key),
                        value,
                        "{key} {own_users} {user} {nnp} {init}\n{output}"
                    );
                }
                assert!(output.contains("Groups:\t10 \n"), "{output}");
            }
        }
    }
    let mut ambient = with_user_namespace(document(&["cat", "/proc/self/status"]));
    ambient["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let set = ["CAP_NET_BIND_SERVICE"];
    ambient["process"]["capabilities"] = json!({
        "bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set,
    });
    let output = run(&ambient, &scratch.overlay(true)).unwrap().output;
    for key in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status(&output, key), "0000000000000400", "{key}");
    }
    let mut privileged = document(&["true"]);
    privileged["process"]["capabilities"] = capabilities(&["CAP_SYS_RESOURCE"]);
    let lacks = !std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .contains("CapBnd:\t000001ffffffffff");
    if lacks {
        let outcome = run(&privileged, &scratch.overlay(false)).unwrap();
        assert!(outcome.warnings[0].contains("CAP_SYS_RESOURCE"));
        let refused = run_with(&privileged, &scratch.overlay(false), |request| {
            request.missing_capabilities = runtime::MissingCapabilities::Refuse;
        });
        assert_eq!(refused.unwrap_err().step(), Step::Capability);
    }
}

fn rt07_rt08_users_and_groups() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    let document = with_user_namespace(document(&["sh", "-c", "id -u; id -g; id -G; echo $HOME"]));
    let groups: &'static [String] = Vec::leak(vec!["wheel".to_owned(), "77".to_owned()]);
    for (user, groups, expected) in [
        (Some(""), &[][..], "0\n0\n0 10\n/root\n"),
        (Some("alice"), &[], "1000\n1000\n1000 10\n/home/alice\n"),
        (Some("1000"), &[], "1000\n1000\n1000 10\n/home/alice\n"),
        (Some("4242"), &[], "4242\n0\n0\n/\n"),
        (Some("alice:wheel"), &[], "1000\n10\n10\n/home/alice\n"),
        (Some("5:6"), groups, "5\n6\n6 10 77\n/\n"),
        (None, groups, "0\n0\n0 10 77\n/root\n"),
    ] {
        let outcome = run_with(&document, &rootfs, |request| {
            request.user = user;
            request.groups = groups;
        })
        .unwrap();
        assert_eq!(outcome.output, expected, "{user:?}");
    }
    for user in [
        "-1",
        "2147483648",
        "4294967295",
        "nobody",
        "alice:nogroup",
        "a b",
        "65536",
    ] {
        let refused = run_with(&document, &rootfs, |request| request.user = Some(user));
        assert_eq!(refused.unwrap_err().step(), Step::User, "{user}");
    }
}

fn rt09_own_session() {
    // Field 6 and 7 of stat: session and terminal.
    let output = script("cat /proc/self/stat");
    let fields: Vec<&str> = output.split(' ').collect();
    assert_eq!((fields[5], fields[6]), ("1", "0"), "{output}");
}

fn rt11_own_keyring() {
    let mut document = with_user_namespace(document(&["cat", "/proc/keys"]));
    document["linux"]["maskedPaths"] = json!([]);
    // Ids of its own, because keyrings of ended containers are collected later.
    let map = json!([{ "containerID": 0, "hostID": BASE + 65536 * 9, "size": 65536 }]);
    document["linux"]["uidMappings"] = map.clone();
    document["linux"]["gidMappings"] = map;
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    for directory in ["upper", "work"] {
        let ids = Some(BASE + 65536 * 9);
        std::os::unix::fs::chown(scratch.path.join(directory), ids, ids).unwrap();
    }
    let outcome = run(&document, &rootfs).unwrap();
    let sessions = outcome
        .output
        .lines()
        .filter(|line| line.contains("_ses"))
        .count();
    assert_eq!(sessions, 1, "{}", outcome.output);
}

/// A cgroup that is removed at the end, also after a failure.
struct Group(Option<cgroup::Cgroup>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            group.remove(std::time::Duration::from_secs(5)).unwrap();
        }
    }
}

fn rt13_own_cgroup() {
    let layout = cgroup::Layout::detect().unwrap();
    let path = format!("/berth-test-{}", std::process::id());
    let group = Group(Some(cgroup::Cgroup::create(&layout, &path).unwrap()));
    let text = "cat /proc/self/cgroup; for d in /sys/fs/cgroup/*; do cat $d/cgroup.procs > /dev/null 2>&1 || cat /sys/fs/cgroup/cgroup.procs > /dev/null || echo no $d; (echo 1 > $d/cgroup.procs) 2>/dev/null && echo written $d; (mkdir $d/x) 2>/dev/null && echo made $d; done; (mkdir /sys/fs/cgroup/x) 2>/dev/null && echo made; true";
    for own_users in [true, false] {
        let mut document = document(&["sh", "-c", text]);
        if own_users {
            document = with_user_namespace(document);
        }
        document["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        }));
        let spec = spec(&document);
        let rootfs = Scratch::new();
        let overlay = rootfs.overlay(own_users);
        rootfs.root().symlink("busybox", "bin/mkdir").unwrap();
        let (stdio, reader) = piped();
        let mut request = request(&spec, &overlay, stdio);
        request.cgroup = group.0.as_ref();
        let created = runtime::create(request).unwrap();
        let outcome = finish(created, reader);
        // The container's own group is the root of everything that it sees.
        for line in outcome.output.lines() {
            assert!(line.ends_with(":/"), "{own_users}: {}", outcome.output);
        }
        assert!(!outcome.output.is_empty());
    }
}

fn rt14_sysctls_of_shared_namespaces() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    for (namespace, sysctl) in [
        ("network", "net.core.somaxconn"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
    ] {
        let mut document = with_user_namespace(document(&["true"]));
        document["hostname"] = json!(null);
        document["linux"]["sysctl"] = json!({ sysctl: "1000" });
        without(&mut document, namespace);
        let error = run(&document, &rootfs).unwrap_err();
        assert_eq!(error.step(), Step::Sysctl, "{sysctl}");
    }
}

fn without(document: &mut Value, namespace: &str) {
    document["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|entry| entry["type"] != namespace);
}

fn rt16_nested_namespaces_do_not_unmask() {
    let text = "unshare -Urm sh -c 'umount /proc/interrupts; umount -l /proc/interrupts; umount /sys/firmware; mount -o remount,rw /sys/firmware; mount -t proc proc /tmp; cat /tmp/interrupts; cat /proc/interrupts; ls /sys/firmware; mount -o remount,rw,bind /proc/sys && echo 1 > /proc/sys/net/ipv4/ip_default_ttl && echo written' 2>/dev/null; cat /proc/sys/net/ipv4/ip_default_ttl";
    let output = script(text);
    assert_eq!(output, "64\n");
}

fn rt20_inherited_attributes() {
    let former =
        sys::signal::sigprocmask(sys::signal::SignalSet::empty().with(libc::SIGTERM).with(40)).unwrap();
    let output = script("cat /proc/self/status; umask; env");
    sys::signal::sigprocmask(former).unwrap();
    for (key, value) in [
        ("SigBlk:", "0000000000000000"),
        ("SigIgn:", "0000000000000000"),
        ("SigCgt:", "0000000000000000"),
    ] {
        assert_eq!(status(&output, key), value, "{key}\n{output}");
    }
    let environment: Vec<&str> = output
        .lines()
        .skip_while(|line| *line != "0022")
        .skip(1)
        .collect();
    for variable in &environment {
        let name = variable.split('=').next().unwrap();
        assert!(
            ["PATH", "HOME", "PWD", "SHLVL", "OLDPWD", "_"].contains(&name),
            "{variable}"
        );
    }
}

fn seccomp_is_installed() {
    let scratch = Scratch::new();
    for (user, nnp) in [(0, false), (1000, false), (1000, true)] {
        let mut document =
            with_user_namespace(document(&["sh", "-c", "cat /proc/self/status; hostname x 2>&1"]));
        document["process"]["user"] = json!({ "uid": user, "gid": user });
        document["process"]["noNewPrivileges"] = json!(nnp);
        document["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
        });
        let output = run(&document, &scratch.overlay(true)).unwrap().output;
        assert_eq!(status(&output, "Seccomp:"), "2", "{output}");
        assert!(output.contains("not implemented"), "{output}");
    }
}

fn nothing_is_mounted_on_the_host() {
    let scratch = Scratch::new();
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut document = document(&[
        "sh",
        "-c",
        "mount -t tmpfs none /tmp && mount --make-rshared / && mount -t tmpfs none /root; cat /proc/self/mountinfo > /dev/null",
    ]);
    document["process"]["capabilities"] = capabilities(&["CAP_SYS_ADMIN"]);
    let spec = spec(&document);
    let rootfs = scratch.overlay(false);
    let (stdio, reader) = piped();
    let created = runtime::create(request(&spec, &rootfs, stdio)).unwrap();
    let outcome = finish(created, reader);
    assert_eq!(outcome.code, 0, "{}", outcome.output);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}
