//! The network namespace that a socket was made in.
#![expect(unsafe_code, reason = "an ioctl that rustix does not have")]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::error::{SyscallError, call, check};

/// `SIOCGSKNS` of linux/sockios.h.
const GET_NAMESPACE: libc::Ioctl = 0x894c;

/// Returns the network namespace of a socket. Needs `CAP_NET_ADMIN` in the user namespace that owns it.
pub fn of(socket: impl AsFd) -> Result<OwnedFd, SyscallError> {
    let raw = socket.as_fd().as_raw_fd();
    // SAFETY: takes no argument, so no pointer.
    let value = unsafe { libc::ioctl(raw, GET_NAMESPACE) };
    let namespace = call!(check(value.into()), "ioctl({raw}, SIOCGSKNS)")?;
    let namespace = libc::c_int::try_from(namespace).unwrap_or(-1);
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_where_it_was_made() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let namespace = of(&socket).unwrap();
        let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let inode = |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(inode(namespace.as_fd()), inode(own.as_fd()));
    }
}
