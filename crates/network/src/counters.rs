//! What has passed the interfaces of a container.

use std::os::fd::BorrowedFd;

use netlink::route::{Statistics, Target};
use netlink::{NetlinkError, Socket};
use sys::netlink::Family;

/// Returns what passed each interface of a network namespace but the loopback, seen from inside, by their names.
pub fn of_namespace(namespace: BorrowedFd<'_>) -> Result<Vec<(String, Statistics)>, NetlinkError> {
    let mut links = Socket::open_in(Family::Route, namespace)?.links()?;
    links.retain(|link| link.name != "lo");
    Ok(links
        .into_iter()
        .map(|link| (link.name, link.statistics))
        .collect())
}

/// Returns what passed the container at a bridge's port in the namespace of `host`, seen from the container: what leaves
/// the port it has received. This enters no namespace.
pub fn of_port(host: &mut Socket, port: &str) -> Result<Statistics, NetlinkError> {
    let seen = host.link(Target::Name(port))?.statistics;
    Ok(Statistics {
        received_packets: seen.sent_packets,
        sent_packets: seen.received_packets,
        received_bytes: seen.sent_bytes,
        sent_bytes: seen.received_bytes,
        receive_errors: seen.send_errors,
        send_errors: seen.receive_errors,
        receive_dropped: seen.send_dropped,
        send_dropped: seen.receive_dropped,
    })
}
