//! Netlink sockets: opened with the options that make the kernel explain itself, also in another network namespace.
#![expect(unsafe_code, reason = "setsockopt with options that rustix does not have")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::LinkNameSpaceType;

use crate::error::{SyscallError, call, check};

/// What a netlink socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours, queueing disciplines (`NETLINK_ROUTE`).
    Route,
    /// The packet filter (`NETLINK_NETFILTER`).
    Netfilter,
}

/// Opens a netlink socket in the caller's network namespace. Errors come with the kernel's explanation and without the
/// request (`NETLINK_EXT_ACK`, `NETLINK_CAP_ACK`), and the filters of dump requests are checked
/// (`NETLINK_GET_STRICT_CHK`); see netlink(7).
pub fn open(family: Family) -> Result<OwnedFd, SyscallError> {
    let protocol = match family {
        // NETLINK_ROUTE is 0, which is what no protocol means.
        Family::Route => None,
        Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
    };
    let socket = call!(
        socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol
        ),
        "socket(AF_NETLINK, {family:?})"
    )?;
    for option in [
        libc::NETLINK_EXT_ACK,
        libc::NETLINK_CAP_ACK,
        libc::NETLINK_GET_STRICT_CHK,
    ] {
        set(&socket, libc::SOL_NETLINK, option, 1)?;
    }
    Ok(socket)
}

/// As [`open`], in another network namespace: a socket stays in the namespace that it was made in, whoever uses it.
pub fn open_in(family: Family, namespace: BorrowedFd<'_>) -> Result<OwnedFd, SyscallError> {
    // A thread of its own enters the namespace and ends, so no thread that goes on is ever elsewhere.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            call!(
                rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)),
                "setns({}, CLONE_NEWNET)",
                namespace.as_raw_fd()
            )?;
            open(family)
        });
        let joined = match thread {
            Ok(thread) => thread.join(),
            Err(error) => {
                let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::AGAIN);
                return Err(SyscallError::new("clone(CLONE_THREAD)", errno));
            }
        };
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets a socket hear what the kernel tells a group (`NETLINK_ADD_MEMBERSHIP`).
pub fn subscribe(socket: &OwnedFd, group: u32) -> Result<(), SyscallError> {
    // One without a number hears nothing: the kernel takes it for the sender.
    call!(
        rustix::net::bind(socket, &SocketAddrNetlink::new(0, 0)),
        "bind({}, AF_NETLINK)",
        socket.as_raw_fd()
    )?;
    hear(socket, group, true)
}

/// Lets a socket that has subscribed hear a group no more (`NETLINK_DROP_MEMBERSHIP`), or again.
pub fn hear(socket: &OwnedFd, group: u32, again: bool) -> Result<(), SyscallError> {
    let option = match again {
        true => libc::NETLINK_ADD_MEMBERSHIP,
        false => libc::NETLINK_DROP_MEMBERSHIP,
    };
    let group = i32::try_from(group).unwrap_or(i32::MAX);
    set(socket, libc::SOL_NETLINK, option, group)
}

/// Returns the number by which the kernel knows a socket; it has one at the latest after its first request.
pub fn port(socket: &OwnedFd) -> Result<u32, SyscallError> {
    let address = call!(
        rustix::net::getsockname(socket).and_then(SocketAddrNetlink::try_from),
        "getsockname({})",
        socket.as_raw_fd()
    )?;
    Ok(address.pid())
}

/// Lets `bytes` of one send fit, beyond the limit for everybody (`SO_SNDBUFFORCE`: needs `CAP_NET_ADMIN`).
pub fn reserve(socket: &OwnedFd, bytes: usize) -> Result<(), SyscallError> {
    let size = i32::try_from(bytes).unwrap_or(i32::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size)
}

/// Length of an option's value, an `int`, in bytes.
const OPTION_LENGTH: libc::socklen_t = 4;

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> Result<(), SyscallError> {
    // SAFETY: setsockopt(2) reads `optlen` bytes from `optval`: the four bytes of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            OPTION_LENGTH,
        )
    };
    call!(
        check(result.into()),
        "setsockopt({}, {level}, {option}, {value})",
        socket.as_raw_fd()
    )
    .map(drop)
}
