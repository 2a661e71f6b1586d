//! What is in the packet filter, whoever put it there: read for an audit, so only as far as it can be told what a rule does.

use super::{Family, SUBSYSTEM};
use crate::error::NetlinkError;
use crate::message::{DUMP, Message};
use crate::reply::{Attributes, Reply, text};
use crate::socket::Socket;

const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;
const NFTA_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_ELEM_LIST_SET: u16 = 2;
const NFTA_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_ELEM_KEY: u16 = 1;
const NFTA_GEN_ID: u16 = 1;
const NFTA_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// Most register numbers name pieces of four bytes from this number on; the old four name pieces of sixteen.
const FIRST_PIECE: u32 = 8;

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedChain {
    /// The family of its table, a number of [`Family`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where the kernel begins it (`NF_INET_*`), and its turn there; none for one that is jumped to.
    pub hook: Option<(u32, i32)>,
    /// What its rules may do, in the kernel's words: `filter`, `nat`, `route`.
    pub kind: String,
    /// Whether what no rule decides about is dropped.
    pub drops: bool,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// The family of its table.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, as `nft -a list` shows it.
    pub handle: u64,
    /// What it does.
    pub steps: Vec<Step>,
}

/// What one expression of a rule does. Registers are told by their first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Loads a fact about the packet (`NFT_META_*`).
    Meta {
        /// Which.
        key: u32,
        /// Where to.
        to: u32,
    },
    /// Loads a fact about its connection (`NFT_CT_*`).
    Connection {
        /// Which.
        key: u32,
        /// Where to.
        to: u32,
    },
    /// Loads a piece of the packet.
    Payload {
        /// From which header (`NFT_PAYLOAD_*`).
        base: u32,
        /// From which byte of it.
        offset: u32,
        /// How many bytes.
        length: u32,
        /// Where to.
        to: u32,
    },
    /// Clears and turns bits.
    Bits {
        /// Where from.
        from: u32,
        /// Where to.
        to: u32,
        /// What stays.
        mask: Vec<u8>,
        /// What is turned.
        turned: Vec<u8>,
    },
    /// Goes on only if a comparison holds (`NFT_CMP_*`).
    Compare {
        /// Which register.
        from: u32,
        /// How.
        operator: u32,
        /// With what.
        value: Vec<u8>,
    },
    /// Goes on only if a set has the register's content.
    Lookup {
        /// Which register.
        from: u32,
        /// The set.
        set: String,
        /// Whether it goes on if the set does not have it.
        inverted: bool,
    },
    /// Decides: `NF_DROP` 0, `NF_ACCEPT` 1, `NFT_JUMP` -3, `NFT_GOTO` -4, `NFT_RETURN` -5.
    Verdict {
        /// How.
        code: i32,
        /// The chain that it goes on in.
        chain: Option<String>,
    },
    /// Refuses the packet.
    Reject,
    /// Counts, logs, or does something else that stops no packet.
    Nothing,
    /// Something else, by the kernel's name for it.
    Other(String),
}

/// A set's elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedSet {
    /// The keys in order, and whether a range ends before one.
    pub keys: Vec<(Vec<u8>, bool)>,
}

impl ListedSet {
    /// Returns whether the set has a value.
    pub fn contains(&self, value: &[u8]) -> bool {
        if !self.keys.iter().any(|(_, ends)| *ends) {
            return self.keys.iter().any(|(key, _)| key == value);
        }
        let below = self.keys.iter().filter(|(key, _)| key.as_slice() <= value);
        // Where one range ends and the next begins there are two: the beginning counts.
        below
            .max_by_key(|(key, ends)| (key, !ends))
            .is_some_and(|(_, ends)| !ends)
    }
}

impl Socket {
    /// Returns all chains of the packet filter.
    pub fn chains(&mut self) -> Result<Vec<ListedChain>, NetlinkError> {
        let request = Message::new(SUBSYSTEM | GETCHAIN, DUMP, "list chains", &[0; 4]);
        self.dump(&request, |reply| {
            let (fixed, attributes) = reply.split::<4>()?;
            let hook = attributes.get(NFTA_CHAIN_HOOK).map(Attributes::of);
            let hook = hook.and_then(|hook| {
                let priority = be32(hook.get(NFTA_HOOK_PRIORITY)?)?;
                Some((be32(hook.get(NFTA_HOOK_HOOKNUM)?)?, priority.cast_signed()))
            });
            Some(ListedChain {
                family: fixed[0],
                table: attributes.get(NFTA_TABLE).map(text)?,
                name: attributes.get(NFTA_CHAIN_NAME).map(text)?,
                hook,
                kind: attributes.get(NFTA_CHAIN_TYPE).map(text).unwrap_or_default(),
                drops: attributes.get(NFTA_CHAIN_POLICY).and_then(be32) == Some(0),
            })
        })
    }

    /// Returns all rules of the packet filter, those of one chain in their order.
    pub fn rules(&mut self) -> Result<Vec<ListedRule>, NetlinkError> {
        let request = Message::new(SUBSYSTEM | GETRULE, DUMP, "list rules", &[0; 4]);
        self.dump(&request, read_rule)
    }

    /// Returns the number of the last transaction in this network namespace, whose ever it was: each counts one up.
    pub fn generation(&mut self) -> Result<u32, NetlinkError> {
        let request = Message::new(
            SUBSYSTEM | GETGEN,
            0,
            "ask for the packet filter's generation",
            &[0; 4],
        );
        let read = |reply: &Reply<'_>| {
            let (_, attributes) = reply.split::<4>()?;
            attributes.get(NFTA_GEN_ID).and_then(be32)
        };
        self.get(&request, read)?.ok_or_else(|| NetlinkError::Malformed {
            doing: request.doing().to_owned(),
        })
    }

    /// Returns the elements of a set.
    pub fn set(&mut self, family: u8, table: &str, set: &str) -> Result<ListedSet, NetlinkError> {
        let doing = format!("list set \"{set}\"");
        let mut request = Message::new(SUBSYSTEM | GETSETELEM, DUMP, doing, &[family, 0, 0, 0]);
        request.text(NFTA_TABLE, table).text(NFTA_ELEM_LIST_SET, set);
        let pieces = self.dump(&request, |reply| {
            let (_, attributes) = reply.split::<4>()?;
            let elements = attributes.get(NFTA_ELEM_LIST_ELEMENTS)?;
            let keys = Attributes::of(elements).filter_map(|(_, element)| {
                let element = Attributes::of(element);
                let key = Attributes::of(element.get(NFTA_ELEM_KEY)?).get(NFTA_DATA_VALUE)?;
                let flags = element.get(NFTA_ELEM_FLAGS).and_then(be32).unwrap_or(0);
                Some((key.to_vec(), flags & INTERVAL_END != 0))
            });
            Some(keys.collect::<Vec<_>>())
        })?;
        Ok(ListedSet {
            keys: pieces.into_iter().flatten().collect(),
        })
    }
}

fn read_rule(reply: &Reply<'_>) -> Option<ListedRule> {
    let (fixed, attributes) = reply.split::<4>()?;
    let expressions = attributes.get(NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let handle = attributes.get(NFTA_RULE_HANDLE)?.first_chunk::<8>()?;
    Some(ListedRule {
        family: fixed[0],
        table: attributes.get(NFTA_TABLE).map(text)?,
        chain: attributes.get(NFTA_RULE_CHAIN).map(text)?,
        handle: u64::from_be_bytes(*handle),
        steps: Attributes::of(expressions)
            .filter(|(kind, _)| *kind == NFTA_LIST_ELEM)
            .map(|(_, expression)| read_step(Attributes::of(expression)))
            .collect(),
    })
}

fn read_step(expression: Attributes<'_>) -> Step {
    let name = expression.get(NFTA_EXPR_NAME).map(text).unwrap_or_default();
    let data = Attributes::of(expression.get(NFTA_EXPR_DATA).unwrap_or_default());
    known_step(&name, data).unwrap_or(Step::Other(name))
}

fn known_step(name: &str, data: Attributes<'_>) -> Option<Step> {
    let number = |kind| data.get(kind).and_then(be32);
    let register = |kind| number(kind).and_then(first_byte);
    let value = |kind| {
        data.get(kind)
            .and_then(|value| Attributes::of(value).get(NFTA_DATA_VALUE))
            .map(<[u8]>::to_vec)
    };
    Some(match name {
        "meta" => Step::Meta {
            to: register(1)?,
            key: number(2)?,
        },
        "ct" => Step::Connection {
            to: register(1)?,
            key: number(2)?,
        },
        "payload" => Step::Payload {
            to: register(1)?,
            base: number(2)?,
            offset: number(3)?,
            length: number(4)?,
        },
        "bitwise" => Step::Bits {
            from: register(1)?,
            to: register(2)?,
            mask: value(4)?,
            turned: value(5)?,
        },
        "cmp" => Step::Compare {
            from: register(1)?,
            operator: number(2)?,
            value: value(3)?,
        },
        // One that loads what it finds is a map.
        "lookup" if data.get(3).is_none() => Step::Lookup {
            set: data.get(1).map(text)?,
            from: register(2)?,
            inverted: number(5).unwrap_or(0) & 1 != 0,
        },
        "immediate" => {
            let verdict = Attributes::of(data.get(2)?).get(NFTA_DATA_VERDICT)?;
            let verdict = Attributes::of(verdict);
            Step::Verdict {
                code: be32(verdict.get(NFTA_VERDICT_CODE)?)?.cast_signed(),
                chain: verdict.get(NFTA_VERDICT_CHAIN).map(text),
            }
        }
        "reject" => Step::Reject,
        "counter" | "log" | "notrack" => Step::Nothing,
        _ => return None,
    })
}

fn first_byte(register: u32) -> Option<u32> {
    match register.checked_sub(FIRST_PIECE) {
        Some(piece) => piece.checked_mul(4),
        None => register.checked_sub(1)?.checked_mul(16),
    }
}

fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

impl Family {
    /// Returns the kernel's number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_set() {
        let key = |port: u16, ends| (port.to_be_bytes().to_vec(), ends);
        let ranges = ListedSet {
            keys: vec![
                key(0, true),
                key(80, false),
                key(91, true),
                key(91, false),
                key(92, true),
            ],
        };
        let has = |port: u16| ranges.contains(&port.to_be_bytes());
        assert_eq!(
            [79, 80, 90, 91, 92, 443].map(has),
            [false, true, true, true, false, false]
        );
        let plain = ListedSet {
            keys: vec![key(22, false), key(80, false)],
        };
        assert!(plain.contains(&80_u16.to_be_bytes()) && !plain.contains(&79_u16.to_be_bytes()));
    }
}
