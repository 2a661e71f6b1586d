//! The containers: what is said of each, and its sockets.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use crate::names::Directory;
use crate::poll::{Interest, Kind, Poll};
use crate::slab::{Key, Slab};

/// All containers.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    all: Slab<Container>,
    by_id: HashMap<Box<str>, Key>,
    /// Sockets that are not looked at until the next tick, because they would fail again at once.
    paused: Vec<(Key, Kind)>,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: Box<str>,
    /// What the daemon has said; `None` before.
    pub(crate) directory: Option<Directory>,
    /// What a shim has handed over; `None` before, and when its process has ended.
    pub(crate) sockets: Option<Attached>,
}

/// A container's sockets.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) udp: OwnedFd,
    pub(crate) tcp: OwnedFd,
    /// Held for its event.
    life: Option<OwnedFd>,
}

impl Attached {
    pub(crate) fn new(udp: OwnedFd, tcp: OwnedFd, life: Option<OwnedFd>) -> Self {
        Self { udp, tcp, life }
    }

    fn of(&self, kind: Kind) -> &OwnedFd {
        match kind {
            Kind::Tcp => &self.tcp,
            _ => &self.udp,
        }
    }
}

impl Containers {
    pub(crate) fn get(&self, key: Key) -> Option<&Container> {
        self.all.get(key)
    }

    /// Takes what the daemon says of a container.
    pub(crate) fn set(&mut self, id: &str, directory: Directory) {
        let key = match self.by_id.get(id) {
            Some(&key) => key,
            None => self.add(id),
        };
        if let Some(container) = self.all.get_mut(key) {
            container.directory = Some(directory);
        }
    }

    /// Takes the sockets of a container. Returns the key that it had: nothing of that is the container's any more.
    pub(crate) fn attach(&mut self, poll: &Poll, id: &str, sockets: Attached) -> Option<Key> {
        let former = self.by_id.get(id).copied();
        // A key of its own for each set of sockets, so that nothing that waits for the former ones meets these.
        let removed = former.and_then(|key| self.all.remove(key));
        let key = self.add(id);
        let container = self.all.get_mut(key)?;
        container.directory = removed.and_then(|removed| removed.directory);
        let added = poll.add(&sockets.udp, Kind::Udp, key, Interest::READ);
        let added = added.and_then(|()| poll.add(&sockets.tcp, Kind::Tcp, key, Interest::READ));
        let added = added.and_then(|()| match &sockets.life {
            Some(life) => poll.add(life, Kind::Life, key, Interest::READ),
            None => Ok(()),
        });
        // What cannot be waited for (no descriptor of a socket, no memory) is not kept.
        container.sockets = added.is_ok().then_some(sockets);
        former
    }

    /// Closes the sockets of a container whose process has ended.
    pub(crate) fn detach(&mut self, key: Key) {
        let Some(container) = self.all.get_mut(key) else {
            return;
        };
        container.sockets = None;
        if container.directory.is_none() {
            self.by_id.remove(&container.id);
            self.all.remove(key);
        }
    }

    /// Forgets a container; returns the key that it had.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Key> {
        let key = self.by_id.remove(id)?;
        self.all.remove(key);
        Some(key)
    }

    /// Stops looking at a socket of a container until [`Self::resume`].
    pub(crate) fn pause(&mut self, poll: &Poll, key: Key, kind: Kind) {
        let container = self.all.get(key);
        let sockets = container.and_then(|container| container.sockets.as_ref());
        if sockets.is_some_and(|sockets| poll.remove(sockets.of(kind)).is_ok()) {
            self.paused.push((key, kind));
        }
    }

    /// Looks at all sockets again.
    pub(crate) fn resume(&mut self, poll: &Poll) {
        for (key, kind) in std::mem::take(&mut self.paused) {
            let container = self.all.get(key);
            let sockets = container.and_then(|container| container.sockets.as_ref());
            // One that fails even in this is broken for good, and is its container's loss alone.
            sockets.map(|sockets| poll.add(sockets.of(kind), kind, key, Interest::READ));
        }
    }

    pub(crate) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Container> {
        self.all.iter().map(|(_, container)| container)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn add(&mut self, id: &str) -> Key {
        let key = self.all.insert(Container {
            id: id.into(),
            directory: None,
            sockets: None,
        });
        self.by_id.insert(id.into(), key);
        key
    }
}
