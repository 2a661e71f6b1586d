//! Published ports.

use std::net::IpAddr;

use netlink::Message;
use netlink::nft::{self, Element, ElementData};
use netlink::route::octets;

use super::Firewall;
use super::layout::{MAPS4, MAPS6, Maps};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

/// A container's ports that are reached by ports of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The protocol.
    pub protocol: Protocol,
    /// The machine's address; all of them if `None`.
    pub host: Option<IpAddr>,
    /// The first port of the machine.
    pub first: u16,
    /// The last port of the machine.
    pub last: u16,
    /// The container's address, whose family is also that of the machine's addresses.
    pub container: IpAddr,
    /// The container's port that the first one leads to; the others follow.
    pub port: u16,
}

impl Firewall {
    /// Publishes ports. One that is published already is an error, and then none is.
    pub fn publish(&self, publications: &[Publication]) -> Vec<Message> {
        elements(publications)
            .into_iter()
            .flat_map(|(map, elements)| nft::add_elements(self.routed(), map, &elements))
            .collect()
    }

    /// Publishes ports no more, which must be given as they were published.
    pub fn unpublish(&self, publications: &[Publication]) -> Vec<Message> {
        elements(publications)
            .into_iter()
            .flat_map(|(map, elements)| nft::remove_elements(self.routed(), map, &elements))
            .collect()
    }
}

/// Returns the elements of each map: one for a port, and one for a range that keeps its numbers. A range that does not
/// has one for each of its ports, because a map leads to one value.
fn elements(publications: &[Publication]) -> Vec<(&'static str, Vec<Element>)> {
    let mut all: Vec<(&'static str, Vec<Element>)> = Vec::new();
    for publication in publications {
        let maps = match publication.container {
            IpAddr::V4(_) => MAPS4,
            IpAddr::V6(_) => MAPS6,
        };
        let (map, elements) = in_maps(publication, &maps);
        match all.iter_mut().find(|(own, _)| *own == map) {
            Some((_, own)) => own.extend(elements),
            None => all.push((map, elements)),
        }
    }
    all
}

fn in_maps(publication: &Publication, maps: &Maps) -> (&'static str, Vec<Element>) {
    let Publication {
        first, last, port, ..
    } = *publication;
    let protocol = vec![publication.protocol as u8];
    let container = octets(publication.container);
    if last > first && port == first {
        let (lowest, highest) = match publication.host {
            Some(host) => (octets(host), octets(host)),
            None => (vec![0; container.len()], vec![0xff; container.len()]),
        };
        let bound =
            |address: Vec<u8>, port: u16| vec![address, protocol.clone(), port.to_be_bytes().to_vec()];
        let element = Element {
            key: bound(lowest, first),
            last: Some(bound(highest, last)),
            data: ElementData::Value(vec![container]),
        };
        return (maps.ranges, vec![element]);
    }
    let one = |(own, other): (u16, u16)| {
        let address = publication.host.map(octets);
        let rest = [protocol.clone(), own.to_be_bytes().to_vec()];
        Element {
            key: address.into_iter().chain(rest).collect(),
            last: None,
            data: ElementData::Value(vec![container.clone(), other.to_be_bytes().to_vec()]),
        }
    };
    let map = if publication.host.is_some() {
        maps.at
    } else {
        maps.anywhere
    };
    (map, (first..=last).zip(port..).map(one).collect())
}
