//! netd as a process.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sys::clone::Cloned;

use crate::filter;
use crate::server::{self, Options};

/// How many descriptors netd would like to be allowed.
const DESCRIPTORS: u64 = 1 << 20;

/// Runs netd until its end.
///
/// Expects a listening socket as stdin, and as arguments its own name, the path of that socket and the path of the host's
/// `resolv.conf`. Must be called first in `main`, while the process has a single thread and no other descriptors that it
/// needs.
pub fn netd_main(arguments: &[OsString]) -> ExitCode {
    let [_, path, resolv_conf, ..] = arguments else {
        return ExitCode::FAILURE;
    };
    let Ok(listener) = take_stdin() else {
        return ExitCode::FAILURE;
    };
    // The starter waits for the parent's end: the child is nobody's then, and leaves no zombie to anybody.
    match sys::clone::fork() {
        Ok(Cloned::Child) => {}
        Ok(Cloned::Parent { .. }) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    prepare();
    if restrict().is_err() {
        return ExitCode::FAILURE;
    }
    let options = Options {
        listener,
        path: PathBuf::from(path),
        resolv_conf: PathBuf::from(resolv_conf),
        idle: server::IDLE,
    };
    match server::serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes the socket off descriptor 0 and leaves `/dev/null` there.
fn take_stdin() -> std::io::Result<OwnedFd> {
    // Whatever the daemon's parent left open is not for a process that lives on.
    sys::fd::close_range(3, i32::MAX, sys::fd::CloseRange::Now)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)?;
    let null = File::open("/dev/null")?;
    sys::fd::dup2_inheritable(null.as_fd(), 0)?;
    Ok(socket)
}

/// Leaves the daemon's session and asks for what a server of many containers needs.
fn prepare() {
    // Each of these is a convenience: the name in `ps`, no terminal, no CPUs of the daemon's, the last to be killed.
    rustix::thread::set_name(c"berth-netd").ok();
    rustix::process::setsid().ok();
    sys::signal::ignore(rustix::process::Signal::HUP.as_raw()).ok();
    sys::process::reset_cpu_affinity().ok();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let wanted = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    if rustix::process::setrlimit(Resource::Nofile, wanted).is_err() {
        let mut allowed = rustix::process::getrlimit(Resource::Nofile);
        allowed.current = allowed.maximum;
        rustix::process::setrlimit(Resource::Nofile, allowed).ok();
    }
    // Needs CAP_SYS_RESOURCE.
    if let Ok(mut file) = File::options().write(true).open("/proc/self/oom_score_adj") {
        use std::io::Write;
        file.write_all(b"-999").ok();
    }
}

/// Gives up what netd does not need. It reads what containers send: should that ever make it do something else, it cannot
/// load modules, make devices, override files' permissions, or gain anything by running a program; and the kernel answers
/// only what [`filter`] lists.
fn restrict() -> std::io::Result<()> {
    // Namespaces of containers, their sockets, ports below 1024, and who has a port (`/proc/PID/fd`).
    let kept = CapabilitySet::SYS_ADMIN
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_no_new_privs(true)?;
    let own = rustix::thread::capabilities(None)?;
    let sets = CapabilitySets {
        effective: own.effective & kept,
        permitted: own.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    filter::install()
}
