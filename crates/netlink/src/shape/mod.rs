//! Shaping: what leaves a link is held back so that no more than a rate passes (tc(8), linux/pkt_sched.h).
//!
//! A link's incoming traffic cannot be held back; it is redirected to an ifb link instead, and shaped as it leaves that.

mod queue;
mod redirect;

pub use queue::{TokenBucket, remove_queue, shape};
pub use redirect::{redirect_incoming, remove_redirection};

use crate::message::Message;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `TC_H_ROOT`.
const ROOT: u32 = 0xffff_ffff;
/// `TC_H_INGRESS`.
const INGRESS: u32 = 0xffff_fff1;
/// The handle that the kernel gives the queue of a link's incoming traffic.
const INGRESS_HANDLE: u32 = 0xffff_0000;

/// `struct tcmsg`: family u8, padding 3, link i32, handle u32, parent u32, info u32.
fn message(kind: u16, flags: u16, doing: String, link: u32, handle: u32, parent: u32, info: u32) -> Message {
    let mut fixed = [0; 20];
    for (at, value) in [(4, link), (8, handle), (12, parent), (16, info)] {
        fixed[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    Message::new(kind, flags, doing, &fixed)
}
