//! VLAN links that are made for networks: with `parent=eth0.20`, VLAN 20 of `eth0`, if there is no link of that name. They are
//! removed with the network.

use netlink::NetlinkError;
use netlink::route::{LinkChange, LinkKind, NewLink, Target, add_link, remove_link};
use rustix::io::Errno;

use super::error::NetworkError;
use super::kernel::Kernel;
use super::record::NetworkRecord;

/// Returns whether the link that a network is to be on is made for it: there is none, and its name says what it is. What is
/// neither there nor a VLAN is an error, docker's, but for a link that is to be lent: that may be plugged in later.
pub(crate) fn is_wanted(kernel: &mut Kernel, record: &NetworkRecord) -> Result<bool, NetworkError> {
    let Some(parent) = record.settings().parent else {
        return Ok(false);
    };
    let failed = |error: NetlinkError| NetworkError::step("look for the parent of", &record.name, error);
    match kernel.route().map_err(failed)?.link(Target::Name(&parent)) {
        Ok(_) => Ok(false),
        Err(error) if error.is_absent() => match parse(&parent) {
            Some(_) => Ok(true),
            None if record.driver == "phys" => Ok(false),
            None => Err(NetworkError::invalid(format!(
                "invalid subinterface vlan name {parent}, example formatting is eth0.10"
            ))),
        },
        Err(error) => Err(failed(error)),
    }
}

/// Makes the link of a network, unless it is there.
pub(crate) fn make(kernel: &mut Kernel, record: &NetworkRecord) -> Result<(), NetworkError> {
    let Some(parent) = record.settings().parent.filter(|_| record.makes_parent) else {
        return Ok(());
    };
    let Some((below, id)) = parse(&parent) else {
        return Ok(());
    };
    let failed = |error: NetlinkError| NetworkError::step("make the VLAN of", &record.name, error);
    let socket = kernel.route().map_err(failed)?;
    match socket.link(Target::Name(&parent)) {
        Ok(_) => return Ok(()),
        Err(error) if error.is_absent() => {}
        Err(error) => return Err(failed(error)),
    }
    let below = match socket.link(Target::Name(below)) {
        Ok(link) => link.index,
        Err(error) if error.is_absent() => {
            return Err(NetworkError::invalid(format!(
                "failed to find the parent interface \"{below}\" of VLAN \"{parent}\""
            )));
        }
        Err(error) => return Err(failed(error)),
    };
    let link = NewLink {
        name: &parent,
        kind: LinkKind::Vlan { parent: below, id },
        settings: LinkChange {
            up: Some(true),
            ..LinkChange::default()
        },
    };
    match socket.request(&[add_link(&link)]) {
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Err(NetworkError::Unsupported {
            text: format!("VLAN \"{parent}\" cannot be made: this kernel has no VLANs (module 8021q)"),
        }),
        done => done.map_err(failed),
    }
}

/// Removes the link of a network, if it was made for it. One that is not there is none any more.
pub(crate) fn remove(kernel: &mut Kernel, record: &NetworkRecord) -> Result<(), NetworkError> {
    let Some(parent) = record.settings().parent.filter(|_| record.makes_parent) else {
        return Ok(());
    };
    let failed = |error: NetlinkError| NetworkError::step("remove the VLAN of", &record.name, error);
    let socket = kernel.route().map_err(failed)?;
    let is_vlan = match socket.link(Target::Name(&parent)) {
        Ok(link) => link.kind.as_deref() == Some("vlan"),
        Err(error) if error.is_absent() => false,
        Err(error) => return Err(failed(error)),
    };
    if !is_vlan {
        return Ok(());
    }
    match socket.request(&[remove_link(Target::Name(&parent))]) {
        Err(error) if !error.is_absent() => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Reads `LINK.NUMBER`.
fn parse(name: &str) -> Option<(&str, u16)> {
    let (below, id) = name.rsplit_once('.')?;
    let id = id.parse().ok().filter(|id| (1..=4094).contains(id))?;
    (!below.is_empty()).then_some((below, id))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_of_vlans() {
        assert_eq!(parse("eth0.20"), Some(("eth0", 20)));
        assert_eq!(parse("eth0.7.4094"), Some(("eth0.7", 4094)));
        for name in ["eth0", "eth0.", ".20", "eth0.0", "eth0.4095", "eth0.x", "eth0.-1"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
