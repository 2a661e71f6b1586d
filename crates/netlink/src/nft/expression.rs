//! Expressions: the small steps of a rule, each of which loads, compares, looks up or decides.

use std::time::Duration;

use super::{Family, Quota, quota};
use crate::message::Message;

/// A place for up to 16 bytes between expressions (`NFT_REG_1` to `NFT_REG_4`), in quarters of four bytes each
/// (`NFT_REG32_00` to `NFT_REG32_15`), so that the parts of a compound key can be put one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// The first register.
    pub const FIRST: Self = Self(8);

    /// Returns the place this many bytes further on, rounded up to four; places beyond the last are refused by the
    /// kernel.
    pub const fn after(self, bytes: u32) -> Self {
        Self(self.0 + bytes.div_ceil(4))
    }
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on to the next hook.
    Accept,
    /// The packet is gone.
    Drop,
    /// The next rule decides.
    Continue,
    /// The rule after the jump decides.
    Return,
    /// A chain decides; the rule after this one if it does not.
    Jump(String),
    /// A chain decides.
    Goto(String),
}

/// A fact about a packet that is not in it (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// The protocol of its payload (`ETH_P_*`): 2 bytes in network order.
    EtherType = 1,
    /// Its mark: 4 bytes.
    Mark = 3,
    /// The index of the link it came by: 4 bytes.
    InputIndex = 4,
    /// The index of the link it leaves by: 4 bytes.
    OutputIndex = 5,
    /// The name of the link it came by: 16 bytes.
    InputName = 6,
    /// The name of the link it leaves by: 16 bytes.
    OutputName = 7,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10): 1 byte.
    Protocol = 15,
    /// The transport protocol (6 is TCP): 1 byte.
    Transport = 16,
}

/// Where in a packet to look (`NFT_PAYLOAD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The Ethernet header.
    Link = 0,
    /// The IP (or ARP) header.
    Network = 1,
    /// The TCP, UDP or SCTP header.
    Transport = 2,
}

/// A fact about a packet's connection (`NFT_CT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conntrack {
    /// How far it is, as bits of [`ct_state`]: 4 bytes.
    State = 0,
    /// What was done to it, as `IPS_*` bits: 4 bytes.
    Status = 2,
    /// Its mark: 4 bytes.
    Mark = 3,
}

/// Bits of [`Conntrack::State`], in host byte order.
pub mod ct_state {
    /// It is broken.
    pub const INVALID: u32 = 1;
    /// Packets went both ways.
    pub const ESTABLISHED: u32 = 2;
    /// It belongs to another connection.
    pub const RELATED: u32 = 4;
    /// This is its first packet.
    pub const NEW: u32 = 8;
}

/// A kind of comparison (`NFT_CMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same.
    Equal = 0,
    /// Not the same.
    NotEqual = 1,
}

/// Address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Of the sender's address, or of the receiver's.
    pub source: bool,
    /// [`Family::Ip`] or [`Family::Ip6`].
    pub family: Family,
    /// Where the new address is.
    pub address: Option<Register>,
    /// Where the new port is: 2 bytes in network order.
    pub port: Option<Register>,
}

/// One step of a rule. A comparison or a lookup that does not match ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact.
    Meta(Meta, Register),
    /// Sets the mark of a packet from a register.
    SetMark(Register),
    /// Loads a part of the packet: offset and length in bytes.
    Payload(Payload, u32, u32, Register),
    /// Loads a fact about the connection.
    Conntrack(Conntrack, Register),
    /// Sets the connection's mark from a register.
    SetConntrackMark(Register),
    /// Loads what kind of address the receiver's is, seen from here (`RTN_*`, 4 bytes): see [`fib_destination_type`].
    FibDestinationType(Register),
    /// Keeps the bits of a mask.
    Mask(Register, Vec<u8>),
    /// Compares with a value.
    Compare(Register, Comparison, Vec<u8>),
    /// Is in a set (or, inverted, is not).
    Lookup {
        /// The set.
        set: String,
        /// Where its key is.
        key: Register,
        /// Whether the rule goes on if it is *not* there.
        inverted: bool,
    },
    /// Finds a value in a map and loads it.
    LookupValue {
        /// The map.
        map: String,
        /// Where its key is.
        key: Register,
        /// Where its value goes.
        value: Register,
    },
    /// Finds a verdict in a map, and decides so.
    LookupVerdict {
        /// The map.
        map: String,
        /// Where its key is.
        key: Register,
    },
    /// Loads a constant.
    Load(Register, Vec<u8>),
    /// Translates an address to what registers say.
    Nat(Nat),
    /// Translates the sender's address to that of the link it leaves by.
    Masquerade,
    /// Translates the receiver's address to this machine's, to the port in a register.
    Redirect(Register),
    /// Answers that nobody is there.
    Reject,
    /// Counts packets and bytes.
    Counter,
    /// Counts bytes in the element of a set of quotas, which is made if it is not there; the rule goes on if more have
    /// passed than the element says.
    BeyondQuota {
        /// The set.
        set: String,
        /// Where its key is.
        key: Register,
        /// How many bytes may pass, if the element is made.
        bytes: u64,
        /// How long it is there then.
        time: Option<Duration>,
    },
    /// Does not track the packet's connection.
    NoTrack,
    /// Decides.
    Verdict(Verdict),
}

/// Values of [`Expression::FibDestinationType`], in host byte order.
pub mod fib_destination_type {
    /// An address of this machine (`RTN_LOCAL`).
    pub const LOCAL: u32 = 2;
}

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// Adds an expression to a list of them.
pub(super) fn append(message: &mut Message, expression: &Expression) {
    message.nested(NFTA_LIST_ELEM, |message| {
        message.text(NFTA_EXPR_NAME, name(expression));
        message.nested(NFTA_EXPR_DATA, |message| data(message, expression));
    });
}

/// Adds a value that rules and elements hold.
pub(super) fn value(message: &mut Message, kind: u16, bytes: &[u8]) {
    message.nested(kind, |message| {
        message.bytes(NFTA_DATA_VALUE, bytes);
    });
}

/// Adds a verdict that rules and elements hold.
pub(super) fn verdict(message: &mut Message, kind: u16, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Continue => (-1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    message.nested(kind, |message| {
        message.nested(NFTA_DATA_VERDICT, |message| {
            message.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
            if let Some(chain) = chain {
                message.text(NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
}

fn name(expression: &Expression) -> &'static str {
    match expression {
        Expression::Meta(..) | Expression::SetMark(_) => "meta",
        Expression::Payload(..) => "payload",
        Expression::Conntrack(..) | Expression::SetConntrackMark(_) => "ct",
        Expression::FibDestinationType(_) => "fib",
        Expression::Mask(..) => "bitwise",
        Expression::Compare(..) => "cmp",
        Expression::Lookup { .. } | Expression::LookupValue { .. } | Expression::LookupVerdict { .. } => {
            "lookup"
        }
        Expression::Load(..) | Expression::Verdict(_) => "immediate",
        Expression::Nat(_) => "nat",
        Expression::Masquerade => "masq",
        Expression::Redirect(_) => "redir",
        Expression::Reject => "reject",
        Expression::Counter => "counter",
        Expression::BeyondQuota { .. } => "dynset",
        Expression::NoTrack => "notrack",
    }
}

/// Adds the attributes of an expression; the numbers are those of its own enum in linux/netfilter/nf_tables.h.
fn data(message: &mut Message, expression: &Expression) {
    match expression {
        // NFTA_META_{DREG,KEY,SREG}
        Expression::Meta(fact, to) => {
            message.be32(1, to.0).be32(2, *fact as u32);
        }
        Expression::SetMark(from) => {
            message.be32(2, Meta::Mark as u32).be32(3, from.0);
        }
        // NFTA_PAYLOAD_{DREG,BASE,OFFSET,LEN}
        Expression::Payload(base, offset, length, to) => {
            message
                .be32(1, to.0)
                .be32(2, *base as u32)
                .be32(3, *offset)
                .be32(4, *length);
        }
        // NFTA_CT_{DREG,KEY,DIRECTION,SREG}
        Expression::Conntrack(fact, to) => {
            message.be32(1, to.0).be32(2, *fact as u32);
        }
        Expression::SetConntrackMark(from) => {
            message.be32(2, Conntrack::Mark as u32).be32(4, from.0);
        }
        // NFTA_FIB_{DREG,RESULT,FLAGS}: NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
        Expression::FibDestinationType(to) => {
            message.be32(1, to.0).be32(2, 3).be32(3, 2);
        }
        // NFTA_BITWISE_{SREG,DREG,LEN,MASK,XOR}
        Expression::Mask(at, mask) => {
            let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
            message.be32(1, at.0).be32(2, at.0).be32(3, length);
            value(message, 4, mask);
            value(message, 5, &vec![0; mask.len()]);
        }
        // NFTA_CMP_{SREG,OP,DATA}
        Expression::Compare(at, comparison, with) => {
            message.be32(1, at.0).be32(2, *comparison as u32);
            value(message, 3, with);
        }
        // NFTA_LOOKUP_{SET,SREG,DREG,SET_ID,FLAGS}
        Expression::Lookup { set, key, inverted } => {
            message.text(1, set).be32(2, key.0);
            if *inverted {
                message.be32(5, 1);
            }
        }
        Expression::LookupValue { map, key, value } => {
            message.text(1, map).be32(2, key.0).be32(3, value.0);
        }
        Expression::LookupVerdict { map, key } => {
            message.text(1, map).be32(2, key.0).be32(3, VERDICT);
        }
        // NFTA_IMMEDIATE_{DREG,DATA}
        Expression::Load(to, bytes) => {
            message.be32(1, to.0);
            value(message, 2, bytes);
        }
        Expression::Verdict(decision) => {
            message.be32(1, VERDICT);
            verdict(message, 2, decision);
        }
        Expression::Nat(nat) => translate(message, nat),
        // NFTA_REDIR_REG_PROTO_MIN
        Expression::Redirect(port) => {
            message.be32(1, port.0);
        }
        // NFTA_REJECT_{TYPE,ICMP_CODE}: NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH
        Expression::Reject => {
            message.be32(1, 2).u8(2, 1);
        }
        // NFTA_COUNTER_{BYTES,PACKETS}
        Expression::Counter => {
            message.be64(1, 0).be64(2, 0);
        }
        // NFTA_DYNSET_{SET_NAME,SET_ID,OP,SREG_KEY,SREG_DATA,TIMEOUT,EXPR}: NFT_DYNSET_OP_ADD
        Expression::BeyondQuota {
            set,
            key,
            bytes,
            time,
        } => {
            message.text(1, set).be32(3, 0).be32(4, key.0);
            if let Some(time) = time {
                message.be64(6, quota::milliseconds(*time));
            }
            let quota = Quota {
                bytes: *bytes,
                used: 0,
            };
            message.nested(7, |message| quota::append(message, quota));
        }
        Expression::Masquerade | Expression::NoTrack => {}
    }
}

/// `NFTA_NAT_{TYPE,FAMILY,REG_ADDR_MIN,REG_ADDR_MAX,REG_PROTO_MIN,REG_PROTO_MAX}`.
fn translate(message: &mut Message, nat: &Nat) {
    message.be32(1, u32::from(!nat.source)).be32(2, nat.family as u32);
    if let Some(address) = nat.address {
        message.be32(3, address.0);
    }
    if let Some(port) = nat.port {
        message.be32(5, port.0);
    }
}
