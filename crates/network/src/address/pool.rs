//! Which subnet a network gets that was made without one.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

/// The address space that subnets are cut from, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools(Vec<(IpNet, u8)>);

impl Pools {
    /// Returns docker's default pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in pieces of /20; for IPv6
    /// `site`, a /48 of this machine (RFC 4193), in pieces of /64.
    pub fn docker(site: Ipv6Net) -> Self {
        let v4 = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix);
        let mut pools: Vec<(IpNet, u8)> = (17..32).map(|second| (v4(172, second, 16).into(), 16)).collect();
        pools.push((v4(192, 168, 16).into(), 20));
        pools.push((site.into(), 64));
        Self(pools)
    }

    /// Returns pools as they are configured: each a network, and the prefix length of the pieces. A piece that is larger
    /// than its pool is the pool.
    pub fn new(pools: impl IntoIterator<Item = (IpNet, u8)>) -> Self {
        let cut = |(pool, prefix): (IpNet, u8)| {
            (
                pool.trunc(),
                prefix.clamp(pool.prefix_len(), pool.max_prefix_len()),
            )
        };
        Self(pools.into_iter().map(cut).collect())
    }

    /// Returns the first subnet that overlaps none of `used`: the subnets of other networks and what the host has
    /// routes to. `None` if there is none left.
    pub fn free_subnet(&self, family: Family, used: &[IpNet]) -> Option<IpNet> {
        let wanted = self.0.iter().filter(|(pool, _)| match family {
            Family::V4 => matches!(pool, IpNet::V4(_)),
            Family::V6 => matches!(pool, IpNet::V6(_)),
        });
        wanted
            .copied()
            .find_map(|(pool, prefix)| first_free(pool, prefix, used))
    }
}

/// Walks through the pieces of a pool; one that is taken is left behind with all of what takes it, so that a wide route
/// costs one step.
fn first_free(pool: IpNet, prefix: u8, used: &[IpNet]) -> Option<IpNet> {
    let (start, bits) = numbers(pool.network());
    let (end, _) = numbers(pool.broadcast());
    let size = 1_u128.checked_shl(u32::from(bits - prefix)).unwrap_or(0);
    let mut at = start;
    loop {
        let piece = subnet(at, bits, prefix)?;
        let taken = used
            .iter()
            .filter(|net| net.contains(&piece) || piece.contains(*net))
            .map(|net| numbers(net.broadcast()).0)
            .max();
        let Some(last) = taken else {
            return Some(piece);
        };
        // Pieces are aligned, so what follows the last address taken is found by rounding up.
        at = last
            .max(at)
            .checked_add(1)?
            .checked_next_multiple_of(size.max(1))?;
        if at > end {
            return None;
        }
    }
}

fn numbers(address: std::net::IpAddr) -> (u128, u8) {
    match address {
        std::net::IpAddr::V4(address) => (address.to_bits().into(), 32),
        std::net::IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn subnet(at: u128, bits: u8, prefix: u8) -> Option<IpNet> {
    let address = match bits {
        32 => Ipv4Addr::from_bits(u32::try_from(at).ok()?).into(),
        _ => Ipv6Addr::from_bits(at).into(),
    };
    IpNet::new(address, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn docker() -> Pools {
        Pools::docker("fd12:3456:789a::/48".parse().unwrap())
    }

    #[test]
    fn subnets_are_given_in_dockers_order() {
        let mut used = Vec::new();
        for _ in 0..31 {
            used.push(docker().free_subnet(Family::V4, &used).unwrap());
        }
        assert_eq!(used[0], net("172.17.0.0/16"));
        assert_eq!(used[14], net("172.31.0.0/16"));
        assert_eq!(used[15], net("192.168.0.0/20"));
        assert_eq!(used[30], net("192.168.240.0/20"));
        assert_eq!(docker().free_subnet(Family::V4, &used), None);
        assert_eq!(
            docker().free_subnet(Family::V6, &used),
            Some(net("fd12:3456:789a::/64"))
        );
    }

    #[test]
    fn routes_of_the_host_are_avoided_whatever_their_size() {
        let free = |used: &[&str]| {
            let used: Vec<IpNet> = used.iter().map(|text| net(text)).collect();
            docker().free_subnet(Family::V4, &used)
        };
        assert_eq!(free(&["172.17.5.0/24"]), Some(net("172.18.0.0/16")));
        assert_eq!(free(&["172.16.0.0/12"]), Some(net("192.168.0.0/20")));
        assert_eq!(
            free(&["172.16.0.0/12", "192.168.1.7/32"]),
            Some(net("192.168.16.0/20"))
        );
        assert_eq!(
            free(&["172.16.0.0/12", "192.168.0.0/17"]),
            Some(net("192.168.128.0/20"))
        );
        assert_eq!(free(&["0.0.0.0/0"]), None);
        assert_eq!(free(&["::/0"]), Some(net("172.17.0.0/16")));
    }

    #[test]
    fn pools_at_the_ends_of_the_space_come_to_an_end() {
        let pools = Pools::new([(net("255.255.255.0/24"), 25), (net("ffff::/16"), 8)]);
        let first = pools.free_subnet(Family::V4, &[]).unwrap();
        let second = pools.free_subnet(Family::V4, &[first]).unwrap();
        assert_eq!(
            (first, second),
            (net("255.255.255.0/25"), net("255.255.255.128/25"))
        );
        assert_eq!(pools.free_subnet(Family::V4, &[first, second]), None);
        assert_eq!(pools.free_subnet(Family::V6, &[]), Some(net("ffff::/16")));
        assert_eq!(pools.free_subnet(Family::V6, &[net("ffff::1/128")]), None);
    }
}
