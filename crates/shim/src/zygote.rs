//! The zygote: a small process that forks a shim for each request on its stdin.
//!
//! Forking without an exec keeps the pages of all shims shared and costs a fraction of a millisecond. That too is
//! saved where it can be: one shim is forked ahead of its request, has touched the code it will need, and waits. The
//! zygote holds no state of any container; when its socket ends it ends with the waiting shim, and the others live on.

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
use rustix::process::Pid;
use shim_api::frame::{self, Decoder, FrameError, Received};
use shim_api::message::Request;
use shim_api::task::{LogConfig, RestartPolicy, Task};
use shim_api::zygote::SpawnRequest;
use sys::clone::Cloned;

use crate::{sandbox, shim};

/// How long a start may be under way, and have the CPUs to itself, before the next shim is forked ahead all the same.
const LONGEST_START: Duration = Duration::from_millis(30);

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
        starting: None,
    };
    match zygote.run() {
        Ok(Role::Zygote) => ExitCode::SUCCESS,
        Ok(Role::Shim { connection, id }) => match shim::prepare() {
            Ok(signals) => shim::serve(signals, connection, &id, layout, None, None),
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Role::Spare { channel, is_first }) => wait_for_task(channel, layout, is_first),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What a process is when it comes out of [`Zygote::run`].
#[derive(Debug)]
enum Role {
    /// The zygote, whose daemon has gone.
    Zygote,
    /// A shim with its first connection.
    Shim { connection: OwnedFd, id: String },
    /// A shim that waits for its first connection.
    Spare { channel: OwnedFd, is_first: bool },
}

/// A shim that waits, as the zygote sees it.
#[derive(Debug)]
struct Spare {
    channel: OwnedFd,
    pid: Pid,
    pidfd: OwnedFd,
}

#[derive(Debug)]
struct Zygote {
    socket: OwnedFd,
    decoder: Decoder,
    /// The shim that waits.
    spare: Option<Spare>,
    /// The channel of the last one that waited; it closes its end when its container was started.
    starting: Option<OwnedFd>,
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
            while let Some(request) = self.decoder.next::<SpawnRequest>()? {
                let connection = self.decoder.take_fds(1)?.pop().ok_or(FrameError::MissingFds)?;
                if self.give_to_spare(&request, &connection) {
                    continue;
                }
                // A failure closes the connection, which tells the daemon.
                if let Ok(Cloned::Child) = sys::clone::fork() {
                    let id = request.id;
                    return Ok(Role::Shim { connection, id });
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
        if self.spare.is_some() {
            return is_asked(wait(&[&self.socket], None));
        }
        if let Some(starting) = &self.starting {
            let found = wait(&[&self.socket, starting], Some(LONGEST_START));
            let has_started = matches!(&found, Ok(found) if *found == [1]);
            if !has_started {
                return is_asked(found);
            }
            self.starting = None;
            return is_asked(wait(&[&self.socket], Some(HEAD_START)));
        }
        is_asked(wait(&[&self.socket], Some(LONGEST_START)))
    }

    /// Forks the shim of the next request; returns what the child is. A failure leaves none.
    fn fork_spare(&mut self, is_first: bool) -> Option<Role> {
        let (ours, theirs) = frame::socket_pair().ok()?;
        match sys::clone::fork() {
            Ok(Cloned::Child) => Some(Role::Spare {
                channel: theirs,
                is_first,
            }),
            Ok(Cloned::Parent { pid, pidfd }) => {
                self.spare = Some(Spare {
                    channel: ours,
                    pid,
                    pidfd,
                });
                self.starting = None;
                None
            }
            Err(_) => None,
        }
    }

    /// Hands a connection to the shim that waits; returns whether there was one.
    fn give_to_spare(&mut self, request: &SpawnRequest, connection: &OwnedFd) -> bool {
        let Some(spare) = self.spare.take() else {
            return false;
        };
        // The daemon that woke the zygote on its CPU goes on with the start.
        sys::process::keep_off_this_cpu(spare.pid, &spare.pidfd).ok();
        let is_given = frame::send(spare.channel.as_fd(), request, &[connection.as_fd()]).is_ok();
        self.starting = Some(spare.channel);
        is_given
    }
}

/// Runs a shim that was forked ahead of its request.
fn wait_for_task(channel: OwnedFd, layout: Option<Layout>, is_first: bool) -> ExitCode {
    let Ok(signals) = shim::prepare() else {
        return ExitCode::FAILURE;
    };
    warm_up();
    let has_time = is_first || wait(&[&channel], Some(QUIET)).is_ok_and(|found| found.is_empty());
    let sandbox = match has_time.then(runtime::make_sandbox) {
        Some(Ok(Made::Sandbox(sandbox))) => Some(sandbox),
        Some(Ok(Made::Holder(socket))) => {
            // The zygote waits for the end of the channel.
            drop((channel, signals));
            return sandbox::hold(&socket, layout.as_ref());
        }
        // A machine that cannot make one: a start says what is wrong.
        Some(Err(_)) | None => None,
    };
    let mut decoder = Decoder::default();
    let request = decoder.wait_for::<SpawnRequest>(channel.as_fd());
    let connection = decoder.take_fds(1).ok().and_then(|mut fds| fds.pop());
    // Awake: from here on it may run wherever there is room.
    sys::process::reset_cpu_affinity().ok();
    match (request, connection) {
        (Ok(Some(request)), Some(connection)) => {
            shim::serve(signals, connection, &request.id, layout, Some(channel), sandbox)
        }
        // The zygote has ended.
        (Ok(None), _) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
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

/// Decodes a task, so that the pages of the code and of the heap that this needs are there when one comes.
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
    let request = Request::Start {
        task: Box::new(task),
        attaches: Vec::new(),
        console_size: None,
        restart_count: 0,
    };
    if let Ok(encoded) = frame::encode(&request) {
        let mut decoder = Decoder::default();
        decoder.push(&encoded);
        // Only the way is of interest.
        decoder.next::<Request>().ok();
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
