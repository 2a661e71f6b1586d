//! Routes (`struct rtmsg`, linux/rtnetlink.h).

use std::net::IpAddr;

use super::{address_of, family, octets};
use crate::error::NetlinkError;
use crate::message::{CREATE, DUMP, EXCLUSIVE, Message};
use crate::reply::u32_of;
use crate::socket::Socket;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
/// `RT_TABLE_MAIN`.
const MAIN: u8 = 254;
/// `RTPROT_STATIC`.
const STATIC: u8 = 4;
/// `RT_SCOPE_LINK`.
const LINK: u8 = 253;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;
/// `RTNH_F_ONLINK`.
const ON_LINK: u32 = 4;

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network that it leads to; `0.0.0.0` or `::` with a prefix of 0 is everywhere.
    pub destination: IpAddr,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
    /// The next host on the way; none if the network is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub link: Option<u32>,
    /// The sender's address for what goes this way.
    pub source: Option<IpAddr>,
    /// The metric: of two routes the one with the smaller number is taken.
    pub metric: Option<u32>,
    /// Whether the gateway is on the link although no route says so.
    pub on_link: bool,
}

/// Adds a route; one to the same network with the same metric must not be there.
pub fn add_route(route: &Route) -> Message {
    message(
        RTM_NEWROUTE,
        CREATE | EXCLUSIVE,
        format!("add {}", describe(route)),
        route,
    )
}

/// Removes a route.
pub fn remove_route(route: &Route) -> Message {
    message(RTM_DELROUTE, 0, format!("remove {}", describe(route)), route)
}

impl Socket {
    /// Returns the unicast routes of the main table, of both families.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut all = Vec::new();
        for (family, anywhere) in [
            (super::INET, IpAddr::from([0; 4])),
            (super::INET6, IpAddr::from([0; 16])),
        ] {
            let mut fixed = [0; 12];
            fixed[0] = family;
            let request = Message::new(RTM_GETROUTE, DUMP, "list routes", &fixed);
            all.extend(self.dump(&request, |reply| {
                let (fixed, attributes) = reply.split::<12>()?;
                let table = attributes.get(RTA_TABLE).and_then(u32_of);
                if table.unwrap_or(u32::from(fixed[4])) != u32::from(MAIN) || fixed[7] != UNICAST {
                    return None;
                }
                Some(Route {
                    destination: attributes.get(RTA_DST).map_or(Some(anywhere), address_of)?,
                    prefix: fixed[1],
                    gateway: attributes.get(RTA_GATEWAY).and_then(address_of),
                    link: attributes.get(RTA_OIF).and_then(u32_of),
                    source: attributes.get(RTA_PREFSRC).and_then(address_of),
                    metric: attributes.get(RTA_PRIORITY).and_then(u32_of),
                    on_link: u32_of(&fixed[8..]).is_some_and(|flags| flags & ON_LINK != 0),
                })
            })?);
        }
        Ok(all)
    }
}

fn describe(route: &Route) -> String {
    let by = route
        .gateway
        .map(|gateway| format!(" by {gateway}"))
        .unwrap_or_default();
    format!("route to {}/{}{by}", route.destination, route.prefix)
}

fn message(kind: u16, flags: u16, doing: String, route: &Route) -> Message {
    let mut fixed = [0; 12];
    fixed[0] = family(route.destination);
    fixed[1] = route.prefix;
    fixed[4] = MAIN;
    fixed[5] = STATIC;
    fixed[6] = if route.gateway.is_some() { 0 } else { LINK };
    fixed[7] = UNICAST;
    if route.on_link {
        fixed[8..].copy_from_slice(&ON_LINK.to_ne_bytes());
    }
    let mut message = Message::new(kind, flags, doing, &fixed);
    if route.prefix > 0 {
        message.bytes(RTA_DST, &octets(route.destination));
    }
    if let Some(gateway) = route.gateway {
        message.bytes(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(link) = route.link {
        message.u32(RTA_OIF, link);
    }
    if let Some(source) = route.source {
        message.bytes(RTA_PREFSRC, &octets(source));
    }
    if let Some(metric) = route.metric {
        message.u32(RTA_PRIORITY, metric);
    }
    message
}
