//! A connection to one shim: requests are answered in order, events come in between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base::clock::Timestamp;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::frame::{self, Decoder, FrameError, Received};
use crate::message::{AttachOptions, Event, ExecRequest, Failure, Reply, Request, State};
use crate::task::{RestartPolicy, Task};
use crate::zygote::Hello;

/// How long a shim may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client's stream, to be served by the shim.
#[derive(Debug)]
pub struct Attach {
    /// What the client wants.
    pub options: AttachOptions,
    /// The shim's end, of [`stream_pair`].
    pub stream: OwnedFd,
}

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its pid in the host's namespace.
    pub pid: i32,
    /// When it was started.
    pub started_at: Timestamp,
    /// What was done otherwise than asked, for the person who asked.
    pub warnings: Vec<String>,
}

/// Why a shim's socket could not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("connect to the shim at \"{}\"", path.display())]
pub struct ConnectError {
    path: PathBuf,
    source: io::Error,
}

impl ConnectError {
    /// Returns whether no shim listens there: it has ended, or never was.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The shim refused it or failed in it.
    #[error(transparent)]
    Failed(Failure),
    /// The shim died or closed the connection.
    #[error("the shim is gone")]
    Gone,
    /// The request is larger than a frame may be, or has too many streams.
    #[error("the request is too large: {size} bytes, {streams} streams")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// Its number of streams.
        streams: usize,
    },
}

/// A connection to one shim; clones share it, and it closes when the last clone and its [`Events`] are dropped. Must
/// be made within a tokio runtime.
#[derive(Clone, Debug)]
pub struct ShimConnection {
    handle: Arc<Handle>,
}

impl ShimConnection {
    /// Connects to the shim that listens at `path` ([`Task::socket`]).
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        let failed = |source| ConnectError {
            path: path.to_owned(),
            source,
        };
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        let pid = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|errno| failed(errno.into()))?
            .pid
            .as_raw_nonzero()
            .get();
        Ok(Self::over(stream, Some(pid)))
    }

    /// Returns the connection over `stream` to a shim that waits for its first request.
    pub(super) fn to_waiting(stream: UnixStream, pid: i32, pidfd: OwnedFd) -> Self {
        let connection = Self::over(stream, Some(pid));
        if let Some(pid) = Pid::from_raw(pid) {
            *lock(&connection.handle.shared.sleeper) = Some((pid, pidfd));
        }
        connection
    }

    /// Returns a connection over `stream`.
    pub(super) fn over(stream: UnixStream, pid: Option<i32>) -> Self {
        let shared = Arc::new(Shared {
            stream,
            outgoing: Mutex::default(),
            pending: Mutex::default(),
            events: Mutex::default(),
            pid: OnceLock::new(),
            sleeper: Mutex::default(),
            more_to_send: Notify::new(),
            gone: watch::Sender::new(false),
        });
        if let Some(pid) = pid {
            shared.set_pid(pid);
        }
        drop(tokio::spawn(serve(Arc::clone(&shared))));
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// Returns the shim's pid; `None` until a new shim has said it (at the latest with its first reply).
    pub fn shim_pid(&self) -> Option<i32> {
        self.handle.shared.pid.get().copied()
    }

    /// Says what [`ShimConnection::start_prepared`] will run, a [`Task`] as JSON; the first request to a new shim. Does not
    /// wait for it.
    pub fn prepare(&self, task: &RawValue, console_size: Option<(u16, u16)>) -> Result<(), RequestError> {
        let request = Prepare::Prepare { task, console_size };
        if let Some((pid, pidfd)) = lock(&self.handle.shared.sleeper).take() {
            // The daemon goes on with the start on its own. Where there is one CPU, one waits for the other.
            sys::process::keep_off_this_cpu(pid, &pidfd).ok();
        }
        self.handle.shared.send(&request, Vec::new(), None)
    }

    /// Runs the container; the first request to a new shim.
    pub async fn start(
        &self,
        task: Box<Task>,
        attaches: Vec<Attach>,
        console_size: Option<(u16, u16)>,
        restart_count: u32,
    ) -> Result<Started, RequestError> {
        let task = serde_json::value::to_raw_value(&task).map_err(unencodable)?;
        self.prepare(&task, console_size)?;
        self.start_prepared(attaches, restart_count).await
    }

    /// Runs the container that was prepared.
    pub async fn start_prepared(
        &self,
        attaches: Vec<Attach>,
        restart_count: u32,
    ) -> Result<Started, RequestError> {
        let (attaches, streams): (Vec<_>, Vec<_>) = attaches
            .into_iter()
            .map(|attach| (attach.options, attach.stream))
            .unzip();
        let request = Request::Start {
            attaches,
            restart_count,
        };
        started(self.request(&request, streams).await?)
    }

    /// Adds a stream to the running container.
    pub async fn attach(&self, attach: Attach) -> Result<(), RequestError> {
        done(
            self.request(&Request::Attach(attach.options), vec![attach.stream])
                .await?,
        )
    }

    /// Runs another process in the container; `stream` goes with `request.attach`.
    pub async fn exec(
        &self,
        request: Box<ExecRequest>,
        stream: Option<OwnedFd>,
    ) -> Result<Started, RequestError> {
        let streams = stream.into_iter().collect();
        started(self.request(&Request::Exec(request), streams).await?)
    }

    /// Sets the size of the container's terminal, or of an exec's.
    pub async fn resize(&self, exec_id: Option<&str>, rows: u16, columns: u16) -> Result<(), RequestError> {
        let request = Request::Resize {
            exec_id: exec_id.map(str::to_owned),
            rows,
            columns,
        };
        done(self.request(&request, Vec::new()).await?)
    }

    /// Sends a signal to PID 1, to an exec's process, or (`all`) to every process of the container.
    pub async fn signal(&self, exec_id: Option<&str>, signal: i32, all: bool) -> Result<(), RequestError> {
        let request = Request::Signal {
            exec_id: exec_id.map(str::to_owned),
            signal,
            all,
        };
        self.done_soon(&request).await
    }

    /// Marks the container as stopped by a person: no restart policy applies any more.
    pub async fn stop_restarting(&self) -> Result<(), RequestError> {
        self.done_soon(&Request::StopRestarting).await
    }

    /// Replaces the restart policy.
    pub async fn set_restart_policy(&self, policy: RestartPolicy) -> Result<(), RequestError> {
        done(
            self.request(&Request::SetRestartPolicy(policy), Vec::new())
                .await?,
        )
    }

    /// Returns the present state.
    pub async fn state(&self) -> Result<State, RequestError> {
        match self.request(&Request::State, Vec::new()).await? {
            Reply::State(state) => Ok(state),
            Reply::Failed(failure) => Err(RequestError::Failed(failure)),
            Reply::Started { .. } | Reply::Done => Err(unexpected()),
        }
    }

    /// Asks for something that takes a shim no time; one that is stopped or stuck must not hold up who asks (F-13). A
    /// reply that comes later is dropped.
    async fn done_soon(&self, request: &Request) -> Result<(), RequestError> {
        match tokio::time::timeout(PATIENCE, self.request(request, Vec::new())).await {
            Ok(reply) => done(reply?),
            Err(_elapsed) => Err(RequestError::Failed(Failure {
                step: "shim".to_owned(),
                message: format!(
                    "the container's shim does not answer within {} seconds",
                    PATIENCE.as_secs()
                ),
                errno: rustix::io::Errno::TIMEDOUT.raw_os_error(),
            })),
        }
    }

    /// Acknowledges [`Event::Exited`]: the shim may end.
    pub async fn release(&self) -> Result<(), RequestError> {
        done(self.request(&Request::Release, Vec::new()).await?)
    }

    /// Begins to receive events, the first of which tells the present state (when the task was started already). A
    /// second call replaces the first receiver. Does not wait for the shim; may be called before `start`.
    pub async fn subscribe(&self) -> Result<Events, RequestError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *lock(&self.handle.shared.events) = Some(sender);
        self.handle.shared.send(&Request::Subscribe, Vec::new(), None)?;
        Ok(Events {
            receiver,
            _handle: Arc::clone(&self.handle),
        })
    }

    /// Returns when the shim has died or closed the connection.
    pub async fn closed(&self) {
        let mut gone = self.handle.shared.gone.subscribe();
        // An error means that the sender is dropped, which it cannot be while `self` lives.
        if gone.wait_for(|gone| *gone).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn request(&self, request: &Request, streams: Vec<OwnedFd>) -> Result<Reply, RequestError> {
        let (sender, receiver) = oneshot::channel();
        self.handle.shared.send(request, streams, Some(sender))?;
        receiver.await.or(Err(RequestError::Gone))
    }
}

/// The events of one shim.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    _handle: Arc<Handle>,
}

impl Events {
    /// Returns the next event, or `None` when the shim is gone (or another subscription took over).
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

/// Returns a connected pair of stream sockets: the daemon's end of a client's stream and the shim's.
pub fn stream_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = frame::socket_pair()?;
    Ok((UnixStream::from_std(ours.into())?, theirs))
}

fn started(reply: Reply) -> Result<Started, RequestError> {
    match reply {
        Reply::Started {
            pid,
            started_at,
            warnings,
        } => Ok(Started {
            pid,
            started_at,
            warnings,
        }),
        Reply::Failed(failure) => Err(RequestError::Failed(failure)),
        Reply::Done | Reply::State(_) => Err(unexpected()),
    }
}

fn done(reply: Reply) -> Result<(), RequestError> {
    match reply {
        Reply::Done => Ok(()),
        Reply::Failed(failure) => Err(RequestError::Failed(failure)),
        Reply::Started { .. } | Reply::State(_) => Err(unexpected()),
    }
}

fn unencodable(error: impl std::error::Error) -> RequestError {
    RequestError::Failed(Failure {
        step: "protocol".to_owned(),
        message: base::error::chain(&error).to_string(),
        errno: 0,
    })
}

fn unexpected() -> RequestError {
    RequestError::Failed(Failure {
        step: "protocol".to_owned(),
        message: "the shim answered something else than was asked".to_owned(),
        errno: 0,
    })
}

/// [`Request::Prepare`] with a task that is encoded already.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Prepare<'a> {
    Prepare {
        task: &'a RawValue,
        console_size: Option<(u16, u16)>,
    },
}

/// Ends the connection when the last owner is gone; the serving task then ends by itself.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A socket that is closed already has nothing to shut down.
        rustix::net::shutdown(&self.shared.stream, rustix::net::Shutdown::Both).ok();
    }
}

/// What the requesters and the serving task share. No lock is held across an await or while another is taken, but for
/// `outgoing`, under which `pending` is taken so that replies match requests.
#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    outgoing: Mutex<VecDeque<Outgoing>>,
    pending: Mutex<VecDeque<oneshot::Sender<Reply>>>,
    events: Mutex<Option<mpsc::UnboundedSender<Event>>>,
    pid: OnceLock<i32>,
    /// The shim, as long as it waits for its first request.
    sleeper: Mutex<Option<(Pid, OwnedFd)>>,
    more_to_send: Notify,
    gone: watch::Sender<bool>,
}

/// A frame that is not sent completely yet.
#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// A frame from the shim.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Incoming {
    Reply(Reply),
    Event(Event),
    Hello(Hello),
}

impl Shared {
    /// Sends or queues a request; a request with a `waiter` gets a reply. Never leaves half a frame behind when the
    /// caller is cancelled.
    fn send(
        &self,
        request: &impl Serialize,
        fds: Vec<OwnedFd>,
        waiter: Option<oneshot::Sender<Reply>>,
    ) -> Result<(), RequestError> {
        let streams = fds.len();
        let too_large = |size| RequestError::TooLarge { size, streams };
        let frame = match frame::encode(request) {
            Ok(frame) if streams <= frame::MAXIMUM_FDS => frame,
            Ok(frame) => return Err(too_large(frame.len())),
            Err(FrameError::TooLarge { size, .. }) => return Err(too_large(size)),
            Err(error) => return Err(unencodable(error)),
        };
        let mut outgoing = lock(&self.outgoing);
        if *self.gone.borrow() {
            return Err(RequestError::Gone);
        }
        if let Some(waiter) = waiter {
            lock(&self.pending).push_back(waiter);
        }
        outgoing.push_back(Outgoing { frame, sent: 0, fds });
        // The socket is tried directly: tokio knows of its readiness only after the next turn of its driver.
        match flush(self.stream.as_fd(), &mut outgoing) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more_to_send.notify_one(),
            Err(_) => {
                drop(outgoing);
                self.end();
                return Err(RequestError::Gone);
            }
        }
        Ok(())
    }

    fn handle(&self, incoming: Incoming) {
        match incoming {
            Incoming::Hello(hello) => self.set_pid(hello.hello),
            Incoming::Reply(reply) => {
                if let Some(waiter) = lock(&self.pending).pop_front() {
                    // The requester may have been cancelled.
                    drop(waiter.send(reply));
                }
            }
            Incoming::Event(event) => {
                let mut events = lock(&self.events);
                if events.as_ref().is_some_and(|sender| sender.send(event).is_err()) {
                    *events = None;
                }
            }
        }
    }

    fn set_pid(&self, pid: i32) {
        // Only the first is believed.
        self.pid.get_or_init(|| pid);
    }

    /// Fails everything that waits.
    fn end(&self) {
        self.gone.send_replace(true);
        lock(&self.outgoing).clear();
        lock(&self.pending).clear();
        *lock(&self.events) = None;
    }
}

/// Sends as much as the socket takes.
fn flush(socket: BorrowedFd<'_>, outgoing: &mut VecDeque<Outgoing>) -> io::Result<()> {
    while let Some(first) = outgoing.front_mut() {
        let fds = if first.sent == 0 {
            frame::borrow(&first.fds)
        } else {
            Vec::new()
        };
        first.sent += frame::send_some(socket, &first.frame[first.sent..], &fds)?;
        if first.sent == first.frame.len() {
            outgoing.pop_front();
        }
    }
    Ok(())
}

/// Receives until the shim is gone, and sends what a requester could not.
async fn serve(shared: Arc<Shared>) {
    let mut decoder = Decoder::default();
    loop {
        let interest = if lock(&shared.outgoing).is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let ready = tokio::select! {
            ready = shared.stream.ready(interest) => ready,
            () = shared.more_to_send.notified() => continue,
        };
        let Ok(ready) = ready else { break };
        if ready.is_writable() && interest.is_writable() {
            let result = shared.stream.try_io(Interest::WRITABLE, || {
                flush(shared.stream.as_fd(), &mut lock(&shared.outgoing))
            });
            if result.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                break;
            }
        }
        if (ready.is_readable() || ready.is_read_closed()) && !receive(&shared, &mut decoder) {
            break;
        }
    }
    shared.end();
}

/// Receives once; returns whether there may be more.
fn receive(shared: &Shared, decoder: &mut Decoder) -> bool {
    let result = shared.stream.try_io(Interest::READABLE, || {
        match decoder.receive(shared.stream.as_fd()) {
            Ok(Received::Nothing) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(received) => Ok(received),
            Err(error) => Err(io::Error::other(error)),
        }
    });
    match result {
        Ok(Received::End) => return false,
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            return false;
        }
        _ => {}
    }
    loop {
        match decoder.next::<Incoming>() {
            Ok(Some(incoming)) => shared.handle(incoming),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Locks; a panic of another holder leaves nothing half-done in these queues.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
