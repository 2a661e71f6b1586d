//! Finding the program inside the container and running it.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::process::StringArray;

use crate::error::{CreateError, Result, Step};

/// Where programs are looked for when the container's environment has no PATH (docker's own default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program `name` as the container's own PATH says; a name with a slash is a path from the working directory.
///
/// Called with the credentials of the program. The messages are those that docker's users know.
pub(crate) fn find(name: &CStr, environment: &[CString]) -> Result<CString> {
    let shown = name.to_string_lossy();
    let fail = |errno: Errno, why: &str| {
        let message = format!("exec: \"{shown}\": {why}");
        Err(CreateError::new(Step::Exec, errno.raw_os_error(), message))
    };
    if name.to_bytes().is_empty() {
        return fail(Errno::NOENT, "executable file not found in $PATH");
    }
    if name.to_bytes().contains(&b'/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(errno @ Errno::NOENT) => fail(errno, &format!("stat {shown}: no such file or directory")),
            Err(errno @ Errno::ISDIR) => fail(errno, "is a directory"),
            Err(errno @ Errno::ACCESS) => fail(errno, "permission denied"),
            Err(errno) => fail(errno, &errno.to_string()),
        };
    }
    let path = environment
        .iter()
        .rev()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH.as_bytes());
    let mut denied = false;
    for directory in path.split(|&byte| byte == b':') {
        // An empty part is the working directory, which no container's PATH should mean (Go's ErrDot).
        if directory.is_empty() {
            continue;
        }
        let candidate = [directory, b"/", name.to_bytes()].concat();
        let Ok(candidate) = CString::new(candidate) else {
            continue;
        };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return fail(Errno::ACCESS, "permission denied");
    }
    fail(Errno::NOENT, "executable file not found in $PATH")
}

/// Returns whether `path` can be run: a regular file that the caller may execute.
///
/// Magic links are not followed: `/proc/self/exe` is at this moment the runtime's own program (CVE-2019-5736).
fn check(path: &CStr) -> rustix::io::Result<()> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => return Err(Errno::ISDIR),
        FileType::RegularFile => {}
        _ => return Err(Errno::ACCESS),
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Runs the program; returns only on failure.
pub(crate) fn run(path: &CStr, arguments: &StringArray, environment: &StringArray) -> Result<Infallible> {
    sys::process::execve(path, arguments, environment).map_err(|error| {
        let shown = OsStr::from_bytes(path.to_bytes()).display();
        let why = match error.errno() {
            Errno::NOEXEC => "exec format error".to_owned(),
            Errno::ACCESS => "permission denied".to_owned(),
            // The file is there, or `find` had said so: its interpreter or loader is not.
            Errno::NOENT => "no such file or directory (its interpreter or loader is missing)".to_owned(),
            errno => errno.to_string(),
        };
        CreateError::new(Step::Exec, error.raw_errno(), format!("exec {shown}: {why}"))
    })
}
