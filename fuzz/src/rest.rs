//! Runtime documents, files of a container's root, the kernel's tables and logs.

use std::path::Path;

use oci_spec::runtime::Spec;

use crate::place;

/// `config.json` of a bundle, as far as it is read before anything is made.
pub fn runtime_document(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(data) else {
        return;
    };
    let Some(linux) = spec.linux() else {
        return;
    };
    if let Some(resources) = linux.resources() {
        let _ = cgroup::Limits::from(resources);
    }
    if let Some(seccomp) = linux.seccomp() {
        if let Ok(policy) = seccomp::Policy::from_oci(seccomp, seccomp::Arch::X86_64) {
            drop(seccomp::compile(&policy));
        }
    }
}

/// `/etc/passwd` and `/etc/group` of an image, and what is asked of them.
pub fn users(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (user, passwd, group) = (String::from_utf8_lossy(part()).into_owned(), part(), part());
    place::with(|place| {
        let root = place.scratch("root");
        std::fs::create_dir(root.join("etc")).expect("made");
        std::fs::write(root.join("etc/passwd"), passwd).expect("written");
        std::fs::write(root.join("etc/group"), group).expect("written");
        let opened = sys::path::Root::open(&root).expect("opened");
        if let Ok(identity) = runtime::look_up(&opened, &user, &[]) {
            assert!(identity.uid <= i32::MAX as u32 && identity.gid <= i32::MAX as u32);
        }
        drop(runtime::look_up(&opened, "root", std::slice::from_ref(&user)));
        place.check();
    });
}

/// The kernel's table of mounts.
pub fn mountinfo(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(cgroup::Layout::from_mountinfo(&text, Path::new("/nowhere")));
}

/// A seccomp profile: read, resolved and compiled, and the default action is still the default.
pub fn seccomp(data: &[u8]) {
    let Ok(profile) = seccomp::Profile::parse(data) else {
        return;
    };
    let facts = seccomp::Facts {
        capabilities: &["CAP_SYS_ADMIN".to_owned()],
        arch: seccomp::Arch::X86_64,
        kernel: seccomp::KernelVersion { major: 6, minor: 18 },
    };
    if let Ok(policy) = profile.resolve(&facts) {
        drop(seccomp::compile(&policy));
    }
}

/// A log as a container's writer, a killed shim and a bad disk leave it.
pub fn log(data: &[u8]) {
    let (choice, rest) = data
        .split_first()
        .map_or((0, data), |(&first, rest)| (first, rest));
    place::with(|place| {
        let path = place.scratch("root").join("log");
        std::fs::write(&path, rest).expect("written");
        let options = logs::reader::ReadOptions {
            tail: (choice & 2 != 0).then(|| u64::from(choice >> 3)),
            since: None,
            until: None,
            follow: false,
            stdout: true,
            stderr: choice & 4 != 0,
        };
        let driver = if choice & 1 == 0 { "json-file" } else { "local" };
        if let Ok(mut reader) = logs::reader::Reader::open(&path, driver, options) {
            reader.container_stopped();
            for _ in 0..=rest.len() {
                match reader.step() {
                    Ok(logs::reader::Step::Record(_)) => {}
                    _ => break,
                }
            }
        }
        place.check();
    });
}
