//! An executable that nobody can write to, not even through `/proc/PID/exe` of a process that runs it (CVE-2019-5736).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::error::{SyscallError, call};
use crate::mount::{Attributes, Change, Depth};

/// Returns `executable` from a read-only, detached clone of its mount, or as a sealed copy in memory. To be run through
/// `/proc/self/fd`.
pub fn protected(executable: &Path) -> Result<OwnedFd, SyscallError> {
    let clone = crate::mount::open_tree_clone_at(executable, Depth::One).and_then(|clone| {
        let change = Change {
            set: Attributes::RDONLY,
            ..Change::default()
        };
        crate::mount::mount_setattr(&clone, Depth::One, change)?;
        Ok(clone)
    });
    match clone {
        Ok(clone) => Ok(clone),
        // No CAP_SYS_ADMIN, an old kernel, or an executable that is on no mount any more (replaced by an upgrade).
        Err(_) => sealed_copy(executable),
    }
}

fn sealed_copy(executable: &Path) -> Result<OwnedFd, SyscallError> {
    let fail = |what: &str, error: &io::Error| {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        SyscallError::new(format!("{what}({executable:?})"), errno)
    };
    let mut source = File::open(executable).map_err(|error| fail("open", &error))?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC, and need no permission.
    let copy = rustix::fs::memfd_create("berth", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("berth", flags));
    let mut target = File::from(call!(copy, "memfd_create(MFD_ALLOW_SEALING)")?);
    io::copy(&mut source, &mut target).map_err(|error| fail("copy", &error))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    call!(rustix::fs::fcntl_add_seals(&target, seals), "fcntl(F_ADD_SEALS)")?;
    // A writable descriptor would make the execve fail with ETXTBSY.
    File::open(format!("/proc/self/fd/{}", target.as_raw_fd()))
        .map(OwnedFd::from)
        .map_err(|error| fail("open the copy of", &error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_executable_cannot_be_written() {
        let executable = std::env::current_exe().unwrap();
        for fd in [protected(&executable).unwrap(), sealed_copy(&executable).unwrap()] {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let written = std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(b"x"));
            assert!(written.is_err());
        }
    }
}
