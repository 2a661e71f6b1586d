//! The token bucket (tc-tbf(8)).

use super::{ROOT, TCA_KIND, TCA_OPTIONS, message};
use crate::message::{CREATE, Message, REPLACE};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Nanoseconds of one tick of the kernel's packet scheduler (`PSCHED_SHIFT` is 6).
const TICK: u128 = 64;
/// Bytes of a packet's header on an Ethernet link, which the smallest rate table entry covers.
const LINK_LAYER_ETHERNET: u8 = 1;

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes in a second.
    pub rate: u64,
    /// Bytes that may pass at once after a pause; at least the largest packet.
    pub burst: u32,
    /// How long a packet waits at most, as bytes of the queue; what comes later is dropped.
    pub limit: u32,
}

/// Shapes what leaves a link; also changes the rate of one that is shaped already.
pub fn shape(link: u32, bucket: &TokenBucket) -> Message {
    let mut message = message(
        RTM_NEWQDISC,
        CREATE | REPLACE,
        format!("shape link {link} to {} bytes/s", bucket.rate),
        link,
        0,
        ROOT,
        0,
    );
    message.text(TCA_KIND, "tbf").nested(TCA_OPTIONS, |message| {
        message.bytes(TCA_TBF_PARMS, &parameters(bucket));
        if u32::try_from(bucket.rate).is_err() {
            message.bytes(TCA_TBF_RATE64, &bucket.rate.to_ne_bytes());
        }
        message.u32(TCA_TBF_BURST, bucket.burst);
    });
    message
}

/// Removes what [`shape`] made.
pub fn remove_queue(link: u32) -> Message {
    message(
        RTM_DELQDISC,
        0,
        format!("stop shaping link {link}"),
        link,
        0,
        ROOT,
        0,
    )
}

/// `struct tc_tbf_qopt`: rate and peak rate (`struct tc_ratespec`, 12 bytes each), limit, buffer, mtu.
fn parameters(bucket: &TokenBucket) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[1] = LINK_LAYER_ETHERNET;
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    bytes[8..12].copy_from_slice(&rate.to_ne_bytes());
    bytes[24..28].copy_from_slice(&bucket.limit.to_ne_bytes());
    // The burst as the time that it takes to send it, in ticks.
    let nanoseconds = u128::from(bucket.burst) * 1_000_000_000 / u128::from(bucket.rate.max(1));
    let ticks = u32::try_from(nanoseconds / TICK).unwrap_or(u32::MAX);
    bytes[28..32].copy_from_slice(&ticks.to_ne_bytes());
    bytes
}
