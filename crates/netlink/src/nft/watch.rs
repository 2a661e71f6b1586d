//! What others take out of the packet filter, told by the kernel as it happens.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::RecvFlags;
use sys::SyscallError;
use sys::netlink::Family;

use super::SUBSYSTEM;
use crate::error::NetlinkError;
use crate::reply::{Reply, text};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFT_MSG_DELTABLE`, `DELCHAIN`, `DELRULE`, `DELSET` and `DELSETELEM`, whose first attribute is the table.
const REMOVALS: [u16; 5] = [2, 5, 8, 11, 14];
const NFTA_TABLE: u16 = 1;
/// The kernel tells of a transaction in pieces of at most this many bytes.
const PIECE: usize = 32 << 10;

/// A socket that hears of each change to the packet filter in its network namespace. It never waits.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// The ear of a [`Watch`]. The kernel makes a message of each element for whoever listens, which takes it longer than the
/// element itself, when somebody listens at all.
#[derive(Debug)]
pub struct Ear(OwnedFd);

impl Ear {
    /// Hears no more.
    pub fn cover(&self) -> Result<(), NetlinkError> {
        sys::netlink::hear(&self.0, GROUP, false).map_err(NetlinkError::Socket)
    }

    /// Hears again. What happened meanwhile is never told.
    pub fn uncover(&self) -> Result<(), NetlinkError> {
        sys::netlink::hear(&self.0, GROUP, true).map_err(NetlinkError::Socket)
    }
}

/// Something was taken out of a table, or the table was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The table.
    pub table: String,
    /// The socket that asked for it: [`crate::Socket::port`].
    pub by: u32,
}

impl Watch {
    /// Begins to listen in the caller's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = sys::netlink::open(Family::Netfilter).map_err(NetlinkError::Socket)?;
        sys::netlink::subscribe(&socket, GROUP).map_err(NetlinkError::Socket)?;
        Ok(Self {
            socket,
            buffer: vec![0; PIECE],
        })
    }

    /// Returns what makes this watch deaf for a while.
    pub fn ear(&self) -> Result<Ear, NetlinkError> {
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.socket, 0).map_err(|errno| {
            NetlinkError::Socket(SyscallError::new(
                "fcntl(netlink, F_DUPFD_CLOEXEC)".to_owned(),
                errno,
            ))
        })?;
        Ok(Ear(socket))
    }

    /// Returns what was removed since the last time; `None` if some of it was lost, because it was too much at once.
    pub fn removals(&mut self) -> Result<Option<Vec<Removal>>, NetlinkError> {
        let mut removals = Some(Vec::new());
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let received =
                retry_on_intr(|| rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), flags));
            let (received, whole) = match received {
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(removals),
                Err(Errno::NOBUFS) => {
                    removals = None;
                    continue;
                }
                Err(errno) => {
                    let error = SyscallError::new(format!("recv(netlink, {PIECE} bytes)"), errno);
                    return Err(NetlinkError::Socket(error));
                }
            };
            if whole > received {
                removals = None;
            }
            let mut rest = &self.buffer[..received];
            while let Some(Ok(reply)) = Reply::take(&mut rest) {
                if let (Some(removal), Some(removals)) = (read(&reply), &mut removals) {
                    // A transaction removes many things of one table.
                    if !removals.contains(&removal) {
                        removals.push(removal);
                    }
                }
            }
        }
    }
}

fn read(reply: &Reply<'_>) -> Option<Removal> {
    let kind = reply.kind.checked_sub(SUBSYSTEM)?;
    if !REMOVALS.contains(&kind) {
        return None;
    }
    let (_, attributes) = reply.split::<4>()?;
    Some(Removal {
        table: attributes.get(NFTA_TABLE).map(text)?,
        by: reply.port,
    })
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
