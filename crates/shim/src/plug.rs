//! Plugging the container into its networks, on each start: cables, and the sockets of its name server.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use base::error::chain;
use netd_api::handover::{self, HandoverError, Sockets};
use netlink::Socket;
use network::endpoint::{self, Attach, EndpointError, Lent, Restored, Settings};
use network::shape;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use runtime::{CreateError, Plug, Step};
use rustix::io::Errno;
use shim_api::task::{Sandbox, Task};
use sys::netlink::Family;

/// How long the name server may take to let go of the sockets of an earlier run.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// The networks of one container.
#[derive(Debug)]
pub(crate) struct Networks<'a> {
    container: &'a str,
    sandbox: &'a Sandbox,
    /// Whether the namespace is one that an earlier run has left.
    is_kept: bool,
    /// The cables that were made.
    made: RefCell<Vec<String>>,
    borrowed: RefCell<Borrowed>,
}

impl<'a> Networks<'a> {
    /// Returns those of a task, if there are any.
    pub(crate) fn of(task: &'a Task) -> Option<Self> {
        let sandbox = task.network.as_ref()?;
        Some(Self::new(&task.id, sandbox, &task.spec))
    }

    /// `spec` has the path of a namespace that was kept.
    fn new(container: &'a str, sandbox: &'a Sandbox, spec: &Spec) -> Self {
        let namespaces = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        let is_kept = namespaces
            .into_iter()
            .flatten()
            .any(|namespace| namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_some());
        Self {
            container,
            sandbox,
            is_kept,
            made: RefCell::default(),
            borrowed: RefCell::default(),
        }
    }

    /// Undoes a start that failed: its cables are removed, so that their addresses are free when this returns. The namespace
    /// would take them along too, but at a time of its own.
    pub(crate) fn unplug(&self) {
        give_back(&self.borrowed.take());
        let made = self.made.take();
        if made.is_empty() {
            return;
        }
        if let Ok(mut host) = Socket::open(Family::Route) {
            for port in made {
                // The failure of the start is the one to report.
                endpoint::leave(&mut host, &port).ok();
            }
        }
    }

    /// Returns what must be given back when the container ends.
    pub(crate) fn into_borrowed(self) -> Borrowed {
        self.borrowed.into_inner()
    }

    fn join(
        &self,
        host: &mut Socket,
        namespace: BorrowedFd<'_>,
        settings: &Settings,
    ) -> Result<(), CreateError> {
        self.plug_into(host, namespace, settings)
            .map_err(|error| failed(error.errno(), &error))?;
        if settings.rates.is_unlimited() {
            return Ok(());
        }
        let Attach::Bridge { port, .. } = &settings.attach else {
            let message = "limits of what is received and sent need a bridge";
            return Err(CreateError::new(Step::Network, libc::ENOTSUP, message));
        };
        self.borrowed.borrow_mut().shaped.push(port.clone());
        shape::limit(host, port, settings.rates).map_err(|error| failed(None, &error))
    }

    fn plug_into(
        &self,
        host: &mut Socket,
        namespace: BorrowedFd<'_>,
        settings: &Settings,
    ) -> Result<(), EndpointError> {
        let lent = if self.is_kept {
            match endpoint::restore(host, namespace, settings)? {
                Restored::WasThere => return Ok(()),
                Restored::Joined(lent) => lent,
            }
        } else {
            endpoint::join(host, namespace, settings)?
        };
        if let Attach::Bridge { port, .. } = &settings.attach {
            self.made.borrow_mut().push(port.clone());
        }
        self.borrowed.borrow_mut().lent.extend(lent);
        Ok(())
    }
}

/// What a container has of the host and does not take along when it ends.
#[derive(Debug, Default)]
pub(crate) struct Borrowed {
    /// Links of the host.
    lent: Vec<Lent>,
    /// Ports whose rates are limited.
    shaped: Vec<String>,
}

/// Gives everything back. A link that cannot be is the kernel's to move, when the container's namespace ends.
pub(crate) fn give_back(borrowed: &Borrowed) {
    if borrowed.lent.is_empty() && borrowed.shaped.is_empty() {
        return;
    }
    if let Ok(mut host) = Socket::open(Family::Route) {
        for link in &borrowed.lent {
            endpoint::give_back(&mut host, link).ok();
        }
        for port in &borrowed.shaped {
            shape::release(&mut host, port).ok();
        }
    }
}

impl Plug for Networks<'_> {
    fn plug(&self, namespace: BorrowedFd<'_>, process: BorrowedFd<'_>) -> Result<(), CreateError> {
        if !self.sandbox.endpoints.is_empty() {
            let mut host = Socket::open(Family::Route).map_err(|error| failed(error.errno(), &error))?;
            for settings in &self.sandbox.endpoints {
                self.join(&mut host, namespace, settings)?;
            }
        }
        let Some(server) = &self.sandbox.resolver else {
            return Ok(());
        };
        self.sockets(namespace)
            .and_then(|sockets| handover::hand_over(server, self.container, &sockets, Some(process)))
            .map_err(|error| failed(errno_of(&error), &error))
    }
}

impl Networks<'_> {
    /// Makes the sockets of the container's name server. In a namespace that was kept they may be those of the run before
    /// for as long as it takes the server to hear that this one has ended.
    fn sockets(&self, namespace: BorrowedFd<'_>) -> Result<Sockets, HandoverError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let made = sys::namespace::visit_network(namespace, handover::sockets)
                .map_err(|source| HandoverError::Make { source })?;
            match made {
                Err(error) if self.is_kept && errno_of(&error) == Some(Errno::ADDRINUSE) => {
                    if Instant::now() >= deadline {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
                made => return made,
            }
        }
    }
}

fn errno_of(error: &HandoverError) -> Option<Errno> {
    match error {
        HandoverError::Make { source } => Some(source.errno()),
        HandoverError::Connect { source, .. } => Errno::from_io_error(source),
        HandoverError::Send { .. } => None,
    }
}

fn failed(errno: Option<Errno>, error: &dyn std::error::Error) -> CreateError {
    let errno = errno.map_or(0, Errno::raw_os_error);
    CreateError::new(Step::Network, errno, chain(error).to_string())
}
