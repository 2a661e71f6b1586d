//! The messages.
//!
//! ```text
//! shim   ── Handover + 2 or 3 fds ──▶ netd
//! daemon ── Call{number, request} ──▶ netd ── Answer{number, reply} ──▶ daemon
//! ```
//!
//! Every request may be repeated. A daemon that has started anew sends one [`Request::Replace`] with everything that it
//! knows; netd forgets the rest.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What both sides must agree on: raised with every change of the messages or of what netd does.
pub const VERSION: u32 = 2;

/// What is sent to netd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The resolver's sockets of one container: UDP, TCP and, if there is a third descriptor, a pidfd with whose process
    /// they end. From a shim, or from a daemon for a netd that was started anew. Not answered.
    Handover {
        /// The container's id, 64 hex digits.
        container: String,
    },
    /// A request of the daemon.
    Call {
        /// Returned with the reply.
        number: u64,
        /// What is wanted.
        request: Request,
    },
}

/// A netd's answer to [`Message::Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The number of the call.
    pub number: u64,
    /// The reply.
    pub reply: Reply,
}

/// What the daemon wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Asks for [`Reply::Hello`].
    Hello,
    /// Everything. Networks, containers, reservations and proxies that are not in it are forgotten, with the sockets
    /// of such containers; a reservation or proxy that is held already stays as it is.
    Replace(Everything),
    /// One network as a whole.
    SetNetwork(Network),
    /// Forgets a network and its names.
    RemoveNetwork {
        /// Its id.
        network: String,
    },
    /// Adds an address to a name; the network's name and kind stay. No error if it is there already.
    AddName(NameChange),
    /// Takes an address from a name. No error if it is not there.
    RemoveName(NameChange),
    /// What one container's queries are answered from. Its sockets come with [`Message::Handover`], before or after.
    SetContainer(Container),
    /// Forgets a container: its sockets, reservations and proxies.
    RemoveContainer {
        /// Its id.
        container: String,
    },
    /// Keeps host ports from others. All or none. What the same container has already is kept.
    Reserve {
        /// For whom.
        container: String,
        /// What.
        reservations: Vec<Reservation>,
    },
    /// Gives all reservations and proxies of a container back.
    Release {
        /// Its id.
        container: String,
    },
    /// Passes what comes in at `listen` on to `to`.
    Proxy(Proxy),
    /// Several, one after the other, up to the first that is not answered by [`Reply::Done`]: its answer is the answer.
    /// What was done before it stays done. Steps within steps are refused.
    Steps(Vec<Self>),
    /// Asks for [`Reply::State`].
    State,
    /// Ends netd, after [`Reply::Done`].
    Quit,
}

/// All that a daemon tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Everything {
    /// All networks.
    pub networks: Vec<Network>,
    /// All containers that run.
    pub containers: Vec<Container>,
    /// All reservations, by container.
    pub reservations: Vec<Reserved>,
    /// All proxies.
    pub proxies: Vec<Proxy>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name: `container.network` is a name too, and what a reverse look-up says.
    pub name: String,
    /// Whether nothing leads out of it.
    pub internal: bool,
    /// Who is in it.
    pub names: Vec<Name>,
}

/// A name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// A container's name, alias or short id; dots are allowed, upper case is not told from lower.
    pub name: String,
    /// Its addresses. Several containers may share an alias.
    pub addresses: Vec<IpAddr>,
    /// Whether a reverse look-up of these addresses answers this name: of a container, its name and not its aliases.
    #[serde(default)]
    pub reverse: bool,
}

/// A change of one name in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameChange {
    /// The network's id.
    pub network: String,
    /// The name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// See [`Name::reverse`].
    #[serde(default)]
    pub reverse: bool,
}

/// What one container's queries are answered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The ids of its networks; a name is looked for in this order.
    pub networks: Vec<String>,
    /// Names that only this container knows: its links, and aliases of its own. They come before the networks'.
    #[serde(default)]
    pub names: Vec<Name>,
    /// Who is asked for other names, at most three. `None`: whoever the host's `resolv.conf` names, now or later.
    pub upstreams: Option<Vec<IpAddr>>,
    /// Whether other names are asked for at all. They are not, whatever this says, when all networks are internal.
    pub forwards: bool,
    /// Whether an unknown name without a dot is answered with nothing instead of asked for (docker: when the container
    /// was given an `ndots` option).
    #[serde(default)]
    pub keeps_single_labels: bool,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP: kept apart between containers of this daemon only.
    Sctp,
}

/// Host ports, from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reservation {
    /// The address; 0.0.0.0 and :: are all of their family.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port. A range of more than 256 is checked and kept from other containers, but not from other programs.
    pub last: u16,
}

/// The reservations of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Its id.
    pub container: String,
    /// What it has.
    pub reservations: Vec<Reservation>,
}

/// A listener and where its clients are passed on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// For whom; it ends with this container's [`Request::Release`].
    pub container: String,
    /// Where it listens; on an IPv6 address, only for IPv6. Need not be reserved, but may be by the same container.
    pub listen: SocketAddr,
    /// The container's address and port.
    pub to: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What netd answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Its version and process.
    Hello {
        /// Its [`VERSION`].
        version: u32,
        /// Its pid.
        pid: i32,
    },
    /// It is so.
    Done,
    /// It is so, but for these: of [`Request::Replace`], the reservations and proxies that could not be had.
    Partly {
        /// Each with its reason.
        refused: Vec<Held>,
    },
    /// A port is another's.
    Held(Held),
    /// It cannot be done.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// What it holds.
    State(State),
}

/// A port that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who wanted it.
    pub container: String,
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Who has it.
    pub holder: Holder,
}

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Another container of this daemon.
    Container {
        /// Its id.
        id: String,
    },
    /// A process.
    Process {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// It is in use, and nobody knows by whom.
    Unknown,
    /// It is in nobody's use, but this host does not give it: an address that it does not have, for example.
    Refused {
        /// What the kernel said.
        reason: String,
    },
}

/// What a netd holds, for tests and for a look inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Ids of the networks.
    pub networks: Vec<String>,
    /// Ids of the containers that were set.
    pub containers: Vec<String>,
    /// Ids of the containers whose sockets it has.
    pub sockets: Vec<String>,
    /// Reservations by container.
    pub reservations: Vec<Reserved>,
    /// Proxies.
    pub proxies: Vec<Proxy>,
    /// Queries that were passed on and are not answered yet.
    pub forwards: usize,
    /// Connections and UDP clients that are passed on now.
    pub proxied: usize,
    /// Queries that were answered from memory.
    pub answered: u64,
    /// Queries that were passed on.
    pub forwarded: u64,
}
