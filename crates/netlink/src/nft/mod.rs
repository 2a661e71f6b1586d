//! The packet filter, nf_tables (linux/netfilter/nf_tables.h): tables of chains, chains of rules, sets and maps that
//! rules look into.
//!
//! All messages of one [`crate::Socket::request`] are one transaction: all of them are done, or none. What depends on
//! how many containers or ports there are belongs into sets and maps, whose elements are found and changed in constant
//! time; rules only say what to do with what is found there.

mod chain;
mod expression;
mod listing;
mod quota;
mod rule;
mod set;
mod table;
mod watch;

pub use chain::{BaseChain, Chain, ChainType, Hook, Policy, add_chain, flush_chain, remove_chain};
pub use expression::{
    Comparison, Conntrack, Expression, Meta, Nat, Payload, Register, Verdict, ct_state, fib_destination_type,
};
pub use listing::{ListedChain, ListedRule, ListedSet, Step};
pub use quota::{Quota, QuotaElement, add_quota, add_quota_set};
pub use rule::{Rule, add_rule};
pub use set::{
    Element, ElementData, Field, Set, SetData, add_elements, add_set, flush_set, key, remove_elements,
    text_key,
};
pub use table::{Table, add_table, remove_table};
pub use watch::{Ear, Removal, Watch};

use crate::message::Message;

/// `NFNL_SUBSYS_NFTABLES << 8`.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;

/// Which packets a table sees (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// What enters a link (`netdev`).
    Netdev = 5,
    /// What crosses a bridge.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

/// Returns the messages that a transaction stands between.
pub(crate) fn batch_bounds() -> (Message, Message) {
    // struct nfgenmsg: family u8, version u8, subsystem be16.
    let fixed = [0, 0, 0, 10];
    let bound = |kind, doing| Message::new(kind, 0, doing, &fixed);
    (
        bound(BATCH_BEGIN, "begin a transaction"),
        bound(BATCH_END, "commit a transaction"),
    )
}

fn message(kind: u16, flags: u16, doing: String, family: Family) -> Message {
    Message::new(SUBSYSTEM | kind, flags, doing, &[family as u8, 0, 0, 0])
}
