//! Unix sockets that carry file descriptors, and what the other end has done with what it was sent.
#![expect(unsafe_code, reason = "SIOCOUTQ")]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::error::{SyscallError, call, check};

/// The largest number of descriptors in one message (the kernel's `SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// The kind of a socket pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairKind {
    /// A stream of bytes.
    Stream,
    /// A sequence of packets: one receive returns one send.
    SeqPacket,
}

/// Returns two connected unix sockets, both close-on-exec.
pub fn pair(kind: PairKind) -> Result<(OwnedFd, OwnedFd), SyscallError> {
    let socket_type = match kind {
        PairKind::Stream => SocketType::STREAM,
        PairKind::SeqPacket => SocketType::SEQPACKET,
    };
    call!(
        socketpair(AddressFamily::UNIX, socket_type, SocketFlags::CLOEXEC, None),
        "socketpair(AF_UNIX, {kind:?})"
    )
}

/// Sends `bytes` and copies of `fds` (at most [`MAX_FDS`]) as one message; returns the number of bytes sent.
///
/// On a stream fewer bytes than given may be sent; the descriptors go with the first of them, so `bytes` must not be
/// empty. A closed peer is `EPIPE`, never a signal.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, SyscallError> {
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(SyscallError::new(
            format!("sendmsg({} fds)", fds.len()),
            Errno::TOOMANYREFS,
        ));
    }
    call!(
        rustix::io::retry_on_intr(|| sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL
        )),
        "sendmsg({} bytes, {} fds)",
        bytes.len(),
        fds.len()
    )
}

/// Receives bytes into `buffer` and the descriptors that came with them (close-on-exec), which are appended to `fds`.
///
/// Returns the number of bytes; 0 at the end of the stream. A message cut short in data or descriptors is `EMSGSIZE`.
pub fn receive_with_fds(
    socket: impl AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<usize, SyscallError> {
    let length = buffer.len();
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            result => break call!(result, "recvmsg({length} bytes)")?,
        }
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(SyscallError::new(
            format!("recvmsg({length} bytes)"),
            Errno::MSGSIZE,
        ));
    }
    Ok(message.bytes)
}

/// Returns whether the other end is closed for both directions.
pub fn is_hung_up(socket: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // HUP and ERR are reported without being asked for.
    poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0)
}

/// Returns whether the other end of a unix socket has read everything that was written (of a TCP socket: whether its
/// kernel has it).
pub fn is_drained(socket: impl AsFd) -> Result<bool, SyscallError> {
    let mut unread: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (sockios(7), the value of TIOCOUTQ) writes one int to its argument, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    call!(check(result.into()), "ioctl(SIOCOUTQ)")?;
    Ok(unread == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel() {
        let (left, right) = pair(PairKind::SeqPacket).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(send_with_fds(&left, b"x", &[writer.as_fd()]).unwrap(), 1);
        drop(writer);
        let mut fds = Vec::new();
        let mut buffer = [0u8; 8];
        assert_eq!(receive_with_fds(&right, &mut buffer, &mut fds).unwrap(), 1);
        rustix::io::write(&fds[0], b"hello").unwrap();
        fds.clear();
        let mut content = [0u8; 16];
        assert_eq!(rustix::io::read(&reader, &mut content).unwrap(), 5);
        assert_eq!(rustix::io::read(&reader, &mut content).unwrap(), 0);
        drop(left);
        assert_eq!(receive_with_fds(&right, &mut buffer, &mut fds).unwrap(), 0);
    }

    #[test]
    fn one_end_knows_what_the_other_did() {
        let (left, right) = pair(PairKind::Stream).unwrap();
        assert!(is_drained(&left).unwrap() && !is_hung_up(&left));
        rustix::io::write(&left, b"head").unwrap();
        assert!(!is_drained(&left).unwrap());
        rustix::io::read(&right, &mut [0u8; 2]).unwrap();
        assert!(!is_drained(&left).unwrap());
        rustix::io::read(&right, &mut [0u8; 2]).unwrap();
        assert!(is_drained(&left).unwrap());
        rustix::net::shutdown(&right, rustix::net::Shutdown::Write).unwrap();
        assert!(!is_hung_up(&left));
        drop(right);
        assert!(is_hung_up(&left));
    }

    #[test]
    fn long_packets_are_an_error() {
        let (left, right) = pair(PairKind::SeqPacket).unwrap();
        assert_eq!(send_with_fds(&left, b"0123456789", &[]).unwrap(), 10);
        let error = receive_with_fds(&right, &mut [0u8; 4], &mut Vec::new()).unwrap_err();
        assert_eq!(error.errno(), Errno::MSGSIZE);
    }
}
