//! The addresses of one subnet: which are taken, which is next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::error::{Kind, Kinded};
use ipnet::IpNet;

/// How a subnet is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSettings {
    /// The subnet.
    pub subnet: IpNet,
    /// The part of it that endpoints without an address of their own choice get theirs from; all of it if `None`.
    pub range: Option<IpNet>,
    /// The gateway; the first free address if `None`.
    pub gateway: Option<IpAddr>,
    /// Addresses that others on the network have, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// Why a subnet cannot be used so; docker's texts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RangeError {
    /// The range is not in the subnet.
    #[error("invalid ip-range {range}: it does not lie in the subnet {subnet}")]
    RangeOutside {
        /// The range.
        range: IpNet,
        /// The subnet.
        subnet: IpNet,
    },
    /// An address is not in the subnet, or not one that a host can have.
    #[error("no matching subnet for {what} {address}")]
    AddressOutside {
        /// `gateway` or `aux-address`.
        what: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// Two have one address.
    #[error("{what} {address} is taken by another on the network")]
    Twice {
        /// `gateway` or `aux-address`.
        what: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// The subnet has no room for a gateway.
    #[error("the subnet {subnet} has no address for a gateway")]
    NoGateway {
        /// The subnet.
        subnet: IpNet,
    },
}

impl Kinded for RangeError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Why an endpoint cannot have an address; docker's texts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TakeError {
    /// The address is not in the subnet, or not one that a host can have.
    #[error("Invalid address {address}: It does not belong to any of this network's subnets")]
    Outside {
        /// The address.
        address: IpAddr,
    },
    /// Somebody has it.
    #[error("Address already in use")]
    Taken,
    /// Everybody has one.
    #[error("no available addresses in {range}")]
    Exhausted {
        /// Where there is none.
        range: IpNet,
    },
}

impl Kinded for TakeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Outside { .. } => Kind::Invalid,
            Self::Taken | Self::Exhausted { .. } => Kind::Conflict,
        }
    }
}

/// The addresses of a subnet. Kept in memory: who has which is recorded with the endpoints, and taken again by
/// [`Range::take`] when a daemon starts.
#[derive(Clone, Debug)]
pub struct Range {
    subnet: IpNet,
    first: u128,
    last: u128,
    gateway: IpAddr,
    taken: BTreeSet<u128>,
}

impl Range {
    /// Returns the addresses of a subnet with its gateway and the auxiliary ones taken.
    pub fn new(settings: &RangeSettings) -> Result<Self, RangeError> {
        let subnet = settings.subnet.trunc();
        let range = settings.range.map_or(subnet, |range| range.trunc());
        if !subnet.contains(&range) {
            return Err(RangeError::RangeOutside { range, subnet });
        }
        let (lowest, highest) = hosts(subnet);
        let mut new = Self {
            subnet,
            first: number(range.network()).max(lowest),
            last: number(range.broadcast()).min(highest),
            gateway: subnet.network(),
            taken: BTreeSet::new(),
        };
        for &address in settings.auxiliary.values() {
            new.reserve("aux-address", address)?;
        }
        new.gateway = match settings.gateway {
            Some(gateway) => {
                new.reserve("gateway", gateway)?;
                gateway
            }
            // As docker does: from the range if there is one.
            None => new
                .take_any()
                .map_err(|_exhausted| RangeError::NoGateway { subnet })?,
        };
        Ok(new)
    }

    /// Returns the subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Returns the gateway.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Takes the lowest free address of the range.
    pub fn take_any(&mut self) -> Result<IpAddr, TakeError> {
        let mut free = self.first;
        for &taken in self.taken.range(self.first..) {
            if taken != free {
                break;
            }
            free = taken.saturating_add(1);
        }
        if free > self.last {
            return Err(TakeError::Exhausted { range: self.subnet });
        }
        self.taken.insert(free);
        Ok(self.address(free))
    }

    /// Takes an address of the subnet, in the range or not.
    pub fn take(&mut self, address: IpAddr) -> Result<(), TakeError> {
        if !self.holds(address) {
            return Err(TakeError::Outside { address });
        }
        if self.taken.insert(number(address)) {
            Ok(())
        } else {
            Err(TakeError::Taken)
        }
    }

    /// Gives an address back; one that is not taken, or the gateway, is left as it is.
    pub fn give_back(&mut self, address: IpAddr) {
        if self.subnet.contains(&address) && address != self.gateway {
            self.taken.remove(&number(address));
        }
    }

    /// Returns how many addresses are taken, with the gateway and the auxiliary ones.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    fn reserve(&mut self, what: &'static str, address: IpAddr) -> Result<(), RangeError> {
        self.take(address).map_err(|error| match error {
            TakeError::Outside { .. } => RangeError::AddressOutside { what, address },
            TakeError::Taken | TakeError::Exhausted { .. } => RangeError::Twice { what, address },
        })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (lowest, highest) = hosts(self.subnet);
        self.subnet.contains(&address) && (lowest..=highest).contains(&number(address))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet {
            // Never cut: the number lies in an IPv4 subnet.
            IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

/// Returns the first and the last address that a host can have: not those of the network and of everybody, except in
/// point-to-point networks (RFC 3021) and single hosts. IPv6 has no broadcast, but its first address is every router's
/// (RFC 4291, section 2.6.1).
fn hosts(subnet: IpNet) -> (u128, u128) {
    let (first, last) = (number(subnet.network()), number(subnet.broadcast()));
    match subnet {
        _ if last - first < 2 => (first, last),
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(_) => (first + 1, last),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(subnet: &str) -> RangeSettings {
        RangeSettings {
            subnet: subnet.parse().unwrap(),
            range: None,
            gateway: None,
            auxiliary: BTreeMap::new(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_address_is_the_gateways_and_the_lowest_free_one_comes_next() {
        let mut range = Range::new(&settings("10.0.0.0/29")).unwrap();
        assert_eq!(range.gateway(), ip("10.0.0.1"));
        let taken: Vec<IpAddr> = (0..5).map(|_| range.take_any().unwrap()).collect();
        assert_eq!(
            taken,
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"].map(ip)
        );
        let error = range.take_any().unwrap_err();
        assert_eq!(error.to_string(), "no available addresses in 10.0.0.0/29");
        range.give_back(ip("10.0.0.4"));
        range.give_back(ip("10.0.0.1"));
        assert_eq!(range.take_any().unwrap(), ip("10.0.0.4"));
        assert!(range.take_any().is_err(), "the gateway was given away");
    }

    #[test]
    fn ranges_gateways_and_others_on_the_network() {
        let mut wanted = settings("10.0.0.0/16");
        wanted.range = Some("10.0.5.0/30".parse().unwrap());
        wanted.gateway = Some(ip("10.0.0.254"));
        wanted.auxiliary.insert("router".to_owned(), ip("10.0.5.1"));
        let mut range = Range::new(&wanted).unwrap();
        let taken: Vec<IpAddr> = (0..3).map(|_| range.take_any().unwrap()).collect();
        assert_eq!(taken, ["10.0.5.0", "10.0.5.2", "10.0.5.3"].map(ip));
        assert!(range.take_any().is_err());
        assert_eq!(range.take(ip("10.0.9.9")), Ok(()));
        assert_eq!(range.take(ip("10.0.9.9")), Err(TakeError::Taken));
        for outside in ["10.1.0.1", "10.0.0.0", "10.0.255.255", "::1"] {
            let error = range.take(ip(outside)).unwrap_err();
            assert_eq!(error, TakeError::Outside { address: ip(outside) });
        }

        wanted.gateway = Some(ip("10.0.5.1"));
        let error = Range::new(&wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gateway 10.0.5.1 is taken by another on the network"
        );
        wanted.gateway = Some(ip("10.9.0.1"));
        let error = Range::new(&wanted).unwrap_err();
        assert_eq!(error.to_string(), "no matching subnet for gateway 10.9.0.1");
        wanted.range = Some("10.1.0.0/24".parse().unwrap());
        assert!(matches!(
            Range::new(&wanted),
            Err(RangeError::RangeOutside { .. })
        ));
    }

    #[test]
    fn the_smallest_networks() {
        let mut pair = Range::new(&settings("10.0.0.0/31")).unwrap();
        assert_eq!(
            (pair.gateway(), pair.take_any()),
            (ip("10.0.0.0"), Ok(ip("10.0.0.1")))
        );
        let mut single = Range::new(&settings("10.0.0.7/32")).unwrap();
        assert_eq!(single.gateway(), ip("10.0.0.7"));
        assert!(single.take_any().is_err());
        let mut six = Range::new(&settings("fd00::/64")).unwrap();
        assert_eq!(
            (six.gateway(), six.take_any()),
            (ip("fd00::1"), Ok(ip("fd00::2")))
        );
        let top = Range::new(&settings("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"));
        assert!(top.unwrap().take_any().is_ok());
    }

    proptest! {
        #[test]
        fn no_address_is_ever_given_twice(steps in prop::collection::vec((0..3_u8, 0..16_u32), 1..200)) {
            let mut range = Range::new(&settings("10.0.0.0/28")).unwrap();
            let mut held = BTreeSet::from([range.gateway()]);
            for (step, number) in steps {
                let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
                match step {
                    0 => match range.take_any() {
                        Ok(taken) => prop_assert!(held.insert(taken)),
                        Err(_) => prop_assert_eq!(held.len(), 14),
                    },
                    1 => match range.take(address) {
                        Ok(()) => prop_assert!(held.insert(address)),
                        Err(TakeError::Taken) => prop_assert!(held.contains(&address)),
                        Err(_) => prop_assert!(number == 0 || number == 15),
                    },
                    _ if address != range.gateway() => {
                        range.give_back(address);
                        held.remove(&address);
                    }
                    _ => range.give_back(address),
                }
                prop_assert_eq!(range.count(), held.len());
            }
        }
    }
}
