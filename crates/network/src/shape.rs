//! How much a container may receive and send.
//!
//! What it receives is held back where it leaves the bridge's port. What it sends comes in by that port and cannot be held
//! back there: it is sent through a link of its own first, the port's name with an `i` before it. Inside the container is
//! nothing of this, where its root could change it.
//!
//! The port goes away with the container; the link beside it does not, so whoever shaped a port must also [`release`] it.

use base::error::{Kind, Kinded};
use netlink::route::{LinkChange, LinkKind, NewLink, Target, add_link, change_link, remove_link};
use netlink::shape::{TokenBucket, redirect_incoming, remove_queue, remove_redirection, shape};
use netlink::{NetlinkError, Socket};
pub use oci::endpoint::Rates;

/// The longest name of a port that has room for the letter before it, in bytes.
const LONGEST: usize = 14;
/// What may pass at once after a pause, in bytes: that of a fiftieth of a second within these bounds. What is larger than
/// the smallest, because the link joins packets, the kernel takes apart.
const BURST: (u64, u64) = (16 << 10, 8 << 20);
const BURSTS: u64 = 50;
/// How long a packet may be held back, as a part of a second.
const DELAY: u64 = 20;

/// Why a port could not be shaped.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// The port is not there.
    #[error("find port \"{port}\"")]
    Port {
        /// The port.
        port: String,
        /// Why.
        source: NetlinkError,
    },
    /// The kernel refused.
    #[error("limit what passes port \"{port}\"")]
    Limit {
        /// The port.
        port: String,
        /// Why.
        source: NetlinkError,
    },
    /// There is no room in the name for that of the link beside it.
    #[error("the name of port \"{port}\" is longer than 14 bytes")]
    Name {
        /// The port.
        port: String,
    },
    /// Nothing would ever pass.
    #[error("a rate of 0 lets nothing pass")]
    Nothing,
}

impl Kinded for ShapeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Port { source, .. } | Self::Limit { source, .. } => source.kind(),
            Self::Name { .. } | Self::Nothing => Kind::Invalid,
        }
    }
}

/// Lets `rates` pass a port of a bridge in the namespace of `host`, instead of what it was before. After a failure the port
/// may be shaped in part.
pub fn limit(host: &mut Socket, port: &str, rates: Rates) -> Result<(), ShapeError> {
    if rates.received == Some(0) || rates.sent == Some(0) {
        return Err(ShapeError::Nothing);
    }
    let beside = beside(port)?;
    let failed = |source| ShapeError::Limit {
        port: port.to_owned(),
        source,
    };
    let link = host.link(Target::Name(port)).map_err(|source| ShapeError::Port {
        port: port.to_owned(),
        source,
    })?;
    match rates.received {
        Some(rate) => host.request(&[shape(link.index, &bucket(rate))]),
        None => is_absent_or(host.request(&[remove_queue(link.index)])),
    }
    .map_err(failed)?;
    match rates.sent {
        Some(rate) => redirect(host, link.index, &beside, rate),
        None => is_absent_or(host.request(&[remove_redirection(link.index)]))
            .and_then(|()| is_absent_or(host.request(&[remove_link(Target::Name(&beside))]))),
    }
    .map_err(failed)
}

/// Removes what [`limit`] leaves when a port is gone. From one that is there nothing would be heard any more: give it no
/// rates instead. It waits for the kernel.
pub fn release(host: &mut Socket, port: &str) -> Result<(), ShapeError> {
    let beside = beside(port)?;
    is_absent_or(host.request(&[remove_link(Target::Name(&beside))])).map_err(|source| ShapeError::Limit {
        port: port.to_owned(),
        source,
    })
}

/// Sends what comes in by `link` through the link `beside`.
fn redirect(host: &mut Socket, link: u32, beside: &str, rate: u64) -> Result<(), NetlinkError> {
    let made = host.request(&[add_link(&NewLink {
        name: beside,
        kind: LinkKind::Ifb,
        settings: LinkChange::default(),
    })]);
    match made {
        Err(error) if !error.is_present() => return Err(error),
        _ => {}
    }
    let ifb = host.link(Target::Name(beside))?.index;
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    host.request(&[shape(ifb, &bucket(rate)), change_link(Target::Index(ifb), &up)])?;
    // Anew in any case: it may lead to a link of an earlier run that is not there any more.
    is_absent_or(host.request(&[remove_redirection(link)]))?;
    host.request(&redirect_incoming(link, ifb))
}

fn beside(port: &str) -> Result<String, ShapeError> {
    if port.len() > LONGEST {
        return Err(ShapeError::Name {
            port: port.to_owned(),
        });
    }
    Ok(format!("i{port}"))
}

fn bucket(rate: u64) -> TokenBucket {
    let burst = (rate / BURSTS).clamp(BURST.0, BURST.1);
    let small = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    TokenBucket {
        rate,
        burst: small(burst),
        // Room for the largest joined packet at any rate.
        limit: small((rate / DELAY).max(64 << 10).saturating_add(burst)),
    }
}

/// What shall not be there may be gone already; the kernel says `EINVAL` of a link that has no queue of anybody's making.
fn is_absent_or(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_absent() || error.errno() == Some(rustix::io::Errno::INVAL) => Ok(()),
        result => result,
    }
}
