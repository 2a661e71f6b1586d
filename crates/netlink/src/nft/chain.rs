//! Chains: lists of rules, begun by the kernel at a hook or by a jump.

use super::{Table, message};
use crate::message::{CREATE, Message};

const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const DELRULE: u16 = 8;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;

/// The name of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its table.
    pub table: Table<'a>,
    /// Its name.
    pub name: &'a str,
}

/// Where the kernel begins a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain<'a> {
    /// What its rules may do.
    pub kind: ChainType,
    /// The place on a packet's way.
    pub hook: Hook<'a>,
    /// Its turn among the chains at the same place: smaller numbers come first.
    pub priority: i32,
    /// What becomes of a packet that no rule decides about.
    pub policy: Policy,
}

/// What the rules of a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Accept and drop.
    Filter,
    /// Translate addresses: only the first packet of a connection is seen.
    Nat,
    /// Change what routing depends on.
    Route,
}

/// A place on a packet's way (`NF_INET_*`, `NF_NETDEV_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook<'a> {
    /// Before routing.
    Prerouting,
    /// To this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
    /// As it comes out of a link, in a table of the family netdev.
    Ingress {
        /// The link.
        link: &'a str,
    },
}

/// What becomes of an undecided packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is dropped.
    Drop = 0,
    /// It goes on.
    Accept = 1,
}

/// Makes a chain, unless it is there; with a base it gets packets from the kernel.
pub fn add_chain(chain: Chain<'_>, base: Option<&BaseChain<'_>>) -> Message {
    let mut message = to(NEWCHAIN, CREATE, "add", chain);
    if let Some(base) = base {
        message.nested(NFTA_CHAIN_HOOK, |message| {
            message
                .be32(NFTA_HOOK_HOOKNUM, number(base.hook))
                .bytes(NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
            if let Hook::Ingress { link } = base.hook {
                message.text(NFTA_HOOK_DEV, link);
            }
        });
        message
            .be32(NFTA_CHAIN_POLICY, base.policy as u32)
            .text(NFTA_CHAIN_TYPE, type_name(base.kind));
    }
    message
}

/// Removes a chain that nothing jumps to.
pub fn remove_chain(chain: Chain<'_>) -> Message {
    to(DELCHAIN, 0, "remove", chain)
}

/// Removes all rules of a chain.
pub fn flush_chain(chain: Chain<'_>) -> Message {
    let doing = format!("flush chain \"{}\"", chain.name);
    let mut message = message(DELRULE, 0, doing, chain.table.family);
    message
        .text(NFTA_RULE_TABLE, chain.table.name)
        .text(NFTA_RULE_CHAIN, chain.name);
    message
}

fn to(kind: u16, flags: u16, verb: &str, chain: Chain<'_>) -> Message {
    let doing = format!("{verb} chain \"{}\"", chain.name);
    let mut message = message(kind, flags, doing, chain.table.family);
    message
        .text(NFTA_CHAIN_TABLE, chain.table.name)
        .text(NFTA_CHAIN_NAME, chain.name);
    message
}

fn number(hook: Hook<'_>) -> u32 {
    match hook {
        Hook::Prerouting | Hook::Ingress { .. } => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

fn type_name(kind: ChainType) -> &'static str {
    match kind {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
        ChainType::Route => "route",
    }
}
