//! A first packet of somebody outside, led through the rules of a chain.
//!
//! What is known of it is known as bytes; what is not known makes a rule's condition neither hold nor fail.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink::nft::{Family, ListedChain, Step, text_key};

use super::Ruleset;
use crate::firewall::Protocol;

/// The kernel follows no more jumps.
const DEEPEST: usize = 16;
/// `IP_CT_NEW` as a bit.
const NEW: u32 = 8;
/// `IPS_DST_NAT | IPS_DST_NAT_DONE`.
const TRANSLATED: u32 = 1 << 5 | 1 << 8;

/// What is known of the packet.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) ipv6: bool,
    pub(super) protocol: Protocol,
    pub(super) destination: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// The link by which it leaves.
    pub(super) output: Option<String>,
    /// Whether its destination was translated.
    pub(super) translated: bool,
    /// Links that it does not come by, beside the loopback.
    pub(super) bridges: Vec<String>,
}

impl Packet {
    /// Returns whether tables of a family see it.
    pub(super) fn is_seen_by(&self, family: u8) -> bool {
        let own = if self.ipv6 { Family::Ip6 } else { Family::Ip };
        family == own.number() || family == Family::Inet.number()
    }
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    Passes,
    /// It would be stopped but for this rule, of which is not known whether it applies.
    MayPass(String),
    /// This stops it.
    Stopped(String),
}

/// Leads the packet through a base chain.
pub(super) fn lead(packet: &Packet, ruleset: &Ruleset, chain: &ListedChain) -> Outcome {
    let mut walk = Walk {
        packet,
        ruleset,
        chain,
        may_accept: None,
    };
    let stopped_by = match walk.walk(&chain.name, true, 0) {
        Some(Ending::Accepted) => return Outcome::Passes,
        Some(Ending::Dropped(rule)) => rule,
        Some(Ending::Policy) | None if chain.drops => {
            format!("policy of chain {} in table {}", chain.name, table(chain))
        }
        Some(Ending::Policy) | None => return Outcome::Passes,
    };
    walk.may_accept
        .map_or(Outcome::Stopped(stopped_by), Outcome::MayPass)
}

fn table(chain: &ListedChain) -> String {
    let family = match chain.family {
        number if number == Family::Inet.number() => "inet",
        number if number == Family::Ip.number() => "ip",
        _ => "ip6",
    };
    format!("{family} {}", chain.table)
}

enum Ending {
    Accepted,
    Dropped(String),
    /// The base chain's policy decides.
    Policy,
}

struct Walk<'a> {
    packet: &'a Packet,
    ruleset: &'a Ruleset,
    chain: &'a ListedChain,
    may_accept: Option<String>,
}

impl Walk<'_> {
    /// Goes through a chain; `sure` unless it is not known whether the packet comes here. Returns how it ended, if it did.
    fn walk(&mut self, name: &str, sure: bool, depth: usize) -> Option<Ending> {
        if depth > DEEPEST {
            return None;
        }
        let ruleset = self.ruleset;
        let rules = ruleset.rules.iter().filter(|rule| {
            rule.family == self.chain.family && rule.table == self.chain.table && rule.chain == name
        });
        for rule in rules {
            let Some((holds, verdict)) = self.judge(&rule.steps) else {
                continue;
            };
            let sure = sure && holds;
            let shown = || {
                format!(
                    "rule {} of chain {name} in table {}",
                    rule.handle,
                    table(self.chain)
                )
            };
            match verdict {
                Verdict::Accept if sure => return Some(Ending::Accepted),
                Verdict::Accept => {
                    let shown = shown();
                    self.may_accept.get_or_insert(shown);
                }
                Verdict::Drop if sure => return Some(Ending::Dropped(shown())),
                Verdict::Return if sure => return None,
                Verdict::Drop | Verdict::Return => {}
                Verdict::Jump(chain) => {
                    if let Some(ending) = self.walk(chain, sure, depth + 1) {
                        return Some(ending);
                    }
                }
                Verdict::Goto(chain) => {
                    let ending = self.walk(chain, sure, depth + 1);
                    if sure {
                        return Some(ending.unwrap_or(Ending::Policy));
                    }
                }
            }
        }
        None
    }

    /// Returns what a rule decides, and whether it certainly applies; nothing if it does not, or decides nothing.
    fn judge<'s>(&self, steps: &'s [Step]) -> Option<(bool, Verdict<'s>)> {
        let mut registers = Registers::default();
        let mut holds = true;
        for step in steps {
            match step {
                Step::Meta { key, to } => registers.set(*to, self.meta(*key)),
                Step::Connection { key, to } => registers.set(*to, self.connection(*key)),
                Step::Payload {
                    base,
                    offset,
                    length,
                    to,
                } => registers.set(*to, self.payload(*base, *offset, *length)),
                Step::Bits {
                    from,
                    to,
                    mask,
                    turned,
                } => {
                    let value = match registers.get(*from) {
                        Value::Known(bytes) => {
                            let bits = bytes.iter().zip(mask).zip(turned);
                            Value::Known(
                                bits.map(|((byte, mask), turned)| (byte & mask) ^ turned)
                                    .collect(),
                            )
                        }
                        Value::Not(_) | Value::Unknown => Value::Unknown,
                    };
                    registers.set(*to, value);
                }
                Step::Compare {
                    from,
                    operator,
                    value,
                } => match registers.get(*from).compare(*operator, value) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => holds = false,
                },
                Step::Lookup { from, set, inverted } => match self.lookup(&registers, *from, set) {
                    Some(found) if found == *inverted => return None,
                    Some(_) => {}
                    None => holds = false,
                },
                Step::Verdict { code, chain } => {
                    return Verdict::read(*code, chain.as_deref()).map(|verdict| (holds, verdict));
                }
                Step::Reject => return Some((holds, Verdict::Drop)),
                Step::Nothing => {}
                Step::Other(_) => holds = false,
            }
        }
        None
    }

    /// `NFT_META_*`.
    fn meta(&self, key: u32) -> Value {
        let packet = self.packet;
        match key {
            1 if packet.ipv6 => Value::Known(vec![0x86, 0xdd]),
            1 => Value::Known(vec![0x08, 0x00]),
            // The loopback is the first link of every namespace.
            4 => Value::Not(vec![1_u32.to_ne_bytes().to_vec()]),
            6 => {
                let bridges = packet.bridges.iter().map(String::as_str);
                Value::Not(bridges.chain(["lo"]).map(text_key).collect())
            }
            7 => packet
                .output
                .as_deref()
                .map_or(Value::Unknown, |output| Value::Known(text_key(output))),
            15 => Value::Known(vec![if packet.ipv6 { 10 } else { 2 }]),
            16 => Value::Known(vec![packet.protocol as u8]),
            _ => Value::Unknown,
        }
    }

    /// `NFT_CT_*`.
    fn connection(&self, key: u32) -> Value {
        match key {
            0 => Value::Known(NEW.to_ne_bytes().to_vec()),
            1 => Value::Known(vec![0]),
            2 => {
                let status = if self.packet.translated { TRANSLATED } else { 0 };
                Value::Known(status.to_ne_bytes().to_vec())
            }
            _ => Value::Unknown,
        }
    }

    /// `NFT_PAYLOAD_NETWORK_HEADER` is 1, `NFT_PAYLOAD_TRANSPORT_HEADER` 2.
    fn payload(&self, base: u32, offset: u32, length: u32) -> Value {
        let packet = self.packet;
        let mut header = [None; 40];
        let mut write = |at: usize, bytes: &[u8]| {
            for (to, byte) in header.iter_mut().skip(at).zip(bytes) {
                *to = Some(*byte);
            }
        };
        match (base, packet.ipv6) {
            (1, false) => {
                write(9, &[packet.protocol as u8]);
                if let Some(IpAddr::V4(address)) = packet.destination {
                    write(16, &address.octets());
                }
            }
            (1, true) => {
                write(6, &[packet.protocol as u8]);
                if let Some(IpAddr::V6(address)) = packet.destination {
                    write(24, &address.octets());
                }
            }
            (2, _) => {
                if let Some(port) = packet.port {
                    write(2, &port.to_be_bytes());
                }
            }
            _ => {}
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let piece: Option<Vec<u8>> = header
            .get(start..end)
            .and_then(|piece| piece.iter().copied().collect());
        piece.map_or(Value::Unknown, Value::Known)
    }

    fn lookup(&self, registers: &Registers, from: u32, set: &str) -> Option<bool> {
        let key = (self.chain.family, self.chain.table.clone(), set.to_owned());
        let set = self.ruleset.sets.get(&key)?;
        let length = set.keys.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        match registers.get(from) {
            // Nothing is in an empty set.
            _ if set.keys.is_empty() => Some(false),
            Value::Not(others) => {
                let is_other = |(key, _): &(Vec<u8>, bool)| others.contains(key);
                set.keys.iter().all(is_other).then_some(false)
            }
            _ => registers.join(from, length).map(|value| set.contains(&value)),
        }
    }
}

enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

impl<'a> Verdict<'a> {
    fn read(code: i32, chain: Option<&'a str>) -> Option<Self> {
        match (code, chain) {
            (0, _) => Some(Self::Drop),
            (1, _) => Some(Self::Accept),
            (-3, Some(chain)) => Some(Self::Jump(chain)),
            (-4, Some(chain)) => Some(Self::Goto(chain)),
            (-5, _) => Some(Self::Return),
            _ => None,
        }
    }
}

/// What a register has.
#[derive(Clone, Debug)]
enum Value {
    Known(Vec<u8>),
    /// Anything but these.
    Not(Vec<Vec<u8>>),
    Unknown,
}

impl Value {
    /// `NFT_CMP_*`: equal, not equal, less, at most, more, at least.
    fn compare(&self, operator: u32, with: &[u8]) -> Option<bool> {
        match self {
            Self::Known(bytes) => {
                // A name may be compared by its beginning.
                let bytes = bytes.get(..with.len())?;
                Some(match operator {
                    0 => bytes == with,
                    1 => bytes != with,
                    2 => bytes < with,
                    3 => bytes <= with,
                    4 => bytes > with,
                    5 => bytes >= with,
                    _ => return None,
                })
            }
            Self::Not(others) if others.iter().any(|other| other == with) => match operator {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            Self::Not(_) | Self::Unknown => None,
        }
    }
}

/// By their first bytes.
#[derive(Debug, Default)]
struct Registers(BTreeMap<u32, Value>);

impl Registers {
    fn set(&mut self, at: u32, value: Value) {
        self.0.insert(at, value);
    }

    fn get(&self, at: u32) -> Value {
        self.0.get(&at).cloned().unwrap_or(Value::Unknown)
    }

    /// Returns `length` bytes from `at`; what lies in one register is filled up to four bytes for the next.
    fn join(&self, at: u32, length: usize) -> Option<Vec<u8>> {
        let mut joined = Vec::with_capacity(length);
        while joined.len() < length {
            let next = u32::try_from(joined.len())
                .ok()
                .and_then(|done| at.checked_add(done))?;
            let Some(Value::Known(bytes)) = self.0.get(&next) else {
                return None;
            };
            if bytes.is_empty() {
                return None;
            }
            joined.extend(bytes);
            if joined.len() < length {
                joined.resize(joined.len().next_multiple_of(4), 0);
            }
        }
        Some(joined)
    }
}
