//! Sets and maps, and their elements.

use super::{Table, Verdict, expression, message};
use crate::message::{CREATE, Message};

pub(super) const NEWSET: u16 = 9;
pub(super) const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
pub(super) const NFTA_SET_TABLE: u16 = 1;
pub(super) const NFTA_SET_NAME: u16 = 2;
pub(super) const NFTA_SET_FLAGS: u16 = 3;
pub(super) const NFTA_SET_KEY_TYPE: u16 = 4;
pub(super) const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
pub(super) const NFTA_SET_DESC: u16 = 9;
pub(super) const NFTA_SET_ID: u16 = 10;
const NFTA_SET_DESC_CONCAT: u16 = 2;
const NFTA_SET_FIELD_LEN: u16 = 1;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_ELEM_LIST_TABLE: u16 = 1;
pub(super) const NFTA_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_ELEM_KEY: u16 = 1;
const NFTA_ELEM_DATA: u16 = 2;
const NFTA_ELEM_KEY_END: u16 = 10;
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const CONCAT: u32 = 128;
/// `NFT_DATA_VERDICT`.
const VERDICT: u32 = 0xffff_ff00;
/// Bits of one field in a concatenated type, as `nft` numbers them.
const TYPE_BITS: u32 = 6;
/// Bytes of one message's elements: its attribute has a length of 16 bits.
const ELEMENTS: usize = 48 << 10;

/// A field of a key or value: how long it is, and the number by which `nft list` knows how to print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    bytes: u32,
    type_number: u32,
}

/// The fields that keys and values are made of.
pub mod key {
    use super::Field;

    /// An IPv4 address: 4 bytes in network order.
    pub const IPV4: Field = Field {
        bytes: 4,
        type_number: 7,
    };
    /// An IPv6 address: 16 bytes.
    pub const IPV6: Field = Field {
        bytes: 16,
        type_number: 8,
    };
    /// A hardware address: 6 bytes.
    pub const MAC: Field = Field {
        bytes: 6,
        type_number: 9,
    };
    /// A transport protocol: 1 byte.
    pub const PROTOCOL: Field = Field {
        bytes: 1,
        type_number: 12,
    };
    /// A port: 2 bytes in network order.
    pub const PORT: Field = Field {
        bytes: 2,
        type_number: 13,
    };
    /// A mark: 4 bytes in host order.
    pub const MARK: Field = Field {
        bytes: 4,
        type_number: 19,
    };
    /// The name of a link: 16 bytes with NULs behind it.
    pub const LINK_NAME: Field = Field {
        bytes: 16,
        type_number: 41,
    };
}

/// A set or map to be.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Its table.
    pub table: Table<'a>,
    /// Its name.
    pub name: &'a str,
    /// What its keys are made of.
    pub key: &'a [Field],
    /// Whether keys are ranges.
    pub ranges: bool,
    /// What is found by a key, if it is a map.
    pub data: SetData<'a>,
}

/// What is found by a key.
#[derive(Clone, Copy, Debug)]
pub enum SetData<'a> {
    /// Nothing: the key is in the set or not.
    None,
    /// A value of these fields.
    Value(&'a [Field]),
    /// A verdict.
    Verdict,
}

/// An element of a set or map. Fields are padded to four bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key, or the first of a range: one entry per field.
    pub key: Vec<Vec<u8>>,
    /// The last key of a range (in sets with ranges).
    pub last: Option<Vec<Vec<u8>>>,
    /// What is found by it.
    pub data: ElementData,
}

/// What is found by an element's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// Nothing.
    None,
    /// A value: one entry per field.
    Value(Vec<Vec<u8>>),
    /// A verdict.
    Verdict(Verdict),
}

/// Makes a set or map, unless it is there. Sets with ranges have at least two fields: only those tell ranges apart by
/// both of their ends.
pub fn add_set(set: &Set<'_>) -> Message {
    let doing = format!("add set \"{}\"", set.name);
    let mut message = message(NEWSET, CREATE, doing, set.table.family);
    let is_map = !matches!(set.data, SetData::None);
    let mut flags = if is_map { MAP } else { 0 };
    if set.ranges {
        flags |= INTERVAL | CONCAT;
    }
    message
        .text(NFTA_SET_TABLE, set.table.name)
        .text(NFTA_SET_NAME, set.name)
        .be32(NFTA_SET_FLAGS, flags)
        .be32(NFTA_SET_KEY_TYPE, type_of(set.key))
        .be32(NFTA_SET_KEY_LEN, length_of(set.key))
        // Only looked at when a rule of the same transaction names the set by it; names do here.
        .be32(NFTA_SET_ID, 1);
    match set.data {
        SetData::None => {}
        SetData::Value(fields) => {
            message
                .be32(NFTA_SET_DATA_TYPE, type_of(fields))
                .be32(NFTA_SET_DATA_LEN, length_of(fields));
        }
        SetData::Verdict => {
            message
                .be32(NFTA_SET_DATA_TYPE, VERDICT)
                .be32(NFTA_SET_DATA_LEN, 0);
        }
    }
    if set.ranges {
        message.nested(NFTA_SET_DESC, |message| {
            message.nested(NFTA_SET_DESC_CONCAT, |message| {
                for field in set.key {
                    message.nested(NFTA_LIST_ELEM, |message| {
                        message.be32(NFTA_SET_FIELD_LEN, field.bytes);
                    });
                }
            });
        });
    }
    message
}

/// Adds elements to a set; one that is there with other data is an error.
pub fn add_elements(table: Table<'_>, set: &str, elements: &[Element]) -> Vec<Message> {
    in_parts(NEWSETELEM, CREATE, "add", table, set, elements)
}

/// Removes elements from a set; one that is not there is an error.
pub fn remove_elements(table: Table<'_>, set: &str, elements: &[Element]) -> Vec<Message> {
    in_parts(DELSETELEM, 0, "remove", table, set, elements)
}

/// Removes all elements of a set.
pub fn flush_set(table: Table<'_>, set: &str) -> Message {
    let doing = format!("flush set \"{set}\"");
    let mut message = message(DELSETELEM, 0, doing, table.family);
    message
        .text(NFTA_ELEM_LIST_TABLE, table.name)
        .text(NFTA_ELEM_LIST_SET, set);
    message
}

/// Returns text as a key of 16 bytes, with NULs behind it: how names of links are compared, too.
pub fn text_key(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn in_parts(
    kind: u16,
    flags: u16,
    verb: &str,
    table: Table<'_>,
    set: &str,
    elements: &[Element],
) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = elements;
    while !rest.is_empty() {
        let doing = format!("{verb} elements of \"{set}\"");
        messages.push(of_elements(kind, flags, doing, table, set, |message| {
            let start = message.size();
            while let Some((element, others)) = rest.split_first() {
                append(message, element);
                rest = others;
                if message.size() - start > ELEMENTS {
                    break;
                }
            }
        }));
    }
    messages
}

/// Returns a message about elements of a set, which `fill` adds.
pub(super) fn of_elements(
    kind: u16,
    flags: u16,
    doing: String,
    table: Table<'_>,
    set: &str,
    fill: impl FnOnce(&mut Message),
) -> Message {
    let mut message = message(kind, flags, doing, table.family);
    message
        .text(NFTA_ELEM_LIST_TABLE, table.name)
        .text(NFTA_ELEM_LIST_SET, set)
        .nested(NFTA_ELEM_LIST_ELEMENTS, fill);
    message
}

fn append(message: &mut Message, element: &Element) {
    message.nested(NFTA_LIST_ELEM, |message| {
        expression::value(message, NFTA_ELEM_KEY, &concatenated(&element.key));
        if let Some(last) = &element.last {
            expression::value(message, NFTA_ELEM_KEY_END, &concatenated(last));
        }
        match &element.data {
            ElementData::None => {}
            ElementData::Value(fields) => {
                expression::value(message, NFTA_ELEM_DATA, &concatenated(fields));
            }
            ElementData::Verdict(verdict) => expression::verdict(message, NFTA_ELEM_DATA, verdict),
        }
    });
}

fn concatenated(fields: &[Vec<u8>]) -> Vec<u8> {
    if let [field] = fields {
        return field.clone();
    }
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend(field);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn length_of(fields: &[Field]) -> u32 {
    match fields {
        [field] => field.bytes,
        fields => fields.iter().map(|field| field.bytes.next_multiple_of(4)).sum(),
    }
}

fn type_of(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |number, field| number << TYPE_BITS | field.type_number)
}
