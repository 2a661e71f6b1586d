//! A socket, and the two ways in which the kernel takes many requests at once.
//!
//! rtnetlink does each message of a batch by itself: those before and after one that fails are done. nf_tables does all
//! of a batch or none of it. Both are sent with one system call and answered when everything is done.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};
use sys::SyscallError;
use sys::netlink::Family;

use crate::error::NetlinkError;
use crate::message::Message;
use crate::reply::{Meaning, Reply};

/// Most messages of one send: their acknowledgements must fit into the socket's receive buffer.
const AT_ONCE: usize = 64;
/// Largest answer in bytes to all but dumps: one acknowledgement, or one thing described.
const ANSWER: usize = 8 << 10;
/// Largest piece of a dump in bytes; the kernel uses at most 32 KiB.
const DUMPED: usize = 64 << 10;
/// Bytes that fit into a socket's send buffer as it is.
const FITTING: usize = 64 << 10;
/// How often a dump is begun again because the tables changed meanwhile.
const DUMP_TRIES: usize = 16;

/// A netlink socket in one network namespace.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    family: Family,
    sequence: u32,
    transactions: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the caller's network namespace.
    pub fn open(family: Family) -> Result<Self, NetlinkError> {
        sys::netlink::open(family)
            .map(|socket| Self::new(socket, family))
            .map_err(NetlinkError::Socket)
    }

    /// Opens a socket in another network namespace, where all that it is asked is done.
    pub fn open_in(family: Family, namespace: BorrowedFd<'_>) -> Result<Self, NetlinkError> {
        sys::netlink::open_in(family, namespace)
            .map(|socket| Self::new(socket, family))
            .map_err(NetlinkError::Socket)
    }

    fn new(socket: OwnedFd, family: Family) -> Self {
        Self {
            socket,
            family,
            sequence: 0,
            transactions: 0,
            buffer: vec![0; ANSWER],
        }
    }

    /// Returns the number by which the kernel tells this socket from others of its family.
    pub fn port(&self) -> Result<u32, NetlinkError> {
        sys::netlink::port(&self.socket).map_err(NetlinkError::Socket)
    }

    /// Returns how many transactions of the packet filter this socket has made, modulo 2³².
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Has everything done, in order. A socket for the packet filter does all or nothing; one for routes goes on after a
    /// message that failed, so what must be undone is undone by the caller. Returns the first failure.
    pub fn request(&mut self, messages: &[Message]) -> Result<(), NetlinkError> {
        if let Some(message) = messages.iter().find(|message| message.overflows()) {
            return Err(NetlinkError::TooLarge {
                doing: message.doing().to_owned(),
            });
        }
        match self.family {
            Family::Netfilter => self.transact(messages),
            Family::Route => {
                let mut first = Ok(());
                for messages in messages.chunks(AT_ONCE) {
                    let result = self.send_each(messages);
                    first = first.and(result);
                }
                first
            }
        }
    }

    /// Returns what `read` makes of the answer to a request for one thing.
    pub(crate) fn get<T>(
        &mut self,
        request: &Message,
        read: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        // The acknowledgement tells where the answer ends.
        self.ask(request, true, read).map(|mut found| found.pop())
    }

    /// Returns what `read` makes of each message of a dump. Begins again when the kernel's tables changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        request: &Message,
        read: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.buffer.resize(DUMPED, 0);
        self.ask(request, false, read)
    }

    fn ask<T>(
        &mut self,
        request: &Message,
        acknowledge: bool,
        read: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            let sequence = self.next_sequence();
            let mut bytes = Vec::with_capacity(request.size());
            request.append_to(&mut bytes, sequence, acknowledge);
            self.send(&bytes)?;
            let (mut found, mut interrupted) = (Vec::new(), false);
            self.answers(request.doing(), |reply, meaning| {
                if reply.sequence != sequence {
                    return Ok(Next::Wait);
                }
                interrupted |= reply.is_interrupted();
                match meaning {
                    Meaning::Data => found.extend(read(reply)),
                    Meaning::Done | Meaning::Acknowledged => return Ok(Next::Stop),
                    Meaning::Refused(errno, explanation) => {
                        return Err(NetlinkError::refused(request.doing(), errno, explanation));
                    }
                }
                Ok(Next::Wait)
            })?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(NetlinkError::refused(request.doing(), Errno::INTR, None))
    }

    fn send_each(&mut self, messages: &[Message]) -> Result<(), NetlinkError> {
        let Some(doing) = messages.first().map(Message::doing) else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::size).sum());
        let first = self.sequence.wrapping_add(1);
        for message in messages {
            message.append_to(&mut bytes, self.next_sequence(), true);
        }
        self.send(&bytes)?;
        let (mut waiting, mut failure) = (messages.len(), None);
        self.answers(doing, |reply, meaning| {
            let index = usize::try_from(reply.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
            let Some(message) = messages.get(index) else {
                return Ok(Next::Wait);
            };
            match meaning {
                Meaning::Acknowledged => waiting -= 1,
                Meaning::Refused(errno, explanation) => {
                    waiting -= 1;
                    failure.get_or_insert_with(|| NetlinkError::refused(message.doing(), errno, explanation));
                }
                Meaning::Data | Meaning::Done => {}
            }
            Ok(if waiting == 0 { Next::Stop } else { Next::Wait })
        })?;
        failure.map_or(Ok(()), Err)
    }

    fn transact(&mut self, messages: &[Message]) -> Result<(), NetlinkError> {
        let Some((last, _)) = messages.split_last() else {
            return Ok(());
        };
        let (begin, end) = crate::nft::batch_bounds();
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::size).sum::<usize>() + 64);
        let first = self.next_sequence();
        begin.append_to(&mut bytes, first, false);
        for (index, message) in messages.iter().enumerate() {
            // Failures are always told; one acknowledgement, of the last, tells that there were none.
            let is_last = index + 1 == messages.len();
            message.append_to(&mut bytes, self.next_sequence(), is_last);
        }
        let end_sequence = self.sequence;
        end.append_to(&mut bytes, self.next_sequence(), false);
        if bytes.len() > FITTING {
            // The kernel counts its own overhead too.
            sys::netlink::reserve(&self.socket, bytes.len().saturating_mul(2))
                .map_err(NetlinkError::Socket)?;
        }
        self.send(&bytes)?;
        let mut failure = None;
        self.answers(last.doing(), |reply, meaning| {
            let index = usize::try_from(reply.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
            if index > messages.len() + 1 {
                return Ok(Next::Wait);
            }
            if let Meaning::Refused(errno, explanation) = meaning {
                // Number 0 is the batch itself: it could not be begun or committed.
                let doing = index
                    .checked_sub(1)
                    .and_then(|index| messages.get(index))
                    .map_or("commit the packet filter's changes", Message::doing);
                failure.get_or_insert_with(|| NetlinkError::refused(doing, errno, explanation));
                if index == 0 {
                    return Ok(Next::Stop);
                }
            }
            Ok(if reply.sequence == end_sequence {
                Next::Stop
            } else {
                Next::Wait
            })
        })?;
        failure.map_or(Ok(()), Err)?;
        self.transactions = self.transactions.wrapping_add(1);
        Ok(())
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        retry_on_intr(|| rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL))
            .map(drop)
            .map_err(|errno| socket_error("send", bytes.len(), errno))
    }

    /// Gives every answer to `each` until it has enough.
    fn answers(
        &mut self,
        doing: &str,
        mut each: impl FnMut(&Reply<'_>, Meaning) -> Result<Next, NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let malformed = || NetlinkError::Malformed {
            doing: doing.to_owned(),
        };
        let space = self.buffer.len();
        loop {
            let received = retry_on_intr(|| {
                rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC)
            });
            let (received, whole) = received.map_err(|errno| socket_error("recv", space, errno))?;
            if whole > self.buffer.len() {
                return Err(malformed());
            }
            let mut rest = &self.buffer[..received];
            while let Some(reply) = Reply::take(&mut rest) {
                let reply = reply.map_err(|_cut| malformed())?;
                let meaning = reply.meaning().map_err(|_cut| malformed())?;
                if let Next::Stop = each(&reply, meaning)? {
                    return Ok(());
                }
            }
        }
    }
}

enum Next {
    Wait,
    Stop,
}

fn socket_error(call: &str, bytes: usize, errno: Errno) -> NetlinkError {
    NetlinkError::Socket(SyscallError::new(
        format!("{call}(netlink, {bytes} bytes)"),
        errno,
    ))
}
