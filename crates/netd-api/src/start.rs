//! netd's start.
//!
//! The daemon makes the listening socket, netd gets it as its stdin: a client can connect before netd runs, and nobody
//! waits for a file to appear.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sys::SyscallError;

/// The name of netd's process.
pub const PROGRAM: &str = "berth-netd";
/// The name of its socket, below the exec root.
pub const SOCKET: &str = "netd.sock";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;

/// How netd is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `berth` executable; `/proc/self/exe` for the one that runs.
    pub executable: PathBuf,
    /// Where it listens: [`SOCKET`] in a directory of mode 0700.
    pub socket: PathBuf,
    /// The host's `resolv.conf`, or what stands for it.
    pub resolv_conf: PathBuf,
}

/// Why netd could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its socket could not be made.
    #[error("make netd's socket \"{}\"", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: SyscallError,
    },
    /// The program could not be run.
    #[error("start netd: {step}")]
    Program {
        /// What was done.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// It ended at once.
    #[error("netd ended at its start: {status}")]
    Ended {
        /// How.
        status: std::process::ExitStatus,
    },
}

/// Starts a netd, in place of a dead one's socket file. Waits until it has left this process, a few milliseconds.
pub fn start(options: &Options) -> Result<(), StartError> {
    let listener = listen(&options.socket).map_err(|source| StartError::Socket {
        path: options.socket.clone(),
        source,
    })?;
    let program = |step| move |source| StartError::Program { step, source };
    let executable = sys::executable::protected(&options.executable)
        .map_err(io::Error::from)
        .map_err(program("protect the executable"))?;
    let mut child = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
        .arg0(PROGRAM)
        .args([&options.socket, &options.resolv_conf])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(program("run the executable"))?;
    // It forks and ends, so that its child is nobody's and leaves no zombie here.
    let status = child.wait().map_err(program("wait for it to leave"))?;
    if status.success() {
        Ok(())
    } else {
        Err(StartError::Ended { status })
    }
}

fn listen(path: &Path) -> Result<OwnedFd, SyscallError> {
    let fail = |call: &str| {
        let call = format!("{call}({path:?})");
        move |errno: Errno| SyscallError::new(call, errno)
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(fail("socket"))?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(fail("unlink")(errno)),
    }
    let address = SocketAddrUnix::new(path).map_err(fail("sockaddr_un"))?;
    // The file that bind makes has the mode of the socket's own inode (unix_bind in the kernel's af_unix.c).
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(fail("fchmod"))?;
    rustix::net::bind(&socket, &address).map_err(fail("bind"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(fail("listen"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_owner_may_connect() {
        let path = std::env::temp_dir().join(format!("berth-netd-{}", std::process::id()));
        for _ in 0..2 {
            drop(listen(&path).unwrap());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
