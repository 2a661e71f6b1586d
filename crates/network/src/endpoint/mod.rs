//! Endpoints: where a container is plugged into a network.
//!
//! * [`cable`]: two ends, of which one is a port of the bridge, the other an interface in the container's network
//!   namespace. It is made with its other end in place, so nothing is ever moved or renamed. It goes away with the
//!   namespace; only leaving a network while the container runs removes it. The host's end comes up last, when everything
//!   inside is set: as long as it is down nothing comes in.
//! * [`shared`]: more addresses on a link of the host, made inside the namespace.
//! * [`lent`]: a link of the host itself, moved in and given back.

mod announce;
mod cable;
mod interface;
mod lent;
mod parameter;
mod shared;

use std::io;
use std::os::fd::BorrowedFd;

use base::error::{Kind, Kinded};
use netlink::route::{LinkChange, Target, remove_link};
use netlink::{NetlinkError, Socket};
use rustix::io::Errno;
use sys::netlink::Family;

pub use announce::{add as add_address, remove as remove_address};
pub use lent::{Lent, give_back};
pub use oci::endpoint::{Attach, Route, Settings};
use parameter::Parameter;

/// Why a container could not be plugged in or out.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The host's end could not be made.
    #[error("plug \"{port}\" into the bridge")]
    Host {
        /// The host's end.
        port: String,
        /// Why.
        source: NetlinkError,
    },
    /// The bridge is not there.
    #[error("find bridge \"{bridge}\"")]
    Bridge {
        /// The bridge.
        bridge: String,
        /// Why.
        source: NetlinkError,
    },
    /// A link of the host is not there, or cannot be used.
    #[error("use link \"{link}\" of the host")]
    Parent {
        /// The link.
        link: String,
        /// Why.
        source: NetlinkError,
    },
    /// The kernel does not know the kind of link that a driver makes.
    #[error("the kernel has no {driver} links")]
    NoDriver {
        /// The driver.
        driver: &'static str,
    },
    /// A driver has no such mode.
    #[error("{driver} has no mode \"{mode}\"")]
    Mode {
        /// The driver.
        driver: &'static str,
        /// What was given.
        mode: String,
    },
    /// The bridge has as many ports as it can have.
    #[error("bridge \"{bridge}\" has no port left: the kernel gives it 1,023")]
    Full {
        /// The bridge.
        bridge: String,
    },
    /// The container's end could not be set up.
    #[error("set up interface \"{interface}\" in the container")]
    Container {
        /// The container's end.
        interface: String,
        /// Why.
        source: NetlinkError,
    },
    /// The container's network namespace could not be entered.
    #[error("enter the container's network namespace")]
    Namespace(#[source] sys::SyscallError),
    /// A parameter is none of one interface.
    #[error("\"{name}\" is not a parameter of an interface: net.ipv4.conf.IFNAME.NAME and the like are")]
    NotAParameter {
        /// Its name as it was given.
        name: String,
    },
    /// A parameter could not be set.
    #[error("set {name} to \"{value}\"")]
    Parameter {
        /// Its name as sysctl(8) has it.
        name: String,
        /// The value.
        value: String,
        /// Why.
        source: io::Error,
    },
}

impl EndpointError {
    /// Returns the errno with which the kernel refused, if it did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Host { source, .. }
            | Self::Bridge { source, .. }
            | Self::Parent { source, .. }
            | Self::Container { source, .. } => source.errno(),
            Self::Namespace(error) => Some(error.errno()),
            Self::Parameter { source, .. } => Errno::from_io_error(source),
            Self::Full { .. } => Some(Errno::XFULL),
            Self::NotAParameter { .. } | Self::Mode { .. } => Some(Errno::INVAL),
            Self::NoDriver { .. } => Some(Errno::OPNOTSUPP),
        }
    }
}

impl Kinded for EndpointError {
    fn kind(&self) -> Kind {
        match self {
            Self::Host { source, .. }
            | Self::Bridge { source, .. }
            | Self::Parent { source, .. }
            | Self::Container { source, .. } => source.kind(),
            Self::Full { .. } => Kind::Conflict,
            Self::Namespace(error) => base::error::kind_of_io(&error.errno().into()),
            Self::NotAParameter { .. } | Self::Mode { .. } => Kind::Invalid,
            Self::NoDriver { .. } => Kind::Unsupported,
            Self::Parameter { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// Plugs the container whose network namespace is `container` into a network. `host` is a socket of the caller's own
/// namespace, where bridges and links of the host are. What was done before a failure is undone.
///
/// A cable of an earlier run of the container, whose namespace the kernel has not taken down yet, is removed. An interface
/// of that name in the container is an error. Returns what must be given back when the container ends.
pub fn join(
    host: &mut Socket,
    container: BorrowedFd<'_>,
    settings: &Settings,
) -> Result<Option<Lent>, EndpointError> {
    let parameters = parameter::plan(settings)?;
    let inside = Inside {
        namespace: container,
        settings,
        parameters: &parameters,
    };
    match &settings.attach {
        Attach::Bridge {
            bridge,
            port,
            talking,
        } => cable::join(host, &inside, bridge, port, *talking).map(|()| None),
        Attach::Macvlan { .. } | Attach::Ipvlan { .. } => shared::join(host, &inside).map(|()| None),
        Attach::Phys { link } => lent::join(host, &inside, link).map(Some),
    }
}

/// As [`join`], for a namespace that was kept from an earlier run: what is there stays, with what the container has made of
/// it; what is missing of the settings is added.
pub fn restore(
    host: &mut Socket,
    container: BorrowedFd<'_>,
    settings: &Settings,
) -> Result<Restored, EndpointError> {
    let parameters = parameter::plan(settings)?;
    let inside = Inside {
        namespace: container,
        settings,
        parameters: &parameters,
    };
    let is_there = match &settings.attach {
        Attach::Bridge {
            bridge,
            port,
            talking,
        } => cable::restore(host, &inside, bridge, port, *talking)?,
        Attach::Macvlan { .. } | Attach::Ipvlan { .. } => shared::restore(&inside)?,
        // It is given back at the end of each run.
        Attach::Phys { .. } => false,
    };
    if is_there {
        return Ok(Restored::WasThere);
    }
    join(host, container, settings).map(Restored::Joined)
}

/// What [`restore`] found.
#[derive(Debug)]
pub enum Restored {
    /// The interface; it is as it was.
    WasThere,
    /// Nothing, so the container was plugged in.
    Joined(Option<Lent>),
}

/// Plugs a container out of a bridge; one that is not plugged in stays so. It waits for the kernel: a container that has
/// ended needs it not.
pub fn leave(host: &mut Socket, port: &str) -> Result<(), EndpointError> {
    match host.request(&[remove_link(Target::Name(port))]) {
        Err(source) if !source.is_absent() => Err(EndpointError::Host {
            port: port.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Removes an interface inside of a container, which is how one leaves what is no bridge; one that is not there stays so.
pub fn remove(container: BorrowedFd<'_>, interface: &str) -> Result<(), EndpointError> {
    let failed = |source| EndpointError::Container {
        interface: interface.to_owned(),
        source,
    };
    let inside = sys::namespace::visit_network(container, || Socket::open(Family::Route));
    let mut inside = inside.map_err(EndpointError::Namespace)?.map_err(failed)?;
    match inside.request(&[remove_link(Target::Name(interface))]) {
        Err(source) if !source.is_absent() => Err(failed(source)),
        _ => Ok(()),
    }
}

/// What every way of joining needs of the container.
#[derive(Clone, Copy, Debug)]
struct Inside<'a> {
    namespace: BorrowedFd<'a>,
    settings: &'a Settings,
    parameters: &'a [Parameter],
}

fn up() -> LinkChange<'static> {
    LinkChange {
        up: Some(true),
        ..LinkChange::default()
    }
}
