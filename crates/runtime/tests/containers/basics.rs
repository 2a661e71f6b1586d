//! A container runs, sees what it should, and errors come back with their step.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use oci::rootfs::Rootfs;
use runtime::{BindIds, Gate, Stdio, Step, create, start};
use serde_json::json;
use sys::clone::{CloneFlags, Cloned, Stack, aside, clone3};

use crate::Test;
use crate::fixture::*;

pub(crate) const TESTS: &[Test] = &[
    ("runs_in_a_user_namespace", runs_in_a_user_namespace),
    ("runs_with_the_hosts_users", runs_with_the_hosts_users),
    ("files_have_the_right_owners", files_have_the_right_owners),
    ("binds_are_idmapped", binds_are_idmapped),
    (
        "binds_that_cannot_be_idmapped_warn",
        binds_that_cannot_be_idmapped_warn,
    ),
    ("directory_root", directory_root),
    ("terminal", terminal),
    ("held_start", held_start),
    ("init_reaps_and_forwards", init_reaps_and_forwards),
    ("hooks_run_in_order", hooks_run_in_order),
    ("errors_name_their_step", errors_name_their_step),
    ("exit_codes", exit_codes),
    ("a_process_aside", a_process_aside),
    ("time_offsets", time_offsets),
    ("joined_namespaces", joined_namespaces),
    ("sysctls_and_limits", sysctls_and_limits),
    ("read_only_root", read_only_root),
    (
        "a_full_disk_is_no_read_only_root",
        a_full_disk_is_no_read_only_root,
    ),
    ("tmpfs_with_a_copy", tmpfs_with_a_copy),
];

fn runs_in_a_user_namespace() {
    let output = script(
        "id -u; cat /proc/self/uid_map; stat -c %u:%a /bin/busybox /dev/null; hostname; echo $$; echo > /dev/null; echo $HOME; ls /dev; readlink /dev/fd",
    );
    let expected = "0\n         0  805306368      65536\n0:755\n0:666\nbox\n1\n/root\ncore\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/proc/self/fd\n";
    assert_eq!(output, expected);
}

fn runs_with_the_hosts_users() {
    let scratch = Scratch::new();
    let outcome = run(
        &document(&["sh", "-c", "id; echo $$; echo x > /file"]),
        &scratch.overlay(false),
    )
    .unwrap();
    assert_eq!(outcome.output, "uid=0(root) gid=0(root)\n1\n");
}

fn files_have_the_right_owners() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let document = with_user_namespace(document(&[
        "sh",
        "-c",
        "echo x > /new; chown 1000:1000 /new; echo y >> /etc/passwd; stat -c %u:%g /new /etc/passwd",
    ]));
    let outcome = run(&document, &scratch.overlay(true)).unwrap();
    assert_eq!(outcome.output, "1000:1000\n0:0\n");
    // The upper holds shifted ids.
    let metadata = std::fs::metadata(scratch.path.join("upper/new")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (BASE + 1000, BASE + 1000));
}

fn bind(document: &mut serde_json::Value, source: &str, destination: &str, options: &[&str]) {
    document["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": destination, "type": "bind", "source": source, "options": options }));
}

fn binds_are_idmapped() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let root = sys::path::Root::open(&scratch.path).unwrap();
    drop(root.mkdir_all("volume", 0o755).unwrap());
    drop(root.create_file("resolv.conf", 0o644).unwrap());
    let volume = scratch.path.join("volume");
    let mut document = with_user_namespace(document(&[
        "sh",
        "-c",
        "echo x > /data/deep/file; stat -c %u /data/deep/file /etc/resolv.conf; echo > /etc/resolv.conf",
    ]));
    bind(
        &mut document,
        volume.to_str().unwrap(),
        "/data/deep",
        &["rbind", "rprivate"],
    );
    let file = scratch.path.join("resolv.conf");
    bind(
        &mut document,
        file.to_str().unwrap(),
        "/etc/resolv.conf",
        &["bind", "ro"],
    );
    let outcome = run(&document, &scratch.overlay(true)).unwrap();
    assert_eq!(
        outcome.output,
        "0\n0\nsh: can't create /etc/resolv.conf: Read-only file system\n"
    );
    assert_eq!(std::fs::metadata(volume.join("file")).unwrap().uid(), 0);
    assert!(outcome.warnings.is_empty());
}

fn binds_that_cannot_be_idmapped_warn() {
    let scratch = Scratch::new();
    let mut document = with_user_namespace(document(&["cat", "/host/sys/kernel/ostype"]));
    bind(&mut document, "/proc", "/host", &["rbind", "ro"]);
    let outcome = run(&document, &scratch.overlay(true)).unwrap();
    assert_eq!(outcome.output, "Linux\n");
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    let refused = run_with(&document, &scratch.overlay(true), |request| {
        request.bind_ids = BindIds::AsSpecified;
    });
    assert!(refused.unwrap().warnings.is_empty());
}

fn directory_root() {
    let scratch = Scratch::new();
    let path = scratch.path.join("lower");
    let plain = oci::rootfs::Rootfs::Directory {
        path: path.clone(),
        idmap: false,
    };
    let command = ["sh", "-c", "stat -c %u /bin/busybox; echo $$"];
    assert_eq!(run(&document(&command), &plain).unwrap().output, "0\n1\n");
    let shifted = oci::rootfs::Rootfs::Directory { path, idmap: true };
    let outcome = run(&with_user_namespace(document(&command)), &shifted).unwrap();
    assert_eq!(outcome.output, "0\n1\n");
}

fn terminal() {
    for own_users in [true, false] {
        let scratch = Scratch::new();
        let mut document = document(&[
            "sh",
            "-c",
            "tty; stty size; echo x > /dev/console; ls -l /dev/console | cut -c1-4",
        ]);
        if own_users {
            document = with_user_namespace(document);
        }
        for applet in ["tty", "stty", "cut"] {
            scratch
                .root()
                .symlink("busybox", format!("bin/{applet}"))
                .unwrap();
        }
        let spec = spec(&document);
        let rootfs = scratch.overlay(own_users);
        let mut created = create(request(
            &spec,
            &rootfs,
            Stdio::Terminal {
                size: Some((33, 111)),
            },
        ))
        .unwrap();
        let console = created.console.take().unwrap();
        let outcome = finish(created, console);
        assert_eq!(
            outcome.output, "/dev/pts/0\r\n33 111\r\nx\r\ncrw-\r\n",
            "{own_users}"
        );
        assert_eq!(outcome.code, 0);
    }
}

fn held_start() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    scratch.root().symlink("busybox", "bin/echo").unwrap();
    scratch.file("bin/garbage", "\x7fELF garbage");
    let garbage = scratch.path.join("lower/bin/garbage");
    std::fs::set_permissions(garbage, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, result) in [("echo", Ok(())), ("garbage", Err(Step::Exec))] {
        let socket = scratch.path.join(format!("start-{name}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let spec = spec(&with_user_namespace(document(&[name, "hello"])));
        let (stdio, reader) = piped();
        let mut request = request(&spec, &rootfs, stdio);
        request.gate = Gate::Held(listener.into());
        let created = create(request).unwrap();
        assert_eq!(sys::process::try_wait_pidfd(created.pidfd.as_fd()).unwrap(), None);
        let started = start(&socket);
        assert_eq!(
            started.as_ref().map_err(|error| error.step()),
            result.as_ref().map_err(|step| *step)
        );
        let outcome = finish(created, reader);
        assert_eq!(outcome.output, if started.is_ok() { "hello\n" } else { "" });
        assert!(start(&socket).is_err());
    }
    // What can be known before the start fails the creation.
    let listener = UnixListener::bind(scratch.path.join("never")).unwrap();
    let missing = run_with(&with_user_namespace(document(&["nothing"])), &rootfs, |request| {
        request.gate = Gate::Held(listener.into());
    });
    assert_eq!(missing.unwrap_err().errno(), libc::ENOENT);
}

fn init_reaps_and_forwards() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    let text = "trap 'echo term; exit 7' TERM; cat /proc/1/comm; grep -E '^(Cap(Inh|Eff)|Seccomp):' /proc/1/status; (sleep 0.01 &) ; echo ready $$; while :; do sleep 0.1; done";
    scratch.root().symlink("busybox", "bin/grep").unwrap();
    let spec = spec(&with_user_namespace(document(&["sh", "-c", text])));
    let (stdio, reader) = piped();
    let mut request = request(&spec, &rootfs, stdio);
    request.init = true;
    let created = create(request).unwrap();
    let mut said = String::new();
    while !said.contains("ready 2\n") {
        let mut buffer = [0u8; 256];
        let length = rustix::io::read(&reader, &mut buffer).unwrap();
        assert_ne!(length, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(said.contains("berth-init"), "{said}");
    assert!(said.contains("CapEff:\t00000000a80425fb"), "{said}");
    sys::signal::pidfd_send_signal(created.pidfd.as_fd(), libc::SIGTERM).unwrap();
    let outcome = finish(created, reader);
    assert_eq!((outcome.output.as_str(), outcome.code), ("term\n", 7));
}

fn hooks_run_in_order() {
    let scratch = Scratch::new();
    let log = scratch.path.join("log");
    let hook = |name: &str| {
        let text = format!(
            "echo {name} $(/bin/busybox readlink /proc/self/ns/mnt) >> {}",
            log.display()
        );
        json!([{ "path": "/bin/busybox", "args": ["sh", "-c", text], "env": ["PATH=/bin"], "timeout": 5 }])
    };
    let mut document = document(&["sh", "-c", "cat /seen"]);
    document["hooks"] = json!({
        "prestart": hook("prestart"),
        "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"),
        "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat > /seen"] }],
    });
    let outcome = run(&document, &scratch.overlay(false)).unwrap();
    assert!(outcome.output.contains("\"id\":\"test\""), "{}", outcome.output);
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(names, ["prestart", "createRuntime", "createContainer"]);
    assert_eq!(lines[0][1], lines[1][1]);
    assert_ne!(lines[1][1], lines[2][1]);
    document["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/busybox", "args": ["sh", "-c", "echo no >&2; exit 3"] }] });
    let error = run(&document, &scratch.overlay(false)).unwrap_err();
    assert_eq!(error.step(), Step::Hook);
    assert!(error.message().ends_with("no"), "{error}");
}

fn errors_name_their_step() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    let fail = |document: &serde_json::Value| run(document, &rootfs).unwrap_err();
    let error = fail(&with_user_namespace(document(&["nothing"])));
    assert_eq!((error.step(), error.errno()), (Step::Exec, libc::ENOENT));
    assert_eq!(
        error.message(),
        "exec: \"nothing\": executable file not found in $PATH"
    );
    let error = fail(&with_user_namespace(document(&["/etc/passwd"])));
    assert_eq!((error.step(), error.errno()), (Step::Exec, libc::EACCES));
    assert_eq!(error.message(), "exec: \"/etc/passwd\": permission denied");
    let error = fail(&with_user_namespace(document(&["/nothing"])));
    assert_eq!((error.step(), error.errno()), (Step::Exec, libc::ENOENT));
    let error = fail(&with_user_namespace(document(&["/etc"])));
    assert_eq!((error.step(), error.errno()), (Step::Exec, libc::EISDIR));
    let mut broken = with_user_namespace(document(&["true"]));
    bind(&mut broken, "/nowhere", "/data", &["bind"]);
    let error = fail(&broken);
    assert_eq!((error.step(), error.errno()), (Step::Mount, libc::ENOENT));
    let mut broken = with_user_namespace(document(&["true"]));
    broken["process"]["cwd"] = json!("/etc/passwd");
    assert_eq!(fail(&broken).step(), Step::Cwd);
    let mut broken = with_user_namespace(document(&["true"]));
    broken["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 4294967295u32, "size": 2 }]);
    assert_eq!(fail(&broken).step(), Step::Idmap);
    let error = run_with(&with_user_namespace(document(&["true"])), &rootfs, |request| {
        request.user = Some("nobody");
    })
    .unwrap_err();
    assert_eq!(error.step(), Step::User);
    assert!(
        rustix::process::wait(rustix::process::WaitOptions::NOHANG).is_err(),
        "a child is left"
    );
}

fn exit_codes() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    let code = |text: &str| {
        run(&with_user_namespace(document(&["sh", "-c", text])), &rootfs)
            .unwrap()
            .code
    };
    assert_eq!(code("exit 42"), 42);
    assert_eq!(code("sh -c 'kill -9 $$'; exit $?"), 137);
}

/// `sys::clone::aside`, which needs a caller with one thread, as here.
fn a_process_aside() {
    let hostname = || rustix::system::uname().nodename().to_owned();
    let (before, mut stack) = (hostname(), Stack::new().unwrap());
    let mut found = None;
    let mut own = vec![1, 2, 3];
    aside(&mut stack, &mut || {
        sys::namespace::unshare(CloneFlags::NEWUTS).unwrap();
        rustix::system::sethostname(b"aside").unwrap();
        match clone3(CloneFlags::PARENT, None).unwrap() {
            Cloned::Child => {
                // A copy of what is there, in its namespaces, on a stack with room.
                let large = [7u8; 1 << 20];
                own.push(i32::from(std::hint::black_box(&large)[1 << 19]));
                let is_so = own == [1, 2, 3, 7] && hostname().as_bytes() == b"aside";
                sys::process::exit_now(if is_so { 42 } else { 1 });
            }
            Cloned::Parent { pidfd, .. } => found = Some((rustix::process::getpid(), pidfd)),
        }
    })
    .unwrap();
    let (pid, pidfd) = found.unwrap();
    assert_ne!(pid, rustix::process::getpid());
    // What it made is here, and is this process's child; what it did to itself is not.
    assert_eq!(sys::process::wait_pidfd(pidfd.as_fd()).unwrap().code(), 42);
    assert_eq!((hostname(), own), (before, vec![1, 2, 3]));
    let gone = rustix::process::test_kill_process(pid);
    assert_eq!(gone, Err(rustix::io::Errno::SRCH));
}

fn time_offsets() {
    let scratch = Scratch::new();
    let mut document = with_user_namespace(document(&["cat", "/proc/uptime", "/proc/self/timens_offsets"]));
    document["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "time" }));
    let rootfs = scratch.overlay(true);
    assert_eq!(run(&document, &rootfs).unwrap().code, 0);
    document["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000 } });
    let output = run(&document, &rootfs).unwrap().output;
    let uptime: f64 = output.split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 1_000_000.0, "{output}");
}

fn joined_namespaces() {
    let scratch = Scratch::new();
    let rootfs = scratch.overlay(true);
    let first_spec = spec(&with_user_namespace(document(&["sleep", "100"])));
    let (stdio, reader) = piped();
    let first = create(request(&first_spec, &rootfs, stdio)).unwrap();
    let other = Scratch::new();
    let mut second = with_user_namespace(document(&[
        "sh",
        "-c",
        "hostname; ls -l /proc/self/ns; id -u; cat /proc/1/cmdline",
    ]));
    let before = own_namespaces();
    for namespace in second["linux"]["namespaces"].as_array_mut().unwrap() {
        let link = match namespace["type"].as_str().unwrap() {
            "network" => "net",
            "ipc" => "ipc",
            "uts" => "uts",
            "user" => "user",
            "pid" => "pid",
            _ => continue,
        };
        namespace["path"] = json!(format!("/proc/{}/ns/{link}", first.pid.as_raw_nonzero()));
    }
    second["hostname"] = json!(null);
    let outcome = run(&second, &other.overlay(true));
    // Without the user namespace only those that real root may join on behalf of another.
    let mut third = document(&["sh", "-c", "hostname; ls /sys/class/net"]);
    for namespace in third["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(format!("/proc/{}/ns/net", first.pid.as_raw_nonzero()));
        }
    }
    let last = Scratch::new();
    let joined = run(&with_user_namespace(third.clone()), &last.overlay(true));
    let plain = run(&third, &Scratch::new().overlay(false));
    sys::signal::pidfd_send_signal(first.pidfd.as_fd(), libc::SIGKILL).unwrap();
    finish(first, reader);
    let outcome = outcome.unwrap();
    assert!(outcome.output.starts_with("box\n"), "{}", outcome.output);
    assert!(outcome.output.contains("\n0\nsleep"), "{}", outcome.output);
    assert!(joined.unwrap().output.starts_with("box\n"));
    assert_eq!(
        plain.unwrap_or_else(|error| panic!("{error}")).output,
        "box\nlo\n"
    );
    assert_eq!(own_namespaces(), before);
}

fn own_namespaces() -> Vec<std::path::PathBuf> {
    let links = [
        "mnt",
        "pid",
        "pid_for_children",
        "ipc",
        "uts",
        "net",
        "user",
        "cgroup",
        "time",
    ];
    links
        .iter()
        .map(|link| std::fs::read_link(format!("/proc/self/ns/{link}")).unwrap())
        .collect()
}

fn sysctls_and_limits() {
    let scratch = Scratch::new();
    let mut document = with_user_namespace(document(&[
        "sh",
        "-c",
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced; ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj; echo 1 > /proc/sys/net/ipv4/ip_forward",
    ]));
    document["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1" });
    document["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    document["process"]["oomScoreAdj"] = json!(123);
    document["process"]["user"]["umask"] = json!(0o27);
    let outcome = run(&document, &scratch.overlay(true)).unwrap();
    assert_eq!(
        outcome.output,
        "1\n1\n100\n200\n0027\n123\nsh: can't create /proc/sys/net/ipv4/ip_forward: Read-only file system\n"
    );
    for wrong in [
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel/../kernel/core_pattern",
    ] {
        document["linux"]["sysctl"] = json!({ wrong: "1" });
        assert_eq!(
            run(&document, &scratch.overlay(true)).unwrap_err().step(),
            Step::Sysctl,
            "{wrong}"
        );
    }
}

fn read_only_root() {
    let scratch = Scratch::new();
    let mut document = with_user_namespace(document(&[
        "sh",
        "-c",
        "echo x > /x; echo y > /dev/shm/y; ls /dev/shm",
    ]));
    document["root"]["readonly"] = json!(true);
    let outcome = run(&document, &scratch.overlay(true)).unwrap();
    assert_eq!(outcome.output, "sh: can't create /x: Read-only file system\ny\n");
}

/// The kernel makes an overlay read-only when its work directory finds no room: a container that runs on it would see a
/// file system that nobody made read-only.
fn a_full_disk_is_no_read_only_root() {
    let scratch = Scratch::new();
    let Rootfs::Overlay { lowers, .. } = scratch.overlay(false) else {
        unreachable!("that is what was asked for");
    };
    for mount_point in ["proc", "dev", "sys"] {
        drop(scratch.root().mkdir_all(mount_point, 0o755).unwrap());
    }
    let disk = scratch.path.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let no_flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &disk, "tmpfs", no_flags, c"nr_inodes=16").unwrap();
    for directory in ["upper", "work"] {
        std::fs::create_dir(disk.join(directory)).unwrap();
    }
    let ballast: Vec<_> = (0..16).map(|number: u32| disk.join(number.to_string())).collect();
    let taken: Vec<_> = ballast
        .iter()
        .filter(|file| std::fs::File::create_new(file).is_ok())
        .collect();
    let rootfs = Rootfs::Overlay {
        lowers,
        upper: disk.join("upper"),
        work: disk.join("work"),
        idmap: false,
        volatile: false,
    };
    let mut read_only = document(&["cat", "/etc/group"]);
    read_only["root"]["readonly"] = json!(true);
    let full = run(&document(&["true"]), &rootfs);
    let looked = runtime::make_rootfs(&rootfs, None).map(|looked| looked.full);
    let read = run(&read_only, &rootfs);
    for file in &taken {
        std::fs::remove_file(file).unwrap();
    }
    let with_room = run(
        &document(&["sh", "-c", "echo x > /etc/group; cat /etc/group"]),
        &rootfs,
    );
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();

    let full = full.unwrap_err();
    assert_eq!(
        (full.step(), full.errno()),
        (Step::Rootfs, libc::ENOSPC),
        "{full}"
    );
    assert!(full.to_string().contains("No space left on device"), "{full}");
    assert_eq!(looked.unwrap().unwrap().raw_errno(), libc::ENOSPC);
    assert!(read.unwrap().output.contains("alice"));
    assert_eq!(with_room.unwrap().output, "x\n");
}

fn tmpfs_with_a_copy() {
    let scratch = Scratch::new();
    let root = scratch.root();
    scratch.file("tmp/file", "content");
    drop(root.mkdir_all("tmp/directory/below", 0o750).unwrap());
    root.symlink("/etc/passwd", "tmp/directory/link").unwrap();
    let path = |name: &str| scratch.path.join("lower/tmp").join(name);
    std::os::unix::fs::chown(path("file"), Some(1000), Some(10)).unwrap();
    std::fs::set_permissions(path(""), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    for own_users in [true, false] {
        let text = "cat /tmp/file; echo; stat -c %u:%g:%a /tmp /tmp/file /tmp/directory/below; \
                    readlink /tmp/directory/link; ls /fresh; echo > /tmp/new && echo written";
        let mut document = document(&["sh", "-c", text]);
        for (place, options) in [
            ("/tmp", json!(["tmpcopyup", "nosuid"])),
            ("/fresh", json!(["tmpcopyup"])),
        ] {
            document["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}));
        }
        if own_users {
            document = with_user_namespace(document);
        }
        let outcome = run(&document, &scratch.overlay(own_users)).unwrap();
        let expected = "content\n0:0:1777\n1000:10:644\n0:0:750\n/etc/passwd\nwritten\n";
        assert_eq!(outcome.output, expected, "{own_users}");
        // The image's own directory is as it was.
        assert!(!path("new").exists());
        // What is read-only in the end is filled all the same.
        let mounts = document["mounts"].as_array_mut().unwrap();
        let last = mounts.len() - 2;
        mounts[last]["options"] = json!(["tmpcopyup", "ro"]);
        let outcome = run(&document, &scratch.overlay(own_users)).unwrap();
        assert!(outcome.output.starts_with("content\n"), "{}", outcome.output);
        assert!(!outcome.output.ends_with("written\n"), "{}", outcome.output);
    }
    let mut document = with_user_namespace(document(&["true"]));
    document["mounts"][0]["options"] = json!(["tmpcopyup"]);
    let error = run(&document, &scratch.overlay(true)).unwrap_err();
    assert_eq!(error.step(), Step::Spec, "{error}");
}
