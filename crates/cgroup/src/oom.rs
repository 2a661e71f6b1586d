//! Being told when the kernel kills a process of the group for want of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::node;

/// A file descriptor that becomes readable when the group met its memory limit.
///
/// The event says "look": only [`Cgroup::oom_kill_count`] says whether a process was killed. On v1 it also comes when
/// the group is removed.
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    /// v1's registration ends when this file is closed.
    _control: Option<OwnedFd>,
}

impl OomEvents {
    /// Empties the descriptor, so that it becomes readable again at the next event only.
    pub fn drain(&self) {
        let mut buffer = [0u8; 4096];
        // The descriptor does not block: any error ends it, and nothing but "empty" can be wrong with it.
        while node::retry(|| rustix::io::read(&self.fd, &mut buffer)).is_ok_and(|count| count > 0) {}
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cgroup {
    /// Returns a descriptor (non-blocking) to poll for memory events.
    pub fn oom_events(&self) -> Result<OomEvents, CgroupError> {
        let (version, directory) = self.memory()?;
        let fail = |call: &str, file: &str, source| {
            node::file_error(call, &self.path_for_display(directory, file), source)
        };
        match version {
            // Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control".
            Version::V1 => {
                const FILE: &str = "memory.oom_control";
                let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(|source| fail("make an eventfd for", FILE, source))?;
                let control =
                    node::open_read(directory, FILE).map_err(|source| fail("open", FILE, source))?;
                let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
                self.write(directory, "cgroup.event_control", &registration)?;
                Ok(OomEvents {
                    fd,
                    _control: Some(control),
                })
            }
            Version::V2 => {
                const FILE: &str = "memory.events";
                let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                    .map_err(|source| fail("make an inotify for", FILE, source))?;
                // Through our own open directory: the path under /sys may be hidden by another mount.
                let path = format!("/proc/self/fd/{}/{FILE}", directory.as_raw_fd());
                inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY)
                    .map_err(|source| fail("watch", FILE, source))?;
                Ok(OomEvents { fd, _control: None })
            }
        }
    }

    /// Returns how many processes of the group were killed for want of memory since it was made.
    pub fn oom_kill_count(&self) -> Result<u64, CgroupError> {
        let (version, directory) = self.memory()?;
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = self.read(directory, file)?;
        Ok(crate::stats::value_of(&text, "oom_kill").unwrap_or(0))
    }

    fn memory(&self) -> Result<(Version, BorrowedFd<'_>), CgroupError> {
        self.directory(Controller::Memory)
            .ok_or(CgroupError::NoController {
                controller: Controller::Memory,
            })
    }
}
