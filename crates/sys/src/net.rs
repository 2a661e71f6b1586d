//! The one thing about networks that needs no netlink: bringing the loopback interface up.
#![expect(unsafe_code, reason = "an ioctl with a C structure")]

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::{SyscallError, call, check};

/// Brings `lo` of the caller's network namespace up; IPv4 and IPv6 loopback addresses come by themselves.
pub fn loopback_up() -> Result<(), SyscallError> {
    let socket = call!(
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None),
        "socket(AF_INET, SOCK_DGRAM)"
    )?;
    let mut request = ifreq {
        name: [0; 16],
        flags: UP_RUNNING,
        padding: [0; 22],
    };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq` of 40 bytes, which `request` has the layout of.
    let value = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    call!(check(value.into()), "ioctl(SIOCSIFFLAGS, lo, IFF_UP)").map(drop)
}

/// `IFF_UP | IFF_RUNNING`.
const UP_RUNNING: i16 = 0x41;

/// `struct ifreq` of linux/if.h with the member `ifr_flags` of its union.
#[repr(C, align(8))]
struct ifreq {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}
