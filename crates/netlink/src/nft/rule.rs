//! Rules: expressions, done one after the other until one does not match.

use super::{Chain, Expression, expression, message};
use crate::message::{APPEND, CREATE, Message};

const NEWRULE: u16 = 6;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
/// libnftnl's `NFTNL_UDATA_RULE_COMMENT`.
const COMMENT: u8 = 0;

/// A rule to be.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The chain that it is added to the end of.
    pub chain: Chain<'a>,
    /// What it does.
    pub expressions: &'a [Expression],
    /// What `nft list` shows beside it, up to 250 bytes.
    pub comment: &'a str,
}

/// Adds a rule.
pub fn add_rule(rule: &Rule<'_>) -> Message {
    let doing = format!("add rule \"{}\" to chain \"{}\"", rule.comment, rule.chain.name);
    let mut message = message(NEWRULE, CREATE | APPEND, doing, rule.chain.table.family);
    message
        .text(NFTA_RULE_TABLE, rule.chain.table.name)
        .text(NFTA_RULE_CHAIN, rule.chain.name)
        .nested(NFTA_RULE_EXPRESSIONS, |message| {
            for step in rule.expressions {
                expression::append(message, step);
            }
        });
    // libnftnl: type u8, length u8, text with its NUL.
    if let Ok(length) = u8::try_from(rule.comment.len() + 1)
        && length > 1
    {
        let mut data = vec![COMMENT, length];
        data.extend(rule.comment.as_bytes());
        data.push(0);
        message.bytes(NFTA_RULE_USERDATA, &data);
    }
    message
}
