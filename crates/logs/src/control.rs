//! The handle by which another thread tells a following reader that the container stopped, or that nobody listens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::EventfdFlags;

/// Shared by a reader's thread and whoever ends it; clones are the same control.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// An eventfd that is readable once anything was said.
    changed: OwnedFd,
    stopped: AtomicBool,
    cancelled: AtomicBool,
}

impl Control {
    /// Returns a control for one reader.
    pub fn new() -> io::Result<Self> {
        let changed = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                changed,
                stopped: AtomicBool::new(false),
                cancelled: AtomicBool::new(false),
            }),
        })
    }

    /// Says that the container has stopped: following ends when everything written was read.
    pub fn container_stopped(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the reading as soon as possible.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns whether [`Self::container_stopped`] was called.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Returns whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// Returns the fd that becomes readable with each call.
    pub(crate) fn changed(&self) -> BorrowedFd<'_> {
        self.shared.changed.as_fd()
    }

    /// Makes [`Self::changed`] unreadable until the next call.
    pub(crate) fn reset(&self) {
        // Nothing to read means that nothing was said since.
        rustix::io::read(&self.shared.changed, &mut [0u8; 8]).ok();
    }

    fn wake(&self) {
        // The counter can only be full when the reader has not looked yet, and then it is readable anyhow.
        rustix::io::write(&self.shared.changed, &1u64.to_ne_bytes()).ok();
    }
}
