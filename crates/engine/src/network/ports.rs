//! Ports of the host: whose they are.
//!
//! What is kept are runs of neighbouring ports of one container, so that ten thousand ports cost what one does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

use super::endpoint::Publication;
use crate::config::{PortRequest, Protocol};

/// The ports that containers have.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// By the first port of each run. Runs at one address do not overlap.
    taken: BTreeMap<(Protocol, IpAddr, u16), Run>,
    /// Where the search for any port goes on.
    next: u16,
}

/// A container's neighbouring ports.
#[derive(Debug)]
struct Run {
    last: u16,
    container: String,
}

/// A port that another container has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The address and port.
    pub(crate) at: (IpAddr, u16),
    /// The container, or `None` if no port of a range is free.
    pub(crate) holder: Option<String>,
}

impl Taken {
    /// Returns that a port is taken where the first of `addresses` would need it.
    fn new(addresses: &[IpAddr], port: u16, holder: Option<String>) -> Self {
        let address = addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Self {
            at: (address, port),
            holder,
        }
    }
}

impl Ports {
    /// Takes ports for a container at the addresses of each request; nothing is taken when one is not free. `any` is where
    /// ports that were not chosen come from.
    pub(crate) fn take(
        &mut self,
        container: &str,
        requests: &[(PortRequest, Vec<IpAddr>)],
        any: impl Fn() -> (u16, u16),
    ) -> Result<Vec<Publication>, Taken> {
        let mut publications: Vec<Publication> = Vec::with_capacity(requests.len());
        for (request, addresses) in requests {
            let taken = match request.host_ports {
                Some((first, _)) if request.count > 1 => {
                    self.take_run(container, request, addresses, first, &mut publications)
                }
                _ => request
                    .each()
                    .try_for_each(|one| self.take_one(container, &one, addresses, &any, &mut publications)),
            };
            if let Err(taken) = taken {
                self.release_all(container, &publications);
                return Err(taken);
            }
        }
        Ok(merge(publications))
    }

    /// Takes neighbouring ports of which each one is wanted.
    fn take_run(
        &mut self,
        container: &str,
        request: &PortRequest,
        addresses: &[IpAddr],
        first: u16,
        publications: &mut Vec<Publication>,
    ) -> Result<(), Taken> {
        let last = first.saturating_add(request.count - 1);
        let in_the_way = addresses
            .iter()
            .filter_map(|&own| self.first_taken(request.protocol, own, (first, last)))
            .min();
        if let Some((port, holder)) = in_the_way {
            return Err(Taken::new(addresses, port, Some(holder)));
        }
        self.grant(container, request, addresses, first, publications);
        Ok(())
    }

    /// Gives a container ports that nobody has: as many as are asked for, from `host_port` on, at each of the addresses.
    fn grant(
        &mut self,
        container: &str,
        request: &PortRequest,
        addresses: &[IpAddr],
        host_port: u16,
        publications: &mut Vec<Publication>,
    ) {
        for &host_ip in addresses {
            let publication = Publication {
                port: request.port,
                count: request.count,
                protocol: request.protocol,
                host_ip,
                host_port,
            };
            if let Some(ports) = publication.host_ports() {
                self.put(container, request.protocol, host_ip, ports);
            }
            publications.push(publication);
        }
    }

    /// Returns the lowest of some ports that is taken where `own` would need it, and who has it.
    fn first_taken(&self, protocol: Protocol, own: IpAddr, ports: (u16, u16)) -> Option<(u16, String)> {
        let theirs = self.addresses(protocol).filter(|theirs| overlap(own, *theirs));
        let found = theirs.filter_map(|address| self.runs(protocol, address, ports).next());
        let lowest = found
            .map(|(begin, run)| (begin.max(ports.0), run))
            .min_by_key(|(port, _)| *port)?;
        Some((lowest.0, lowest.1.container.clone()))
    }

    /// Takes what a record says that a container has.
    pub(crate) fn adopt(&mut self, container: &str, publications: &[Publication]) {
        for publication in publications {
            let Some((first, last)) = publication.host_ports() else {
                continue;
            };
            let (protocol, address) = (publication.protocol, publication.host_ip);
            // One that is taken stays as it is.
            let mut free = vec![];
            let mut next = Some(first);
            for (begin, run) in self.runs(protocol, address, (first, last)) {
                free.extend(next.filter(|next| *next < begin).map(|next| (next, begin - 1)));
                next = run.last.checked_add(1);
            }
            free.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
            for ports in free {
                self.put(container, protocol, address, ports);
            }
        }
    }

    /// Gives a container's ports back.
    pub(crate) fn release_all(&mut self, container: &str, publications: &[Publication]) {
        for publication in publications {
            if let Some(ports) = publication.host_ports() {
                self.give_back(container, publication.protocol, publication.host_ip, ports);
            }
        }
    }

    fn take_one(
        &mut self,
        container: &str,
        request: &PortRequest,
        addresses: &[IpAddr],
        any: &impl Fn() -> (u16, u16),
        publications: &mut Vec<Publication>,
    ) -> Result<(), Taken> {
        let (first, last) = request.host_ports.unwrap_or_else(any);
        let start = match request.host_ports {
            Some(_) => first,
            None => self.next.clamp(first, last),
        };
        let mut holder = None;
        for port in (start..=last).chain(first..start) {
            match self.holder(request.protocol, port, addresses) {
                Some(other) => holder = Some(other),
                None => {
                    self.grant(container, request, addresses, port, publications);
                    if request.host_ports.is_none() {
                        self.next = port.checked_add(1).unwrap_or(first);
                    }
                    return Ok(());
                }
            }
        }
        Err(Taken::new(addresses, first, holder.filter(|_| first == last)))
    }

    /// Returns who has a port in the way of these addresses.
    fn holder(&self, protocol: Protocol, port: u16, addresses: &[IpAddr]) -> Option<String> {
        let mut found = addresses
            .iter()
            .filter_map(|&own| self.first_taken(protocol, own, (port, port)));
        found.next().map(|(_, holder)| holder)
    }

    /// Returns the addresses of which ports are taken; there are few.
    fn addresses(&self, protocol: Protocol) -> impl Iterator<Item = IpAddr> {
        let mut from = Bound::Included((protocol, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        std::iter::from_fn(move || {
            let (&(found, address, _), _) = self.taken.range((from, Bound::Unbounded)).next()?;
            from = Bound::Excluded((found, address, u16::MAX));
            (found == protocol).then_some(address)
        })
    }

    /// Returns the run that has a port, and its first one.
    fn run_of(&self, protocol: Protocol, address: IpAddr, port: u16) -> Option<(u16, &Run)> {
        let until = ..=(protocol, address, port);
        let (&(its, at, first), run) = self.taken.range(until).next_back()?;
        ((its, at) == (protocol, address) && run.last >= port).then_some((first, run))
    }

    /// Returns the runs that have some of these ports, the lowest first, with their first ports.
    fn runs(
        &self,
        protocol: Protocol,
        address: IpAddr,
        (first, last): (u16, u16),
    ) -> impl Iterator<Item = (u16, &Run)> {
        let behind = (
            Bound::Excluded((protocol, address, first)),
            Bound::Included((protocol, address, last)),
        );
        let behind = self.taken.range(behind).map(|(&(_, _, begin), run)| (begin, run));
        self.run_of(protocol, address, first).into_iter().chain(behind)
    }

    /// Adds ports that nobody has.
    fn put(&mut self, container: &str, protocol: Protocol, address: IpAddr, (first, mut last): (u16, u16)) {
        // The run behind them, and the one before them.
        if let Some(next) = last.checked_add(1)
            && let Some(run) = self.taken.get(&(protocol, address, next))
            && run.container == container
        {
            last = run.last;
            self.taken.remove(&(protocol, address, next));
        }
        let before = first
            .checked_sub(1)
            .and_then(|before| self.run_of(protocol, address, before))
            .filter(|(_, run)| run.container == container)
            .map(|(begin, _)| begin);
        if let Some(begin) = before
            && let Some(run) = self.taken.get_mut(&(protocol, address, begin))
        {
            run.last = last;
            return;
        }
        let container = container.to_owned();
        self.taken
            .insert((protocol, address, first), Run { last, container });
    }

    /// Takes ports out of a container's runs; those that it does not have stay as they are.
    fn give_back(&mut self, container: &str, protocol: Protocol, address: IpAddr, (first, last): (u16, u16)) {
        let own = self
            .runs(protocol, address, (first, last))
            .filter(|(_, run)| run.container == container)
            .map(|(begin, run)| (begin, run.last));
        for (begin, until) in own.collect::<Vec<_>>() {
            self.taken.remove(&(protocol, address, begin));
            let mut keep = |from: u16, last: u16| {
                let container = container.to_owned();
                self.taken
                    .insert((protocol, address, from), Run { last, container });
            };
            if begin < first {
                keep(begin, first - 1);
            }
            if until > last {
                keep(last + 1, until);
            }
        }
    }
}

/// Returns whether both are of one family and equal, or one is all of them.
fn overlap(first: IpAddr, second: IpAddr) -> bool {
    first.is_ipv4() == second.is_ipv4()
        && (first == second || first.is_unspecified() || second.is_unspecified())
}

/// Returns the unspecified address of the same family.
pub(crate) fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Puts neighbours together, so that a range is one entry.
fn merge(mut all: Vec<Publication>) -> Vec<Publication> {
    all.sort_by_key(|one| (one.protocol, one.host_ip, one.host_port, one.port));
    let mut merged: Vec<Publication> = Vec::new();
    for one in all {
        if let Some(last) = merged.last_mut()
            && last.protocol == one.protocol
            && last.host_ip == one.host_ip
            && last.host_port.checked_add(last.count) == Some(one.host_port)
            && last.port.checked_add(last.count) == Some(one.port)
        {
            last.count += 1;
        } else {
            merged.push(one);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ANY: (u16, u16) = (32_768, 32_770);

    fn port(port: u16, host_ports: Option<(u16, u16)>) -> PortRequest {
        PortRequest {
            port,
            host_ports,
            ..PortRequest::default()
        }
    }

    fn take(ports: &mut Ports, container: &str, request: PortRequest, address: IpAddr) -> Result<u16, Taken> {
        let taken = ports.take(container, &[(request, vec![address])], || ANY)?;
        Ok(taken[0].host_port)
    }

    #[test]
    fn a_port_is_given_once_unless_the_addresses_differ() {
        let mut ports = Ports::default();
        let web = port(80, Some((8080, 8080)));
        assert_eq!(take(&mut ports, "a", web, HOME), Ok(8080));
        assert_eq!(take(&mut ports, "b", web, "127.0.0.2".parse().unwrap()), Ok(8080));
        let error = take(&mut ports, "c", web, ALL).unwrap_err();
        assert_eq!((error.at, error.holder.as_deref()), ((ALL, 8080), Some("a")));
        assert_eq!(take(&mut ports, "c", web, Ipv6Addr::UNSPECIFIED.into()), Ok(8080));
        let udp = PortRequest {
            protocol: Protocol::Udp,
            ..web
        };
        assert_eq!(take(&mut ports, "c", udp, ALL), Ok(8080));
    }

    #[test]
    fn of_a_range_the_first_free_port_is_taken_and_any_port_is_a_new_one() {
        let mut ports = Ports::default();
        let range = port(80, Some((8000, 8001)));
        assert_eq!(take(&mut ports, "a", range, ALL), Ok(8000));
        assert_eq!(take(&mut ports, "b", range, ALL), Ok(8001));
        assert_eq!(take(&mut ports, "c", range, ALL).unwrap_err().holder, None);
        let given: Vec<_> = (0..3)
            .map(|_| take(&mut ports, "d", port(80, None), ALL))
            .collect();
        assert_eq!(given, [Ok(32_768), Ok(32_769), Ok(32_770)]);
        assert!(take(&mut ports, "d", port(80, None), ALL).is_err());
    }

    #[test]
    fn what_failed_leaves_nothing_and_what_is_released_is_free() {
        let mut ports = Ports::default();
        let both = [
            (port(80, Some((80, 80))), vec![ALL]),
            (port(81, Some((81, 81))), vec![ALL]),
        ];
        ports.take("x", &both[1..], || ANY).unwrap();
        assert!(ports.take("a", &both, || ANY).is_err());
        let taken = ports.take("b", &both[..1], || ANY).unwrap();
        ports.release_all("b", &taken);
        ports.release_all("b", &taken);
        assert!(ports.take("c", &both[..1], || ANY).is_ok());
    }

    /// Whatever is put and given back in whatever order, each port has the holder that a plain table of ports says.
    #[test]
    fn runs_say_what_single_ports_would() {
        let mut ports = Ports::default();
        let mut plain: BTreeMap<u16, &str> = BTreeMap::new();
        let mut seed = 12345u32;
        let mut random = |bound: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % bound
        };
        for _ in 0..5000 {
            let first = u16::try_from(65_535 - random(24)).unwrap();
            let count = u16::try_from(1 + random(3)).unwrap().min(65_535 - first + 1);
            let container = if random(2) == 0 { "a" } else { "b" };
            let publication = Publication {
                port: 1,
                count,
                protocol: Protocol::Tcp,
                host_ip: ALL,
                host_port: first,
            };
            let numbers = first..=first + (count - 1);
            match random(3) {
                0 => {
                    ports.adopt(container, &[publication]);
                    for number in numbers {
                        plain.entry(number).or_insert(container);
                    }
                }
                1 => {
                    ports.release_all(container, &[publication]);
                    for number in numbers {
                        if plain.get(&number) == Some(&container) {
                            plain.remove(&number);
                        }
                    }
                }
                _ => {
                    let request = PortRequest {
                        port: 1,
                        count,
                        host_ports: Some((first, first)),
                        ..PortRequest::default()
                    };
                    let taken = ports.take(container, &[(request, vec![ALL])], || ANY);
                    let in_the_way = numbers.clone().find(|number| plain.contains_key(number));
                    assert_eq!(taken.err().map(|taken| taken.at.1), in_the_way);
                    if in_the_way.is_none() {
                        plain.extend(numbers.map(|number| (number, container)));
                    }
                }
            }
            for number in 65_511..=65_535 {
                let holder = ports.holder(Protocol::Tcp, number, &[HOME]);
                assert_eq!(holder.as_deref(), plain.get(&number).copied(), "{number}");
            }
        }
    }

    #[test]
    fn ten_thousand_neighbours_are_one_range() {
        let mut ports = Ports::default();
        let requests: Vec<_> = (10_000..20_000)
            .map(|number| {
                (
                    port(number, Some((number, number))),
                    vec![ALL, Ipv6Addr::UNSPECIFIED.into()],
                )
            })
            .collect();
        let taken = ports.take("a", &requests, || ANY).unwrap();
        assert_eq!(taken.len(), 2);
        assert_eq!((taken[0].host_port, taken[0].count), (10_000, 10_000));
        assert_eq!(ports.taken.len(), 2);
        let other = port(80, Some((15_000, 15_000)));
        assert_eq!(
            take(&mut ports, "b", other, HOME).unwrap_err().holder.as_deref(),
            Some("a")
        );
        // Ranges are one again, in whatever order they are taken from a record.
        let mut adopted = Ports::default();
        adopted.adopt("a", &taken);
        adopted.adopt("a", &taken);
        assert_eq!(adopted.taken.len(), 2);
        ports.release_all("a", &taken);
        assert!(ports.taken.is_empty());
    }
}
