//! What a daemon asks for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;
use shim_api::message::{AttachOptions, Event, ExecRequest, Failure, Reply, Request, State};
use shim_api::task::{RestartPolicy, Task};

use crate::client::{Client, Patience};
use crate::container::{Backoff, Container, Log, Phase};
use crate::exec::exec;
use crate::launch::{Ready, failure, fits_sandbox, has_own_pids, launch};
use crate::session::{Owner, Session};
use crate::shim::{Listener, Prepared, Shim};

impl Shim {
    /// Carries out a request that came on connection `index`.
    pub(crate) fn carry_out(&mut self, index: usize, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Subscribe => return self.subscribe(index),
            Request::Prepare { task, console_size } => {
                return self.prepare(task, console_size);
            }
            _ => {}
        }
        let is_start = matches!(request, Request::Start { .. });
        let reply = self.answer(request, fds).unwrap_or_else(Reply::Failed);
        self.connections[index].send(&reply);
        if is_start {
            self.start = None;
        }
        if is_start && let Reply::Started { pid, started_at, .. } = reply {
            // Those who subscribed before there was anything to tell.
            let restart_count = self
                .container
                .as_ref()
                .map_or(0, |container| container.restart_count);
            self.broadcast(&Event::Running {
                pid,
                started_at,
                restart_count,
            });
        }
    }

    fn answer(&mut self, request: Request, mut fds: Vec<OwnedFd>) -> Result<Reply, Failure> {
        match request {
            Request::Start {
                attaches,
                restart_count,
            } => {
                let attaches = attaches.into_iter().zip(fds).collect();
                let result = self.start(attaches, restart_count);
                self.has_failed |= result.is_err() && self.container.is_none();
                result
            }
            Request::Attach(options) => self.attach(options, fds.pop()),
            Request::Exec(request) => self.exec(&request, fds.pop()),
            Request::Resize {
                exec_id,
                rows,
                columns,
            } => self.resize(exec_id.as_deref(), rows, columns),
            Request::Signal { exec_id, signal, all } => self.signal(exec_id.as_deref(), signal, all),
            Request::StopRestarting => {
                self.container_mut()?.is_stopped_by_person = true;
                self.stop_restarting();
                Ok(Reply::Done)
            }
            Request::SetRestartPolicy(policy) => self.set_restart_policy(policy),
            Request::State => Ok(Reply::State(self.container_mut()?.state())),
            Request::Release => self.release(),
            Request::Subscribe | Request::Prepare { .. } => Ok(Reply::Done),
        }
    }

    /// Takes what will be started, and has all ready for it that needs nothing but the task.
    fn prepare(&mut self, task: Box<Task>, console_size: Option<(u16, u16)>) {
        // Awake: from here on it may run wherever there is room.
        sys::process::reset_cpu_affinity().ok();
        // One that does not fit is of no use; what is wrong with the maps is told by a start without it.
        self.sandbox = self
            .sandbox
            .take()
            .filter(|_| fits_sandbox(&task))
            .filter(|sandbox| sandbox.map_ids(&task.spec).is_ok());
        self.discard_prepared();
        // Who still has the socket removes the group of the last run before it lets go of it.
        let is_alone = !task.socket.exists();
        let ready = Ready::make(&task, console_size).and_then(|mut ready| {
            if is_alone {
                ready.group(&task, self.layout.as_ref())?;
            }
            Ok(ready)
        });
        self.prepared = Some(Prepared { task, ready });
    }

    /// Leaves nothing of what was prepared and will not be started.
    pub(crate) fn discard_prepared(&mut self) {
        if let Some(Ok(ready)) = self.prepared.take().map(|prepared| prepared.ready) {
            ready.discard();
        }
    }

    fn start(
        &mut self,
        attaches: Vec<(AttachOptions, OwnedFd)>,
        restart_count: u32,
    ) -> Result<Reply, Failure> {
        if self.container.is_some() {
            return Err(failure("protocol", "the container was started already"));
        }
        let Prepared { mut task, ready } = self
            .prepared
            .take()
            .ok_or_else(|| failure("protocol", "there is nothing to start"))?;
        let mut ready = ready?;
        let listening = self.listen(&task).and_then(|log| {
            ready.group(&task, self.layout.as_ref())?;
            Ok(log)
        });
        let log = match listening {
            Ok(log) => log,
            Err(failure) => {
                self.listener = None;
                ready.discard();
                return Err(failure);
            }
        };
        let launched = launch(&mut task, ready, None, self.sandbox.take()).inspect_err(|_| {
            self.listener = None;
        })?;
        let mut session = launched.session;
        for (options, stream) in attaches {
            let client = Client::new(stream, options, session.is_tty(), Patience::Reader);
            session.clients.push(client);
        }
        self.sessions.push(session);
        let reply = Reply::Started {
            pid: launched.run.pid,
            started_at: launched.run.started_at,
            warnings: launched.warnings,
        };
        self.container = Some(Container {
            id: task.id.clone(),
            document: task.document.clone(),
            exit_record: task.exit_record.clone(),
            is_removed_at_exit: task.auto_remove,
            has_own_pids: has_own_pids(&task.spec),
            log,
            policy: task.restart,
            is_stopped_by_person: false,
            restart_count,
            backoff: Backoff::default(),
            phase: Phase::Running(launched.run),
            cgroup: launched.cgroup,
            oom: None,
            oom_kills_before: 0,
            oom_kills: 0,
            leftovers: launched.leftovers,
            settle_at: None,
        });
        self.settle_soon();
        Ok(reply)
    }

    /// Makes the shim one that the next daemon finds, which must be so from PID 1's first moment on.
    fn listen(&mut self, task: &Task) -> Result<Log, Failure> {
        let log = Log::new(task).map_err(|error| failure("log", error.to_string()))?;
        self.listener = Some(Listener::bind(&task.socket)?);
        Ok(log)
    }

    fn subscribe(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.is_subscribed = true;
        let Some(container) = &self.container else {
            return;
        };
        connection.send(&match container.state() {
            State::Running {
                pid,
                started_at,
                restart_count,
            } => Event::Running {
                pid,
                started_at,
                restart_count,
            },
            State::Restarting { last } => Event::Restarting { last },
            State::Exited { record } => Event::Exited { record },
        });
    }

    fn attach(&mut self, options: AttachOptions, stream: Option<OwnedFd>) -> Result<Reply, Failure> {
        let session = self
            .sessions
            .iter_mut()
            .find(|session| matches!(session.owner, Owner::Container));
        let (Some(session), Some(stream)) = (session, stream) else {
            return Err(not_running());
        };
        let client = Client::new(stream, options, session.is_tty(), Patience::Onlooker);
        session.clients.push(client);
        Ok(Reply::Done)
    }

    fn exec(&mut self, request: &ExecRequest, stream: Option<OwnedFd>) -> Result<Reply, Failure> {
        if self.session(Some(&request.id)).is_some() {
            return Err(failure("exec", format!("the exec \"{}\" is running", request.id)));
        }
        let container = self.container.as_ref().ok_or_else(not_running)?;
        let (session, reply) = exec(container, request, stream)?;
        self.sessions.push(session);
        self.settle_soon();
        Ok(reply)
    }

    fn resize(&mut self, exec_id: Option<&str>, rows: u16, columns: u16) -> Result<Reply, Failure> {
        let session = self.session(exec_id).ok_or_else(not_running)?;
        let terminal = session.terminal().ok_or_else(|| Failure {
            errno: libc::ENOTTY,
            ..failure("resize", "the process has no terminal")
        })?;
        sys::tty::set_size(terminal, rows, columns).map_err(|error| Failure {
            errno: error.raw_errno(),
            ..failure("resize", error.to_string())
        })?;
        Ok(Reply::Done)
    }

    fn signal(&mut self, exec_id: Option<&str>, signal: i32, all: bool) -> Result<Reply, Failure> {
        let pidfd = match exec_id {
            Some(_) => self.session(exec_id).and_then(|session| match &session.owner {
                Owner::Exec { pidfd, .. } => Some(pidfd.as_fd()),
                Owner::Container | Owner::Nobody => None,
            }),
            None => self
                .container
                .as_ref()
                .and_then(|container| match &container.phase {
                    Phase::Running(run) => Some(run.pidfd.as_fd()),
                    Phase::Restarting { .. } | Phase::Exited(_) => None,
                }),
        };
        let pidfd = pidfd.ok_or_else(not_running)?;
        let of_container = self.container.as_ref().filter(|_| all && exec_id.is_none());
        let cgroup = of_container.and_then(|container| container.cgroup.as_ref());
        if let Some(cgroup) = cgroup {
            let own_pids = of_container.is_some_and(|container| container.has_own_pids);
            match Signal::from_named_raw(signal) {
                // The others end with PID 1, unless the group is frozen.
                Some(Signal::KILL) if own_pids => {
                    send_signal(pidfd, signal)?;
                    cgroup.thaw().ok();
                    return Ok(Reply::Done);
                }
                Some(named) => {
                    return cgroup
                        .kill(named)
                        .map(|()| Reply::Done)
                        .map_err(|error| failure("signal", base::error::chain(&error).to_string()));
                }
                None => {}
            }
        }
        send_signal(pidfd, signal).map(|()| Reply::Done)
    }

    fn set_restart_policy(&mut self, policy: RestartPolicy) -> Result<Reply, Failure> {
        let container = self.container_mut()?;
        container.policy = policy;
        let is_pending = match &container.phase {
            Phase::Restarting { last, .. } => !container.should_restart(last.code),
            Phase::Running(_) | Phase::Exited(_) => false,
        };
        if is_pending {
            self.stop_restarting();
        }
        Ok(Reply::Done)
    }

    fn release(&mut self) -> Result<Reply, Failure> {
        if self.container.is_none() {
            self.discard_prepared();
            self.has_failed = true;
            return Ok(Reply::Done);
        }
        if !matches!(self.container_mut()?.phase, Phase::Exited(_)) {
            return Err(failure("release", "the container has not ended"));
        }
        // Before the reply: after it the daemon may start a new shim on the same path.
        self.listener = None;
        self.is_released = true;
        Ok(Reply::Done)
    }

    fn session(&self, exec_id: Option<&str>) -> Option<&Session> {
        self.sessions
            .iter()
            .find(|session| match (&session.owner, exec_id) {
                (Owner::Container, None) => true,
                (Owner::Exec { id, .. }, Some(wanted)) => id == wanted,
                _ => false,
            })
    }

    fn container_mut(&mut self) -> Result<&mut Container, Failure> {
        self.container.as_mut().ok_or_else(not_running)
    }
}

fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Failure> {
    sys::signal::pidfd_send_signal(pidfd, signal).map_err(|error| Failure {
        errno: error.raw_errno(),
        ..failure("signal", error.to_string())
    })
}

fn not_running() -> Failure {
    Failure {
        errno: libc::ESRCH,
        ..failure("state", "the process is not running")
    }
}
