//! Quotas: bytes that may pass, counted in the elements of a set, each for a time. The first packet makes its element; as
//! long as that is there, the packets are counted in it, and when its time is over, the kernel takes it out.

use std::time::Duration;

use super::set::{
    NEWSET, NEWSETELEM, NFTA_ELEM_KEY, NFTA_ELEM_LIST_ELEMENTS, NFTA_ELEM_LIST_SET, NFTA_ELEM_LIST_TABLE,
    NFTA_LIST_ELEM, NFTA_SET_DESC, NFTA_SET_FLAGS, NFTA_SET_ID, NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE,
    NFTA_SET_NAME, NFTA_SET_TABLE, of_elements, text_key,
};
use super::{SUBSYSTEM, Table, message};
use crate::error::NetlinkError;
use crate::message::{CREATE, DUMP, Message};
use crate::reply::Attributes;
use crate::socket::Socket;

const GETSETELEM: u16 = 13;
const NFTA_SET_DESC_SIZE: u16 = 1;
const NFTA_ELEM_TIMEOUT: u16 = 4;
const NFTA_ELEM_EXPIRATION: u16 = 5;
const NFTA_ELEM_EXPR: u16 = 7;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_QUOTA_BYTES: u16 = 1;
const NFTA_QUOTA_FLAGS: u16 = 2;
const NFTA_QUOTA_CONSUMED: u16 = 4;
/// `NFT_QUOTA_F_INV`: matches what is beyond the quota.
const BEYOND: u32 = 1;
/// `NFT_SET_TIMEOUT | NFT_SET_EVAL`: elements that end, and that rules may add.
const DYNAMIC: u32 = 0x10 | 0x20;
/// The type by which `nft list` prints keys of 16 bytes as text: that of names of links.
const TEXT: (u32, u32) = (41, 16);

/// How many bytes may pass, and how many have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may pass.
    pub bytes: u64,
    /// How many have.
    pub used: u64,
}

/// An element of a set of quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaElement {
    /// Its key: up to 16 bytes of text.
    pub key: String,
    /// What is counted.
    pub quota: Quota,
    /// How long it is there from its first packet on, and how much of that is left; forever if `None`.
    pub time: Option<(Duration, Duration)>,
}

/// Makes a set of at most `size` quotas by texts of up to 16 bytes, unless it is there.
pub fn add_quota_set(table: Table<'_>, name: &str, size: u32) -> Message {
    let mut message = message(NEWSET, CREATE, format!("add set \"{name}\""), table.family);
    message
        .text(NFTA_SET_TABLE, table.name)
        .text(NFTA_SET_NAME, name)
        .be32(NFTA_SET_FLAGS, DYNAMIC)
        .be32(NFTA_SET_KEY_TYPE, TEXT.0)
        .be32(NFTA_SET_KEY_LEN, TEXT.1)
        .be32(NFTA_SET_ID, 1)
        .nested(NFTA_SET_DESC, |message| {
            message.be32(NFTA_SET_DESC_SIZE, size);
        });
    message
}

/// Adds an element with what was used of its quota before; one that is there stays as it is.
pub fn add_quota(table: Table<'_>, set: &str, element: &QuotaElement) -> Message {
    let doing = format!("add an element of \"{set}\"");
    of_elements(NEWSETELEM, CREATE, doing, table, set, |message| {
        message.nested(NFTA_LIST_ELEM, |message| {
            super::expression::value(message, NFTA_ELEM_KEY, &text_key(&element.key));
            if let Some((whole, left)) = element.time {
                message
                    .be64(NFTA_ELEM_TIMEOUT, milliseconds(whole))
                    .be64(NFTA_ELEM_EXPIRATION, milliseconds(left.min(whole)));
            }
            message.nested(NFTA_ELEM_EXPR, |message| append(message, element.quota));
        });
    })
}

/// Adds a quota's name and attributes to an element or to the rule that makes one.
pub(super) fn append(message: &mut Message, quota: Quota) {
    message
        .text(NFTA_EXPR_NAME, "quota")
        .nested(NFTA_EXPR_DATA, |message| {
            message
                .be64(NFTA_QUOTA_BYTES, quota.bytes)
                .be64(NFTA_QUOTA_CONSUMED, quota.used)
                .be32(NFTA_QUOTA_FLAGS, BEYOND);
        });
}

/// Returns whole milliseconds, at least one: nothing ends at once.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Socket {
    /// Returns the elements of a set of quotas. One whose time is over is none.
    pub fn quotas(&mut self, table: Table<'_>, set: &str) -> Result<Vec<QuotaElement>, NetlinkError> {
        let doing = format!("list set \"{set}\"");
        let mut request = Message::new(
            SUBSYSTEM | GETSETELEM,
            DUMP,
            doing,
            &[table.family as u8, 0, 0, 0],
        );
        request
            .text(NFTA_ELEM_LIST_TABLE, table.name)
            .text(NFTA_ELEM_LIST_SET, set);
        let pieces = self.dump(&request, |reply| {
            let (_, attributes) = reply.split::<4>()?;
            let elements = attributes.get(NFTA_ELEM_LIST_ELEMENTS)?;
            let all = Attributes::of(elements).filter_map(|(_, element)| read(Attributes::of(element)));
            Some(all.collect::<Vec<_>>())
        })?;
        Ok(pieces.into_iter().flatten().collect())
    }
}

fn read(element: Attributes<'_>) -> Option<QuotaElement> {
    let key = Attributes::of(element.get(NFTA_ELEM_KEY)?).get(NFTA_DATA_VALUE)?;
    let expression = Attributes::of(element.get(NFTA_ELEM_EXPR)?);
    let quota = Attributes::of(expression.get(NFTA_EXPR_DATA)?);
    let time = element.get(NFTA_ELEM_TIMEOUT).and_then(be64).and_then(|whole| {
        let left = element.get(NFTA_ELEM_EXPIRATION).and_then(be64)?;
        Some((Duration::from_millis(whole), Duration::from_millis(left)))
    });
    Some(QuotaElement {
        key: crate::reply::text(key),
        quota: Quota {
            bytes: be64(quota.get(NFTA_QUOTA_BYTES)?)?,
            used: be64(quota.get(NFTA_QUOTA_CONSUMED)?)?,
        },
        time,
    })
}

fn be64(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}
