//! The one place where netd waits.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::slab::Key;

/// What an event is for. A key is one of the things of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The unix socket.
    Listener,
    /// A daemon or a shim.
    Connection,
    /// A container's UDP socket.
    Udp,
    /// A container's TCP socket.
    Tcp,
    /// The process that a container's sockets end with.
    Life,
    /// A client that asks by TCP.
    Client,
    /// A query that was passed on.
    Forward,
    /// A proxy's socket.
    Proxy,
    /// The client's side of a proxied connection.
    Near,
    /// The container's side of a proxied connection.
    Far,
    /// The container's side of a proxied UDP client.
    Flow,
}

const KINDS: [Kind; 11] = [
    Kind::Listener,
    Kind::Connection,
    Kind::Udp,
    Kind::Tcp,
    Kind::Life,
    Kind::Client,
    Kind::Forward,
    Kind::Proxy,
    Kind::Near,
    Kind::Far,
    Kind::Flow,
];

/// How many events one round takes.
const ROUND: usize = 64;
/// Where the kind is in a token.
const SHIFT: u32 = 56;

/// What is waited for, of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
    };
    pub(crate) const WRITE: Self = Self {
        read: false,
        write: true,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// Something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    /// Whether writing may go on, or fails.
    pub(crate) write: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Waits for `interest` of `fd` from now on; ends by itself when `fd` is closed.
    pub(crate) fn add(&self, fd: impl AsFd, kind: Kind, key: Key, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, token(kind, key), interest.flags())
    }

    pub(crate) fn modify(
        &self,
        fd: impl AsFd,
        kind: Kind,
        key: Key,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, token(kind, key), interest.flags())
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    /// Waits, and puts what happened into `found`; nothing when `timeout` is over.
    pub(crate) fn wait(&self, timeout: Option<Duration>, found: &mut Vec<Ready>) -> io::Result<()> {
        found.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut space = [const { MaybeUninit::<Event>::uninit() }; ROUND];
        match epoll::wait(&self.epoll, &mut space[..], timeout.as_ref()) {
            Ok((events, _)) => found.extend(events.iter().filter_map(ready)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

fn token(kind: Kind, key: Key) -> EventData {
    let kind = KINDS.iter().zip(0u64..).find(|(other, _)| **other == kind);
    EventData::new_u64(kind.map_or(0, |(_, number)| number) << SHIFT | key.to_bits())
}

fn ready(event: &Event) -> Option<Ready> {
    let token = event.data.u64();
    let kind = *KINDS.get(usize::try_from(token >> SHIFT).ok()?)?;
    let flags = event.flags;
    Some(Ready {
        kind,
        key: Key::from_bits(token),
        write: flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP),
    })
}
