//! All networks in memory: what they are, who is on them, which addresses and ports are whose.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use network::address::{Range, RangeError, TakeError};
use network::budget::Holder;

use super::endpoint::{Endpoint, Publication};
use super::error::NetworkError;
use super::extension;
use super::kernel::Kernel;
use super::ports::Ports;
use super::record::NetworkRecord;

/// The kernel still answers for the addresses of a container that has just ended.
const REST: Duration = Duration::from_secs(1);

/// All networks of the engine.
#[derive(Debug)]
pub(crate) struct Networks {
    table: Mutex<Table>,
    kernel: Mutex<Kernel>,
    /// Whether somebody follows what others do with the packet filter.
    pub(crate) is_watched: AtomicBool,
    /// Whether somebody writes down what is spent of budgets from time to time.
    pub(crate) is_counted: AtomicBool,
}

impl Networks {
    /// `ports` is how many a bridge has.
    pub(crate) fn new(kernel: Kernel, ports: u16) -> Self {
        let table = Table {
            room: Room::of(ports),
            ..Table::default()
        };
        Self {
            table: Mutex::new(table),
            kernel: Mutex::new(kernel),
            is_watched: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
        }
    }

    /// Returns the table, locked: for map operations only, never held across an await.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the kernel's side, locked; taken before the table, never after it.
    pub(crate) fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_id: BTreeMap<String, Network>,
    room: Room,
    /// Ports of the host.
    pub(crate) ports: Ports,
    /// What has left and the packet filter still knows.
    pub(crate) gone: Vec<(Vec<Endpoint>, Vec<Publication>)>,
    /// Containers that run and have a budget, as the packet filter knows them.
    pub(crate) budgets: BTreeMap<String, Holder>,
    /// What containers have published.
    pub(crate) published: BTreeMap<String, Vec<Publication>>,
}

/// How many containers have room on a network.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// Containers at each bridge.
    ports: u16,
    /// Bridges beside the first one.
    extensions: u8,
}

impl Room {
    /// Of a bridge's ports one in sixteen is kept: on the first bridge for the cables to the others, and everywhere for
    /// cables of containers that have ended, which the kernel takes away a moment later.
    fn of(ports: u16) -> Self {
        let kept = (ports / 16).max(1);
        Self {
            ports: ports.saturating_sub(kept),
            extensions: u8::try_from(kept).unwrap_or(u8::MAX).min(extension::MOST),
        }
    }
}

/// One network.
#[derive(Debug)]
pub(crate) struct Network {
    /// What it is.
    pub(crate) record: Arc<NetworkRecord>,
    /// The addresses of its subnets.
    ranges: Vec<Range>,
    /// Addresses that are not given to others at once.
    resting: VecDeque<Resting>,
    /// Who is on it, by container.
    members: BTreeMap<String, Endpoint>,
    /// How many of them are at each extension of its bridge, which is the first itself.
    at: BTreeMap<u8, u16>,
    room: Room,
}

/// An address that was given back.
#[derive(Debug)]
struct Resting {
    since: Instant,
    address: IpAddr,
    /// The container that had it, and may have it again at once.
    container: String,
}

impl Table {
    /// Adds a network.
    pub(crate) fn insert(&mut self, record: Arc<NetworkRecord>) -> Result<(), RangeError> {
        let ranges: Result<Vec<Range>, RangeError> =
            record.subnets.iter().map(|subnet| subnet.range()).collect();
        let network = Network {
            ranges: ranges?,
            resting: VecDeque::new(),
            members: BTreeMap::new(),
            at: BTreeMap::new(),
            room: self.room,
            record: Arc::clone(&record),
        };
        self.by_id.insert(record.id.clone(), network);
        Ok(())
    }

    /// Removes a network.
    pub(crate) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Returns all networks.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Network> {
        self.by_id.values()
    }

    /// Returns a network by its id.
    pub(crate) fn get(&self, id: &str) -> Option<&Network> {
        self.by_id.get(id)
    }

    /// Returns a network by its id, to be changed.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Network> {
        self.by_id.get_mut(id)
    }

    /// Finds a network as docker does: by its id, its name, or the beginning of its id.
    pub(crate) fn find(&self, name: &str) -> Result<&Network, NetworkError> {
        if let Some(network) = self.by_id.get(name) {
            return Ok(network);
        }
        if let Some(network) = self.by_id.values().find(|network| network.record.name == name) {
            return Ok(network);
        }
        let not_found = || NetworkError::NotFound {
            name: name.chars().take(256).filter(|c| !c.is_control()).collect(),
        };
        if name.is_empty() {
            return Err(not_found());
        }
        let mut fitting = self
            .by_id
            .range(name.to_owned()..)
            .take_while(|(id, _)| id.starts_with(name));
        match (fitting.next(), fitting.next()) {
            (Some((_, network)), None) => Ok(network),
            (None, _) => Err(not_found()),
            (Some(_), Some(_)) => Err(NetworkError::Ambiguous {
                prefix: name.to_owned(),
                count: 2 + fitting.count(),
            }),
        }
    }

    /// Puts a container where its record says that it is; addresses that are nobody's become its.
    pub(crate) fn adopt(&mut self, container: &str, endpoint: Endpoint) {
        let Some(network) = self.by_id.get_mut(&endpoint.network) else {
            return;
        };
        for address in endpoint.addresses() {
            for range in &mut network.ranges {
                // Taken already by the one who is being put there, or outside of this subnet.
                drop(range.take(address));
            }
        }
        network.put(container, endpoint);
    }

    /// Returns where each container that has published ports is, and what they are.
    pub(crate) fn published(&self) -> impl Iterator<Item = (Vec<Endpoint>, &[Publication])> {
        self.published
            .iter()
            .map(|(container, publications)| (self.of(container), publications.as_slice()))
    }

    /// Returns the endpoints of a container.
    pub(crate) fn of(&self, container: &str) -> Vec<Endpoint> {
        let members = self
            .by_id
            .values()
            .filter_map(|network| network.members.get(container));
        members.cloned().collect()
    }

    /// Finds what a network is, as [`Self::find`] does.
    pub(crate) fn record(&self, name: &str) -> Result<Arc<NetworkRecord>, NetworkError> {
        self.find(name).map(|network| Arc::clone(&network.record))
    }

    /// Takes back what was given for a start that never came to anything: nobody has seen the addresses.
    pub(crate) fn cancel(&mut self, container: &str) {
        for network in self.by_id.values_mut() {
            if let Some(endpoint) = network.remove(container) {
                for address in endpoint.addresses() {
                    network.give_back(address);
                }
            }
        }
    }

    /// Takes a container off all networks and its ports back; returns what it had.
    pub(crate) fn release(&mut self, container: &str) -> (Vec<Endpoint>, Vec<Publication>) {
        let left = self
            .by_id
            .values_mut()
            .filter_map(|network| network.release(container));
        let endpoints = left.collect();
        let publications = self.published.remove(container).unwrap_or_default();
        self.ports.release_all(container, &publications);
        (endpoints, publications)
    }
}

impl Network {
    /// Returns who is on it, by container.
    pub(crate) fn members(&self) -> &BTreeMap<String, Endpoint> {
        &self.members
    }

    /// Puts a container on it, instead of what it had there.
    pub(crate) fn put(&mut self, container: &str, endpoint: Endpoint) {
        *self.at.entry(endpoint.extension).or_default() += 1;
        if let Some(before) = self.members.insert(container.to_owned(), endpoint) {
            self.free_port(&before);
        }
    }

    /// Returns the extensions that containers are at.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = u8> + '_ {
        let used = self.at.iter().filter(|(number, used)| **number > 0 && **used > 0);
        used.map(|(number, _)| *number)
    }

    /// Returns the first extension of its bridge with a free port; 0 is the bridge itself.
    pub(crate) fn free_extension(&self) -> Result<u8, NetworkError> {
        let is_free = |extension: &u8| self.at.get(extension).is_none_or(|&used| used < self.room.ports);
        let free = (0..=self.room.extensions).find(is_free);
        free.ok_or_else(|| NetworkError::Conflict {
            text: format!(
                "network {} has no port left: each of its {} bridges has {} containers",
                self.record.name,
                u16::from(self.room.extensions) + 1,
                self.room.ports
            ),
        })
    }

    fn remove(&mut self, container: &str) -> Option<Endpoint> {
        let endpoint = self.members.remove(container)?;
        self.free_port(&endpoint);
        Some(endpoint)
    }

    fn free_port(&mut self, endpoint: &Endpoint) {
        if let Some(used) = self.at.get_mut(&endpoint.extension) {
            *used = used.saturating_sub(1);
        }
    }

    /// Takes an address of a family for a container: the one that is asked for, or the one that it has just had, or any.
    pub(crate) fn take(
        &mut self,
        container: &str,
        is_v4: bool,
        asked: Option<IpAddr>,
    ) -> Result<Option<IpAddr>, TakeError> {
        self.wake(Instant::now().checked_sub(REST));
        let Some(at) = self
            .ranges
            .iter()
            .position(|range| range.subnet().addr().is_ipv4() == is_v4)
        else {
            return match asked {
                Some(address) => Err(TakeError::Outside { address }),
                None => Ok(None),
            };
        };
        let fits = |resting: &Resting| match asked {
            Some(asked) => resting.address == asked,
            None => resting.container == container && resting.address.is_ipv4() == is_v4,
        };
        if let Some(resting) = self
            .resting
            .iter()
            .position(fits)
            .and_then(|at| self.resting.remove(at))
        {
            // It is still taken, in the name of the one that had it.
            return Ok(Some(resting.address));
        }
        let Some(range) = self.ranges.get_mut(at) else {
            return Ok(None);
        };
        if let Some(address) = asked {
            return range.take(address).map(|()| Some(address));
        }
        match range.take_any() {
            Ok(address) => Ok(Some(address)),
            Err(_exhausted) => {
                self.wake(Some(Instant::now()));
                self.ranges.get_mut(at).map(Range::take_any).transpose()
            }
        }
    }

    /// Gives an address back that was never used.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        for range in &mut self.ranges {
            range.give_back(address);
        }
    }

    /// Takes a container off; its addresses rest before others get them.
    pub(crate) fn release(&mut self, container: &str) -> Option<Endpoint> {
        let endpoint = self.remove(container)?;
        let now = Instant::now();
        let addresses: Vec<IpAddr> = endpoint.addresses().collect();
        self.resting.extend(addresses.into_iter().map(|address| Resting {
            since: now,
            address,
            container: container.to_owned(),
        }));
        Some(endpoint)
    }

    /// Frees what has rested since before `limit`.
    fn wake(&mut self, limit: Option<Instant>) {
        while let Some(&Resting { since, address, .. }) = self.resting.front() {
            if limit.is_none_or(|limit| since > limit) {
                break;
            }
            self.resting.pop_front();
            self.give_back(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_kernels_ports_most_are_containers_and_there_are_many_bridges() {
        let room = |ports| {
            let Room { ports, extensions } = Room::of(ports);
            (ports, extensions)
        };
        assert_eq!(room(1023), (960, 63));
        assert_eq!(room(17), (16, 1));
        assert_eq!(room(2), (1, 1));
        // The cables to all others fit into what the first bridge keeps.
        for ports in 2..=1023 {
            let Room {
                ports: own,
                extensions,
            } = Room::of(ports);
            assert!(own >= 1 && own + u16::from(extensions) <= ports, "{ports}");
        }
    }
}
