//! Redirection of what comes in by a link, to an ifb link (tc-u32(8), tc-mirred(8)).

use super::{INGRESS, INGRESS_HANDLE, TCA_KIND, TCA_OPTIONS, message};
use crate::message::{CREATE, EXCLUSIVE, Message};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
/// `TC_ACT_STOLEN`.
const STOLEN: i32 = 4;
/// `TCA_EGRESS_REDIR`.
const EGRESS_REDIRECT: i32 = 1;
/// `TC_U32_TERMINAL`.
const TERMINAL: u8 = 1;
/// `ETH_P_ALL`, in the byte order of the packet.
const ALL: u16 = 3_u16.to_be();

/// Sends everything that comes in by `link` out by `to` first, from where it comes back as if nothing had happened.
/// Returns two messages; removing either link undoes them.
pub fn redirect_incoming(link: u32, to: u32) -> [Message; 2] {
    let doing = format!("redirect what comes in by link {link}");
    let flags = CREATE | EXCLUSIVE;
    let mut queue = message(
        RTM_NEWQDISC,
        flags,
        doing.clone(),
        link,
        INGRESS_HANDLE,
        INGRESS,
        0,
    );
    queue.text(TCA_KIND, "ingress");
    let priority = 1 << 16 | u32::from(ALL);
    let mut filter = message(RTM_NEWTFILTER, flags, doing, link, 0, INGRESS_HANDLE, priority);
    filter.text(TCA_KIND, "u32").nested(TCA_OPTIONS, |message| {
        // struct tc_u32_sel with one key whose mask is nothing: every packet.
        let mut selector = [0; 32];
        selector[0] = TERMINAL;
        selector[2] = 1;
        message.bytes(TCA_U32_SEL, &selector);
        message.nested(TCA_U32_ACT, |message| {
            message.nested(1, |message| {
                message.text(TCA_ACT_KIND, "mirred");
                message.nested(TCA_ACT_OPTIONS, |message| {
                    message.bytes(TCA_MIRRED_PARMS, &mirror(to));
                });
            });
        });
    });
    [queue, filter]
}

/// Undoes [`redirect_incoming`].
pub fn remove_redirection(link: u32) -> Message {
    message(
        RTM_DELQDISC,
        0,
        format!("redirect no more what comes in by link {link}"),
        link,
        INGRESS_HANDLE,
        INGRESS,
        0,
    )
}

/// `struct tc_mirred`: index, capabilities, action, two counts, what to do, link.
fn mirror(to: u32) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[8..12].copy_from_slice(&STOLEN.to_ne_bytes());
    bytes[20..24].copy_from_slice(&EGRESS_REDIRECT.to_ne_bytes());
    bytes[24..28].copy_from_slice(&to.to_ne_bytes());
    bytes
}
