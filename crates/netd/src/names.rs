//! Who is who: names and addresses of networks, and what each container may know of them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netd_api::message;

/// All networks by id.
#[derive(Debug, Default)]
pub struct Networks {
    by_id: HashMap<Box<str>, Network>,
}

#[derive(Debug)]
struct Network {
    name: Box<[u8]>,
    internal: bool,
    names: Names,
}

/// What one container's queries are answered from.
#[derive(Debug)]
pub struct Directory {
    networks: Box<[Box<str>]>,
    own: Names,
    /// Who is asked for other names; `None`: the host's servers.
    pub upstreams: Option<Box<[IpAddr]>>,
    forwards: bool,
    /// Whether unknown names of one label are not asked for.
    pub keeps_single_labels: bool,
}

/// The addresses of a name, in each family.
#[derive(Debug, Default)]
pub struct Addresses {
    v4: Turns<Ipv4Addr>,
    v6: Turns<Ipv6Addr>,
}

/// Addresses that take turns in being the first.
#[derive(Debug)]
struct Turns<T> {
    all: Box<[T]>,
    turn: Cell<usize>,
}

/// Names and their addresses, both ways.
#[derive(Debug, Default)]
struct Names {
    forward: HashMap<Box<[u8]>, Addresses>,
    reverse: HashMap<IpAddr, Box<[u8]>>,
}

impl Networks {
    /// Adds or replaces a network.
    pub fn set(&mut self, network: message::Network) {
        let stored = Network {
            name: lower(&network.name),
            internal: network.internal,
            names: Names::of(network.names),
        };
        self.by_id.insert(network.id.into(), stored);
    }

    /// Forgets a network.
    pub fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Forgets the networks that `wanted` is false for.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.by_id.retain(|id, _| wanted(id));
    }

    /// Adds an address to a name; returns whether there is such a network.
    pub fn add_name(&mut self, change: &message::NameChange) -> bool {
        let Some(network) = self.by_id.get_mut(&*change.network) else {
            return false;
        };
        network.names.add(&change.name, change.address, change.reverse);
        true
    }

    /// Takes an address from a name.
    pub fn remove_name(&mut self, change: &message::NameChange) {
        if let Some(network) = self.by_id.get_mut(&*change.network) {
            network.names.remove(&change.name, change.address);
        }
    }

    /// Returns the ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.by_id.keys().map(|id| id.to_string()).collect();
        ids.sort();
        ids
    }
}

impl Directory {
    /// Takes what the daemon said of a container.
    pub fn new(container: message::Container) -> Self {
        Self {
            networks: container.networks.into_iter().map(Into::into).collect(),
            own: Names::of(container.names),
            upstreams: container.upstreams.map(Into::into),
            forwards: container.forwards,
            keeps_single_labels: container.keeps_single_labels,
        }
    }

    /// Returns whether other names are asked for: never when nothing leads out of the container's networks, whatever
    /// else was said (CVE-2024-29018: a resolver outside that asks for those who may not leave).
    pub fn forwards(&self, networks: &Networks) -> bool {
        self.forwards && self.each(networks).any(|network| !network.internal)
    }

    /// Calls `visit` for everybody with this name, nearest first, until it returns `true`; returns whether it was called.
    ///
    /// A name may end in the name of a network, and both may have dots: `a.b.c` is `a.b.c` in any network, `a.b` in
    /// network `c`, or `a` in network `b.c`.
    pub fn find(&self, networks: &Networks, name: &[u8], mut visit: impl FnMut(&Addresses) -> bool) -> bool {
        let mut is_known = false;
        let own = std::iter::once(&self.own);
        for names in own.chain(self.each(networks).map(|network| &network.names)) {
            if let Some(addresses) = names.forward.get(name) {
                is_known = true;
                if visit(addresses) {
                    return true;
                }
            }
        }
        let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
        for (dot, _) in dots.rev() {
            let Some((host, suffix)) = name.split_at_checked(dot) else {
                continue;
            };
            let suffix = suffix.get(1..).unwrap_or_default();
            let of_suffix = self.each(networks).filter(|network| *network.name == *suffix);
            for network in of_suffix {
                if let Some(addresses) = network.names.forward.get(host) {
                    is_known = true;
                    if visit(addresses) {
                        return true;
                    }
                }
            }
        }
        is_known
    }

    /// Returns the name of an address and the name of its network.
    pub fn find_address<'a>(
        &'a self,
        networks: &'a Networks,
        address: IpAddr,
    ) -> Option<(&'a [u8], &'a [u8])> {
        self.each(networks).find_map(|network| {
            let name = network.names.reverse.get(&address)?;
            Some((&**name, &*network.name))
        })
    }

    fn each<'a>(&'a self, networks: &'a Networks) -> impl Iterator<Item = &'a Network> {
        self.networks.iter().filter_map(|id| networks.by_id.get(id))
    }
}

impl Addresses {
    /// Returns the IPv4 addresses, each time with another one first.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.v4.rotated()
    }

    /// Returns the IPv6 addresses, each time with another one first.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.v6.rotated()
    }

    /// Returns whether there is any IPv4 address.
    pub fn has_v4(&self) -> bool {
        !self.v4.all.is_empty()
    }

    /// Returns whether there is any IPv6 address.
    pub fn has_v6(&self) -> bool {
        !self.v6.all.is_empty()
    }

    fn is_empty(&self) -> bool {
        !self.has_v4() && !self.has_v6()
    }

    fn add(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.add(address),
            IpAddr::V6(address) => self.v6.add(address),
        }
    }

    fn remove(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.remove(address),
            IpAddr::V6(address) => self.v6.remove(address),
        }
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            all: Box::default(),
            turn: Cell::new(0),
        }
    }
}

impl<T: Copy + PartialEq> Turns<T> {
    fn rotated(&self) -> impl Iterator<Item = T> {
        let turn = self.turn.get().checked_rem(self.all.len()).unwrap_or(0);
        self.turn.set(turn + 1);
        let (before, from) = self.all.split_at_checked(turn).unwrap_or_default();
        from.iter().chain(before).copied()
    }

    fn add(&mut self, address: T) {
        if !self.all.contains(&address) {
            let mut all = std::mem::take(&mut self.all).into_vec();
            all.push(address);
            self.all = all.into();
        }
    }

    fn remove(&mut self, address: T) {
        let mut all = std::mem::take(&mut self.all).into_vec();
        all.retain(|&other| other != address);
        self.all = all.into();
    }
}

impl Names {
    fn of(names: Vec<message::Name>) -> Self {
        let mut all = Self::default();
        for name in names {
            for address in name.addresses {
                all.add(&name.name, address, name.reverse);
            }
        }
        all
    }

    fn add(&mut self, name: &str, address: IpAddr, reverse: bool) {
        let name = lower(name);
        if reverse {
            self.reverse.insert(address.to_canonical(), name.clone());
        }
        self.forward.entry(name).or_default().add(address);
    }

    fn remove(&mut self, name: &str, address: IpAddr) {
        let name = lower(name);
        if self.reverse.get(&address.to_canonical()) == Some(&name) {
            self.reverse.remove(&address.to_canonical());
        }
        if let Some(addresses) = self.forward.get_mut(&name) {
            addresses.remove(address);
            if addresses.is_empty() {
                self.forward.remove(&name);
            }
        }
    }
}

/// Returns a name as queries are looked up.
fn lower(name: &str) -> Box<[u8]> {
    name.trim_end_matches('.')
        .to_ascii_lowercase()
        .into_bytes()
        .into()
}
