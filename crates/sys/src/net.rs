//! What about networks needs no netlink: bringing the loopback interface up, and sending a frame as it is.
#![expect(unsafe_code, reason = "calls with C structures")]

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

/// Sends a whole Ethernet frame by a link of the caller's network namespace.
pub fn send_frame(link: u32, frame: &[u8]) -> Result<(), SyscallError> {
    let socket = call!(
        socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None),
        "socket(AF_PACKET, SOCK_RAW)"
    )?;
    let address = libc::sockaddr_ll {
        sll_family: PACKET,
        sll_protocol: 0,
        sll_ifindex: link.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: sendto reads `frame.len()` bytes at `frame`, and an address of the length that is given with it: both are
    // borrowed for the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_NOSIGNAL,
            (&raw const address).cast(),
            ADDRESS_LENGTH,
        )
    };
    call!(
        check(i64::try_from(sent).unwrap_or(-1)),
        "sendto(AF_PACKET, {} bytes)",
        frame.len()
    )
    .map(drop)
}

/// `AF_PACKET`, and the size of its addresses.
const PACKET: u16 = 17;
const ADDRESS_LENGTH: u32 = 20;

/// `IFF_UP | IFF_RUNNING`.
const UP_RUNNING: i16 = 0x41;

/// `struct ifreq` of linux/if.h with the member `ifr_flags` of its union.
#[repr(C, align(8))]
struct ifreq {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}
