//! What an audit says of rules that nft(8) has put in place, in a network namespace of the test's own.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use netlink::Socket;
use netlink::route::MacAddress;
use network::audit::{Exposure, Listener, Ruleset, audit};
use network::firewall::{EndpointFacts, Firewall, NetworkFacts, Protocol, Publication, State};
use sys::netlink::Family;

use crate::world::Host;

const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 2);

fn state() -> State {
    State {
        networks: vec![NetworkFacts {
            bridge: "br-a".to_owned(),
            internal: false,
            talking: true,
            nat4: true,
            nat6: false,
        }],
        endpoints: vec![EndpointFacts {
            bridge: "br-a".to_owned(),
            port: "bv0".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            addresses: vec![CONTAINER.into()],
        }],
        publications: vec![Publication {
            protocol: Protocol::Tcp,
            host: None,
            first: 8080,
            last: 8080,
            container: CONTAINER.into(),
            port: 80,
        }],
        ..State::default()
    }
}

/// Returns the audit of a machine with these rules beside Berth's own; `None` where there is no nft(8).
fn audited(rules: &str, state: &State) -> Option<Vec<Exposure>> {
    Host::new().inside(|| {
        let mut socket = Socket::open(Family::Netfilter).unwrap();
        socket.request(&Firewall::new("berth").replace(state)).unwrap();
        let nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn();
        let mut nft = match nft {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            nft => nft.unwrap(),
        };
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
        let ruleset = Ruleset::read(&mut socket).unwrap();
        let ssh = Listener {
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: 22,
            protocol: Protocol::Tcp,
            passes_to: None,
        };
        let local = Listener {
            address: Ipv4Addr::LOCALHOST.into(),
            ..ssh
        };
        Some(audit(&ruleset, "berth", &[ssh, local], state))
    })
}

/// Returns what stops ssh, and what stops the published port.
fn stops(rules: &str) -> Option<[Option<String>; 2]> {
    let found = audited(rules, &state())?;
    let [ssh, published] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((ssh.first, ssh.container), (22, None));
    assert_eq!(
        (published.first, published.container),
        (8080, Some(CONTAINER.into()))
    );
    Some([ssh.blocked_by.clone(), published.blocked_by.clone()])
}

#[test]
fn a_machine_without_other_rules_shows_what_it_has() {
    let Some(found) = audited("", &state()) else {
        return;
    };
    assert!(
        found.iter().all(|exposure| exposure.blocked_by.is_none()),
        "{found:?}"
    );
    assert_eq!(found[1].because, ["published to 10.50.0.2:80"]);
}

#[test]
fn a_firewall_that_lets_ssh_in_stops_the_rest() {
    let rules = "table inet filter {
        chain input { type filter hook input priority 0; policy drop;
            ct state established,related accept
            iif lo accept
            iifname \"br-a\" accept
            tcp dport { 22, 443, 1000-2000 } accept
        }
        chain forward { type filter hook forward priority 0; policy drop;
            ct state vmap { established : accept, invalid : drop }
            ct state established accept
        }
    }";
    let Some([ssh, published]) = stops(rules) else {
        return;
    };
    assert_eq!(ssh, None);
    assert_eq!(
        published.as_deref(),
        Some("policy of chain forward in table inet filter")
    );
}

#[test]
fn rules_with_jumps_addresses_and_translation_are_followed() {
    let rules = "table ip user {
        chain checks { tcp dport 80 ip daddr 10.50.0.0/24 drop; }
        chain forward { type filter hook forward priority -10; policy accept;
            oifname \"br-*\" ct status dnat jump checks
        }
        chain input { type filter hook input priority 0; policy accept;
            tcp dport != 8022 reject
        }
    }";
    let Some([ssh, published]) = stops(rules) else {
        return;
    };
    assert!(ssh.unwrap().contains("chain input in table ip user"));
    assert!(published.unwrap().contains("chain checks in table ip user"));
}

#[test]
fn what_depends_on_the_sender_stops_nothing() {
    let rules = "table inet filter {
        chain input { type filter hook input priority 0; policy drop;
            ip saddr 192.0.2.0/24 tcp dport 22 accept
        }
        chain raw { type filter hook prerouting priority -300; policy accept;
            tcp dport 8080 limit rate 5/second accept
            tcp dport 80 drop
        }
        chain forward { type filter hook forward priority 0; policy accept;
            ip saddr 203.0.113.7 drop
        }
    }";
    let Some(found) = audited(rules, &state()) else {
        return;
    };
    assert!(
        found.iter().all(|exposure| exposure.blocked_by.is_none()),
        "{found:?}"
    );
    let [ssh, published] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(
        ssh.because[1].ends_with("in table inet filter lets some of it pass"),
        "{ssh:?}"
    );
    assert_eq!(published.because.len(), 1);
}

#[test]
fn what_berth_itself_keeps_in() {
    let mut internal = state();
    internal.networks[0].internal = true;
    internal.publications[0].host = Some(Ipv4Addr::new(198, 51, 100, 1).into());
    let Some(found) = audited("", &internal) else {
        return;
    };
    assert_eq!(
        found[1].blocked_by.as_deref(),
        Some("the network of bridge br-a is internal")
    );
    let mut local = state();
    local.publications[0].host = Some(Ipv4Addr::LOCALHOST.into());
    assert_eq!(audited("", &local).unwrap().len(), 1);
}
