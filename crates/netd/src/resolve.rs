//! The answer to a query, from what is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::{Addresses, Directory, Networks};
use crate::wire::{self, A, AAAA, Code, PTR, Parsed, Query, SRV};

/// What is to be done with a packet of a client.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// Send the answer, which has so many bytes.
    Answer(usize),
    /// Somebody else must be asked.
    Forward(Question),
    /// Nothing.
    Silence,
}

/// What must be known of a query to pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where the question ends in the packet.
    pub end: usize,
    /// How long an answer over UDP may be.
    pub udp_limit: usize,
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By UDP.
    Udp,
    /// By TCP.
    Tcp,
}

/// Writes the answer to `packet` into `out`, which has room for the largest message of `transport`. A container of which
/// nothing is known (`directory` is `None`) gets a failure.
pub fn answer(
    packet: &[u8],
    transport: Transport,
    directory: Option<&Directory>,
    networks: &Networks,
    out: &mut [u8],
) -> Outcome {
    let query = match wire::parse(packet) {
        Parsed::Query(query) => query,
        Parsed::Refuse(query, code) => return Outcome::Answer(query.short_answer(code, out)),
        Parsed::Ignore => return Outcome::Silence,
    };
    let Some(directory) = directory else {
        return Outcome::Answer(query.short_answer(Code::Failure, out));
    };
    let limit = match transport {
        Transport::Udp => query.udp_limit(),
        Transport::Tcp => wire::TCP_LIMIT,
    };
    let out = out.get_mut(..limit).unwrap_or_default();
    if let Some(length) = local(&query, directory, networks, out) {
        return Outcome::Answer(length);
    }
    if !directory.forwards(networks) {
        return Outcome::Answer(query.short_answer(Code::Failure, out));
    }
    let is_address = matches!(query.kind, A | AAAA);
    if is_address && directory.keeps_single_labels && query.name.is_single_label() {
        return Outcome::Answer(query.short_answer(Code::Success, out));
    }
    Outcome::Forward(Question {
        end: query.question_end(),
        udp_limit: query.udp_limit(),
    })
}

/// Answers a query for a name or an address of the container's networks; `None` for others.
fn local(query: &Query<'_>, directory: &Directory, networks: &Networks, out: &mut [u8]) -> Option<usize> {
    let name = query.name.text()?;
    // As docker does: it knows no services, so whoever looks for one (`_http._tcp.web`, or just `web`) asks outside.
    if query.kind == SRV {
        return None;
    }
    if query.kind == PTR {
        let address = reverse_address(name)?;
        let (host, network) = directory.find_address(networks, address)?;
        let mut full = Vec::with_capacity(host.len() + network.len() + 1);
        full.extend_from_slice(host);
        full.push(b'.');
        full.extend_from_slice(network);
        let mut data = [0; 255];
        let length = wire::write_name(&full, &mut data)?;
        let mut writer = query.answer(Code::Success, out);
        writer.record(PTR, data.get(..length).unwrap_or_default());
        return Some(writer.finish());
    }
    let mut length = None;
    let is_known = directory.find(networks, name, |addresses| {
        length = write(query, addresses, out);
        length.is_some()
    });
    if length.is_none() && is_known {
        // The name is there, but has no such record: nobody else is asked, or the other would say that it is not.
        length = Some(query.short_answer(Code::Success, out));
    }
    length
}

/// Writes the addresses of the query's family; `None` if there are none.
fn write(query: &Query<'_>, addresses: &Addresses, out: &mut [u8]) -> Option<usize> {
    match query.kind {
        A if addresses.has_v4() => {
            let mut writer = query.answer(Code::Success, out);
            for address in addresses.v4() {
                writer.record(A, &address.octets());
            }
            Some(writer.finish())
        }
        AAAA if addresses.has_v6() => {
            let mut writer = query.answer(Code::Success, out);
            for address in addresses.v6() {
                writer.record(AAAA, &address.octets());
            }
            Some(writer.finish())
        }
        _ => None,
    }
}

/// Returns the address that `2.0.0.10.in-addr.arpa` or its like in `ip6.arpa` stands for.
fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(name).ok()?;
    if let Some(digits) = text.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0u8; 4];
        let mut parts = digits.split('.');
        for byte in bytes.iter_mut().rev() {
            let part = parts.next()?;
            // Not what `parse` takes besides: a sign.
            if !part.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            *byte = part.parse().ok()?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(bytes).into());
    }
    let digits = text.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut parts = digits.split('.');
    for index in 0..32 {
        let part = parts.next()?;
        let digit = match part.as_bytes() {
            [digit] => char::from(*digit).to_digit(16)?,
            _ => return None,
        };
        bits |= u128::from(digit) << (4 * index);
    }
    parts.next().is_none().then(|| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests;
