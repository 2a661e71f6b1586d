//! Hardware addresses.

use netlink::route::MacAddress;

/// Returns a hardware address of an endpoint: unicast and locally administered (IEEE 802, bits 0 and 1 of the first
/// byte), the rest from `seed`, which is random or derived from an id.
pub fn mac_address(seed: [u8; 6]) -> MacAddress {
    let [first, rest @ ..] = seed;
    let [a, b, c, d, e] = rest;
    MacAddress([first & 0xfc | 0x02, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_a_local_unicast_address() {
        for first in 0..=255 {
            let MacAddress(bytes) = mac_address([first, 1, 2, 3, 4, 5]);
            assert_eq!(bytes[0] & 0x03, 0x02);
            assert_eq!(bytes[1..], [1, 2, 3, 4, 5]);
        }
    }
}
