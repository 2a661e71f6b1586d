//! The zygote: a small process that forks a shim for each request on its stdin.
//!
//! Forking without an exec keeps the pages of all shims shared and costs a fraction of a millisecond. That too is
//! saved where it can be: one shim is forked ahead of its request, has touched the code it will need, and waits for the daemon,
//! which was given a connection to it. The zygote holds no state of any container; when its socket ends it ends, and the
//! others live on: the one that waits ends with the daemon's connection.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use cgroup::Layout;
use oci::rootfs::Rootfs;
use oci_spec::runtime::Spec;
use runtime::Made;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shim_api::frame::{self, Decoder, FrameError, Received};
use shim_api::message::Request;
use shim_api::task::{LogConfig, RestartPolicy, Task};
use shim_api::zygote::{Offer, SpawnRequest};
use sys::clone::Cloned;

use crate::launch::rehearse;
use crate::shim;

/// How long after a fork that failed the next one is tried.
const PAUSE: Duration = Duration::from_millis(30);

/// How long after a start the next shim is forked: a short container, and those who wait for its end, have the CPUs first.
const HEAD_START: Duration = Duration::from_millis(2);

/// How long nobody must have asked for a shim before it makes its sandbox: that takes a processor 2 ms, which the end of a
/// short container, or the next start of many, needs more.
const QUIET: Duration = Duration::from_millis(10);

/// Runs the zygote, and in its children the shims, until the end of the process.
///
/// Expects the zygote's socket as stdin. Must be called first in `main`, while the process has a single thread and no
/// other descriptors that it needs.
pub fn zygote_main() -> ExitCode {
    let Ok(socket) = take_stdin() else {
        return ExitCode::FAILURE;
    };
    prepare();
    // Here and not in each shim: what the daemon is pinned to is not for its containers. Without it they have fewer CPUs.
    sys::process::reset_cpu_affinity().ok();
    // Found once, its open directories are inherited by every shim. Without it `Start` says what is wrong.
    let layout = Layout::detect().ok();
    let zygote = Zygote {
        socket,
        decoder: Decoder::default(),
        spare: None,
        rest: HEAD_START,
    };
    match zygote.run() {
        Ok(Role::Zygote) => ExitCode::SUCCESS,
        Ok(Role::Shim { connection }) => match shim::prepare() {
            Ok(signals) => shim::serve(signals, connection, layout, None, None),
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Role::Spare {
            channel,
            connection,
            is_first,
        }) => wait_for_task(channel, connection, layout, is_first),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What a process is when it comes out of [`Zygote::run`].
#[derive(Debug)]
enum Role {
    /// The zygote, whose daemon has gone.
    Zygote,
    /// A shim that was asked for, with its first connection.
    Shim { connection: OwnedFd },
    /// A shim that nobody has asked for yet, with its first connection and its channel to the zygote.
    Spare {
        channel: OwnedFd,
        connection: OwnedFd,
        is_first: bool,
    },
}

#[derive(Debug)]
struct Zygote {
    socket: OwnedFd,
    decoder: Decoder,
    /// The channel of the shim that was forked ahead, which closes its end when its container was started.
    spare: Option<OwnedFd>,
    /// How long to wait until the next one is forked, when there is none.
    rest: Duration,
}

impl Zygote {
    /// Serves requests. Returns in the zygote at its end, and in each child at its beginning, where everything of the
    /// zygote is dropped.
    fn run(mut self) -> Result<Role, FrameError> {
        // At once: the first container is the one that somebody waits for.
        if let Some(role) = self.fork_spare(true) {
            return Ok(role);
        }
        loop {
            while let Some(SpawnRequest {}) = self.decoder.next()? {
                let connection = self.decoder.take_fds(1)?.pop().ok_or(FrameError::MissingFds)?;
                // A failure closes the connection, which tells the daemon.
                if let Ok(Cloned::Child) = sys::clone::fork() {
                    return Ok(Role::Shim { connection });
                }
            }
            if !self.wait()? {
                if let Some(role) = self.fork_spare(false) {
                    return Ok(role);
                }
                continue;
            }
            if self.decoder.receive(self.socket.as_fd())? == Received::End {
                return Ok(Role::Zygote);
            }
        }
    }

    /// Waits for the daemon; returns `false` when it is time to fork the spare shim that is missing.
    fn wait(&mut self) -> Result<bool, FrameError> {
        if let Some(spare) = &self.spare {
            let found = wait(&[&self.socket, spare], None);
            let is_used = matches!(&found, Ok(found) if *found == [1]);
            if !is_used {
                return is_asked(found);
            }
            self.spare = None;
        }
        is_asked(wait(&[&self.socket], Some(self.rest)))
    }

    /// Forks the shim of the next request and offers it; returns what the child is. A failure leaves none.
    fn fork_spare(&mut self, is_first: bool) -> Option<Role> {
        self.rest = PAUSE;
        let (ours, theirs) = frame::socket_pair().ok()?;
        let (daemons, connection) = frame::socket_pair().ok()?;
        match sys::clone::fork() {
            Ok(Cloned::Child) => Some(Role::Spare {
                channel: theirs,
                connection,
                is_first,
            }),
            Ok(Cloned::Parent { pid, pidfd }) => {
                let pid = pid.as_raw_nonzero().get();
                // Goes whole or not at all; not offered, the shim ends by itself.
                let offer = frame::encode(&Offer { pid }).ok()?;
                frame::send_some(self.socket.as_fd(), &offer, &[daemons.as_fd(), pidfd.as_fd()]).ok()?;
                self.spare = Some(ours);
                self.rest = HEAD_START;
                None
            }
            Err(_) => None,
        }
    }
}

/// Runs a shim that was forked ahead of its request.
fn wait_for_task(channel: OwnedFd, connection: OwnedFd, layout: Option<Layout>, is_first: bool) -> ExitCode {
    let Ok(signals) = shim::prepare() else {
        return ExitCode::FAILURE;
    };
    warm_up();
    let has_time = is_first || wait(&[&connection], Some(QUIET)).is_ok_and(|found| found.is_empty());
    let sandbox = match has_time.then(runtime::make_sandbox) {
        Some(Ok(Made::Sandbox(sandbox))) => Some(sandbox),
        Some(Ok(Made::Holder(socket))) => {
            // The zygote waits for the end of the channel, the daemon for that of the connection.
            drop((channel, connection, signals));
            runtime::hold(&socket)
        }
        // A machine that cannot make one: a start says what is wrong.
        Some(Err(_)) | None => None,
    };
    if sandbox.is_some() {
        // The holder's copy of the memory has taken it all.
        warm_up();
    }
    shim::serve(signals, connection, layout, Some(channel), sandbox)
}

/// Returns whether the first socket is among those that were found.
fn is_asked(found: rustix::io::Result<Vec<usize>>) -> Result<bool, FrameError> {
    match found {
        Ok(found) => Ok(found.contains(&0)),
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(FrameError::Socket { source: errno.into() }),
    }
}

/// Waits until one of `sockets` can be read or has ended, for `longest` at most; returns which.
fn wait(sockets: &[&OwnedFd], longest: Option<Duration>) -> rustix::io::Result<Vec<usize>> {
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    let mut fds: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(*socket, PollFlags::IN))
        .collect();
    rustix::event::poll(&mut fds, longest.as_ref())?;
    let found = |(at, fd): (usize, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(at);
    Ok(fds.iter().enumerate().filter_map(found).collect())
}

/// Decodes a task and plans its start, so that the pages of the code and of the memory that this needs are there when one
/// comes.
fn warm_up() {
    let task = Task {
        id: String::new(),
        spec: Spec::default(),
        rootfs: Rootfs::Directory {
            path: Default::default(),
            idmap: false,
        },
        user: None,
        groups: Vec::new(),
        seccomp_filter: None,
        joined: Vec::new(),
        keep: None,
        network: None,
        init: false,
        stdin: false,
        stdin_once: false,
        log: LogConfig {
            driver: String::new(),
            path: Default::default(),
            options: Default::default(),
            attributes: Default::default(),
        },
        restart: RestartPolicy::No,
        auto_remove: false,
        socket: Default::default(),
        exit_record: Default::default(),
        document: Default::default(),
    };
    let request = Request::Prepare {
        task: Box::new(task),
        console_size: None,
    };
    if let Ok(encoded) = frame::encode(&request) {
        let mut decoder = Decoder::default();
        decoder.push(&encoded);
        // Only the way is of interest.
        if let Ok(Some(Request::Prepare { task, .. })) = decoder.next() {
            rehearse(&task);
        }
    }
}

/// Takes the socket off descriptor 0 and leaves `/dev/null` there.
fn take_stdin() -> std::io::Result<OwnedFd> {
    // Whatever the daemon's parent left open must reach no container. Nothing of ours is open yet.
    sys::fd::close_range(3, i32::MAX, sys::fd::CloseRange::Now)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)?;
    let null = File::open("/dev/null")?;
    sys::fd::dup2_inheritable(null.as_fd(), 0)?;
    Ok(socket)
}

/// Leaves the daemon's session, so that what is typed at its terminal does not reach the containers.
fn prepare() {
    // Each of these is a convenience: the name in `ps`, no zombies, no terminal, the last to be killed.
    rustix::thread::set_name(c"berth-shim").ok();
    rustix::process::setsid().ok();
    sys::signal::ignore(libc::SIGCHLD).ok();
    sys::signal::ignore(libc::SIGHUP).ok();
    // docker's: what a container gets whose document says nothing.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Needs CAP_SYS_RESOURCE. A container's own value is set for its process.
    if let Ok(mut file) = File::options().write(true).open("/proc/self/oom_score_adj") {
        use std::io::Write;
        file.write_all(b"-999").ok();
    }
}
