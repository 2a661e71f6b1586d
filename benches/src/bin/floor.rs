//! The floor: the least that any engine must do to run one program in a container of its own.
//!
//! One `clone3` with new mount, uts, ipc, pid and cgroup namespaces (`--user`, `--net` and `--time` add theirs), an
//! overlay made with `fsopen`, `pivot_root`, a fresh `/proc`, `execve`, and a wait. No limits, no seccomp, no log, no
//! image, no daemon. Every figure of docs/performance.md is a multiple of what this program needs on the same machine
//! in the same minute.
//!
//! ```text
//! floor --rootfs DIR [--scratch DIR] [--user] [--net] [--time] [--runs N] [--] PROGRAM [ARGUMENT…]
//! ```
//!
//! With `--runs N` it repeats in one process and prints the microseconds of each run, one a line; without, it is the
//! one-shot process that a command line would be, and ends with the program's exit code.

#![expect(
    unsafe_code,
    reason = "this program measures the system calls themselves, without the wrappers of crates/sys"
)]

use std::ffi::CString;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::process::{Pid, WaitOptions};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let message = format!("floor: {error:#}\n");
            drop(std::io::stderr().write_all(message.as_bytes()));
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<u8> {
    let options = Options::parse(std::env::args().skip(1))?;
    if let Some(runs) = options.runs {
        for _ in 0..runs {
            let start = Instant::now();
            let code = run_once(&options)?;
            let micros = start.elapsed().as_micros();
            if code != 0 {
                bail!("the program ended with {code}");
            }
            writeln!(std::io::stdout(), "{micros}")?;
        }
        return Ok(0);
    }
    run_once(&options)
}

struct Options {
    /// The read-only layer.
    rootfs: PathBuf,
    /// Where the writable layer of each run is made and removed.
    scratch: PathBuf,
    /// The optional namespaces, as `CLONE_NEW*`.
    extra: u64,
    runs: Option<u32>,
    program: CString,
    arguments: Vec<CString>,
}

impl Options {
    fn parse(mut input: impl Iterator<Item = String>) -> Result<Self> {
        let mut rootfs = None;
        let mut scratch = std::env::temp_dir();
        let mut extra = 0;
        let mut runs = None;
        let mut command = Vec::new();
        while let Some(argument) = input.next() {
            let mut value = |name: &str| input.next().with_context(|| format!("{name} needs a value"));
            match argument.as_str() {
                "--rootfs" => rootfs = Some(PathBuf::from(value("--rootfs")?)),
                "--scratch" => scratch = PathBuf::from(value("--scratch")?),
                "--user" => extra |= flag(libc::CLONE_NEWUSER),
                "--net" => extra |= flag(libc::CLONE_NEWNET),
                "--time" => extra |= flag(libc::CLONE_NEWTIME),
                "--runs" => runs = Some(value("--runs")?.parse().context("--runs")?),
                "--" => {}
                option if option.starts_with('-') => bail!("unknown option {option}"),
                _ => {
                    command.push(argument);
                    command.extend(input.by_ref());
                }
            }
        }
        let arguments = command
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            rootfs: rootfs.context("--rootfs DIR is needed")?,
            scratch,
            extra,
            runs,
            program: arguments.first().context("a PROGRAM is needed")?.clone(),
            arguments,
        })
    }
}

fn run_once(options: &Options) -> Result<u8> {
    let scratch = Scratch::create(&options.scratch)?;
    // The child waits on this pipe until its user id maps are written; without --user nobody waits.
    let (ready_read, ready_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWCGROUP,
    ];
    let flags = namespaces
        .into_iter()
        .map(flag)
        .fold(options.extra, |all, one| all | one);
    match clone3(flags)? {
        None => {
            let error = child(options, &scratch, &ready_read, ready_write);
            let message = format!("floor: in the child: {error:#}\n");
            drop(std::io::stderr().write_all(message.as_bytes()));
            // SAFETY: `_exit` has no obligations; the copy of the parent's state must not be torn down here.
            unsafe { libc::_exit(125) }
        }
        Some(pid) => {
            if options.extra & flag(libc::CLONE_NEWUSER) != 0 {
                write_maps(pid)?;
            }
            drop(ready_write);
            let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?
                .context("waitpid without a status")?
                .1;
            scratch.remove()?;
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                .unwrap_or(125);
            Ok(u8::try_from(code).unwrap_or(125))
        }
    }
}

/// Forks into new namespaces; `None` is the child.
fn clone3(flags: u64) -> Result<Option<Pid>> {
    // SAFETY: `clone_args` is made of integers only, for which all-zero bytes are a valid value (clone(2): unused
    // fields must be zero).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    let size = size_of::<libc::clone_args>();
    // SAFETY: `args` lives across the call and `size` is its size; without CLONE_VM and with a null stack the child
    // runs on a copy of this stack, and this process has one thread, so no lock is held by a thread that is gone.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) };
    match result {
        -1 => Err(std::io::Error::last_os_error()).context("clone3"),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(i32::try_from(pid)?)),
    }
}

fn flag(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

/// Writes an identity map of the container's 65,536 ids: what the engine writes too, only with another base.
fn write_maps(pid: Pid) -> Result<()> {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
        let mut file = std::fs::OpenOptions::new().write(true).open(&path)?;
        file.write_all(b"0 0 65536\n").context(path)?;
    }
    Ok(())
}

/// Everything between `clone3` and `execve`; returns only when something failed.
fn child(options: &Options, scratch: &Scratch, ready: impl AsFd, ready_write: impl Sized) -> anyhow::Error {
    drop(ready_write);
    match set_up(options, scratch, ready) {
        Ok(()) => exec(options),
        Err(error) => error,
    }
}

fn set_up(options: &Options, scratch: &Scratch, ready: impl AsFd) -> Result<()> {
    if options.extra & flag(libc::CLONE_NEWUSER) != 0 {
        rustix::io::read(ready, &mut [0u8; 1]).context("wait for the id maps")?;
    }
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make / private")?;

    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen overlay")?;
    rustix::mount::fsconfig_set_string(&overlay, "lowerdir", &options.rootfs).context("lowerdir")?;
    rustix::mount::fsconfig_set_string(&overlay, "upperdir", scratch.path("upper")).context("upperdir")?;
    rustix::mount::fsconfig_set_string(&overlay, "workdir", scratch.path("work")).context("workdir")?;
    rustix::mount::fsconfig_create(&overlay).context("create the overlay")?;
    let root = rustix::mount::fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .context("fsmount overlay")?;
    // Before the old root goes: in a user namespace a new /proc is only allowed beside one that is fully visible.
    let proc = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen proc")?;
    rustix::mount::fsconfig_create(&proc).context("create proc")?;
    let proc = rustix::mount::fsmount(
        &proc,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .context("fsmount proc")?;

    let target = scratch.path("root");
    rustix::mount::move_mount(&root, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .context("move_mount the root")?;
    rustix::process::chdir(&target).context("chdir")?;
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    rustix::mount::move_mount(&proc, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .context("move_mount proc")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("detach the old root")?;
    rustix::process::chdir("/").context("chdir /")?;
    Ok(())
}

/// Executes the program; returns only when that failed.
fn exec(options: &Options) -> anyhow::Error {
    let mut arguments: Vec<_> = options.arguments.iter().map(|text| text.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let environment = [c"PATH=/bin:/sbin:/usr/bin:/usr/sbin".as_ptr(), std::ptr::null()];
    // SAFETY: all three are NUL-terminated strings or null-terminated arrays of such that live across the call.
    unsafe { libc::execve(options.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    anyhow::Error::new(std::io::Error::last_os_error()).context("execve")
}

/// The writable layer of one run.
struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    fn create(parent: &Path) -> Result<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = parent.join(format!("berth-floor-{}-{number}", std::process::id()));
        let scratch = Self { directory };
        std::fs::create_dir(&scratch.directory).context("create the scratch directory")?;
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(scratch.path(name))?;
        }
        Ok(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Removes what a run leaves: overlay's own directory below `work` and whatever mount points it copied up.
    fn remove(&self) -> Result<()> {
        for name in ["work/work", "work", "root"] {
            match std::fs::remove_dir(self.path(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        std::fs::remove_dir(self.path("upper")).context("the program wrote to its root file system")?;
        std::fs::remove_dir(&self.directory)?;
        Ok(())
    }
}
