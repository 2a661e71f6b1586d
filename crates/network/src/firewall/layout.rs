//! The part that is always the same: chains, rules, empty sets and maps.

use std::net::Ipv6Addr;

use netlink::Message;
use netlink::nft::{
    self, BaseChain, Chain, ChainType, Comparison, Conntrack, Expression, Field, Hook, Meta, Nat, Payload,
    Policy, Register, Rule, Set, SetData, Table, Verdict, ct_state, fib_destination_type, key, text_key,
};

use super::{Firewall, State};
use crate::extension::PREFIX;

/// Names of the sets of bridges.
pub(super) const BRIDGES: &str = "bridges";
/// Bridges whose containers reach nothing outside.
pub(super) const INTERNAL: &str = "internal";
/// Pairs of a bridge with itself, where containers may talk to each other.
pub(super) const TALKING: &str = "talking";
/// Bridges whose IPv4 traffic leaves with the machine's address.
pub(super) const NAT4: &str = "nat4";
/// The same for IPv6.
pub(super) const NAT6: &str = "nat6";
/// Bridges with the IPv4 addresses of the containers at them.
pub(super) const RESIDENTS4: &str = "residents4";
/// The same for IPv6.
pub(super) const RESIDENTS6: &str = "residents6";
/// Further bridges of networks.
pub(super) const EXTENSIONS: &str = "extensions";
/// Pairs of a port with itself, by which a cable leads from a bridge to an extension.
pub(super) const CABLES: &str = "cables";
/// Ports of bridges that containers are at, with their hardware addresses.
pub(super) const HARDWARE: &str = "hardware";
/// The same with their IPv4 addresses.
pub(super) const SENDERS4: &str = "senders4";
/// The same with their IPv6 addresses.
pub(super) const SENDERS6: &str = "senders6";
/// The ports themselves.
pub(super) const PORTS: &str = "ports";

/// One address family's part of the published ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    /// Protocol and port, on all addresses.
    pub(super) anywhere: &'static str,
    /// Address, protocol and port.
    pub(super) at: &'static str,
    /// Ranges of ports that keep their numbers, on one address or all.
    pub(super) ranges: &'static str,
    address: Field,
    family: nft::Family,
    /// `NFPROTO_*`, which `meta nfproto` says.
    number: u8,
    /// Where the receiver's address is in the IP header, and how long.
    destination: (u32, u32),
}

pub(super) const MAPS4: Maps = Maps {
    anywhere: "published4",
    at: "published4-at",
    ranges: "published4-ranges",
    address: key::IPV4,
    family: nft::Family::Ip,
    number: 2,
    destination: (16, 4),
};
pub(super) const MAPS6: Maps = Maps {
    anywhere: "published6",
    at: "published6-at",
    ranges: "published6-ranges",
    address: key::IPV6,
    family: nft::Family::Ip6,
    number: 10,
    destination: (24, 16),
};

const AT: Register = Register::FIRST;
/// `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h.
const DST_NAT: u32 = 1 << 5;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
/// A router advertisement (RFC 4861, section 4.2).
const ADVERTISEMENT: u8 = 134;

impl Firewall {
    pub(super) fn layout(&self, state: &State) -> Vec<Message> {
        let mut messages = vec![nft::add_table(self.routed()), nft::add_table(self.bridged())];
        messages.extend(sets(self.routed(), self.bridged()));
        messages.extend(self.raw());
        messages.extend(self.destinations());
        messages.extend(self.forward(state));
        messages.extend(self.sources());
        messages.extend(self.ports());
        messages
    }

    /// What must not even be tracked.
    fn raw(&self) -> Vec<Message> {
        let mut chain = Rules::base(
            self.routed(),
            "prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            -300,
        );
        let mut rule = by_family(MAPS4.number);
        // First what hardly any packet has.
        rule.extend([
            Expression::Payload(Payload::Network, 16, 1, AT),
            Expression::Compare(AT, Comparison::Equal, vec![127]),
            Expression::Meta(Meta::InputName, AT),
            Expression::Compare(AT, Comparison::NotEqual, text_key("lo")),
            Expression::Counter,
            drop_it(),
        ]);
        chain.add(&rule, "loopback addresses come from no wire");
        chain.messages
    }

    /// What only machines with extensions need: every packet meets these chains. Whatever they had is written anew.
    pub(super) fn extension_chains(&self) -> Vec<Message> {
        // Where br_netfilter shows bridged packets, those of an extension are shown a second time at the bridge: a connection
        // that was known by then could not be translated any more.
        let mut raw = Rules::anew(
            self.routed(),
            "extensions-prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            -300,
        );
        raw.add(
            &[&came_by_extension()[..], &[Expression::NoTrack]].concat(),
            "seen again",
        );
        // What comes to this machine by an extension, which is no way to it: a broadcast comes by the bridge too.
        let mut input = Rules::anew(
            self.routed(),
            "extensions-input",
            ChainType::Filter,
            Hook::Input,
            0,
        );
        input.add(
            &[&came_by_extension()[..], &[Expression::Counter, drop_it()]].concat(),
            "extensions are no way in",
        );
        // What goes back by the cable that it came by is a packet that br_netfilter has translated, for one receiver. What is
        // for all has been seen there.
        let mut cables = Rules::anew(self.bridged(), "forward", ChainType::Filter, Hook::Forward, 0);
        let mut rule = within(CABLES).to_vec();
        rule.extend([
            Expression::Payload(Payload::Link, 0, 1, AT),
            Expression::Mask(AT, vec![1]),
            Expression::Compare(AT, Comparison::NotEqual, vec![0]),
            drop_it(),
        ]);
        cables.add(&rule, "not back to an extension");
        [raw, input, cables]
            .into_iter()
            .flat_map(|chain| chain.messages)
            .collect()
    }

    /// Published ports, for packets from outside and for the machine's own.
    fn destinations(&self) -> Vec<Message> {
        let mut published = Rules::chain(self.routed(), "published");
        // What is sent from ::1 cannot be led to another link; a proxy listens there.
        let mut own = by_family(MAPS6.number);
        let (offset, length) = MAPS6.destination;
        own.extend([
            Expression::Payload(Payload::Network, offset, length, AT),
            Expression::Compare(AT, Comparison::Equal, Ipv6Addr::LOCALHOST.octets().to_vec()),
            accept(),
        ]);
        published.add(&own, "to ::1");
        for maps in [MAPS4, MAPS6] {
            let (offset, length) = maps.destination;
            let load = |to: Register| {
                [
                    Expression::Meta(Meta::Transport, to),
                    Expression::Payload(Payload::Transport, 2, 2, to.after(4)),
                ]
            };
            let address = Expression::Payload(Payload::Network, offset, length, AT);
            let find = |map: &str| Expression::LookupValue {
                map: map.to_owned(),
                key: AT,
                value: AT,
            };
            let translate = |has_port: bool| {
                Expression::Nat(Nat {
                    source: false,
                    family: maps.family,
                    address: Some(AT),
                    port: has_port.then(|| AT.after(length)),
                })
            };
            let mut at = by_family(maps.number);
            at.push(address.clone());
            at.extend(load(AT.after(length)));
            let mut ranges = at.clone();
            at.extend([find(maps.at), translate(true)]);
            published.add(&at, "ports of one address");
            let mut anywhere = by_family(maps.number);
            anywhere.extend(load(AT));
            anywhere.extend([find(maps.anywhere), translate(true)]);
            published.add(&anywhere, "ports of all addresses");
            ranges.extend([find(maps.ranges), translate(false)]);
            published.add(&ranges, "ranges of ports");
        }
        let mut messages = published.messages;
        let to_us = [
            Expression::FibDestinationType(AT),
            Expression::Compare(
                AT,
                Comparison::Equal,
                fib_destination_type::LOCAL.to_ne_bytes().to_vec(),
            ),
            Expression::Verdict(Verdict::Jump("published".to_owned())),
        ];
        for (name, hook) in [("dstnat", Hook::Prerouting), ("output", Hook::Output)] {
            let mut chain = Rules::base(self.routed(), name, ChainType::Nat, hook, -100);
            chain.add(&to_us, "to this machine");
            messages.extend(chain.messages);
        }
        messages
    }

    fn forward(&self, state: &State) -> Vec<Message> {
        let mut chain = Rules::base(self.routed(), "forward", ChainType::Filter, Hook::Forward, 0);
        let into = |set: &str| [Expression::Meta(Meta::OutputName, AT), is_in(set)];
        let out_of = |set: &str| [Expression::Meta(Meta::InputName, AT), is_in(set)];
        // First, because nearly every packet ends here.
        chain.add(
            &[
                &with_state(ct_state::ESTABLISHED | ct_state::RELATED)[..],
                &[accept()],
            ]
            .concat(),
            "known connections",
        );
        // Only br_netfilter shows what stays within an extension; nothing is routed there.
        let leaves_by_extension = [Expression::Meta(Meta::OutputName, AT), is_in(EXTENSIONS)];
        chain.add(
            &[&came_by_extension()[..], &leaves_by_extension, &[accept()]].concat(),
            "within an extension",
        );
        chain.add(
            &[&came_by_extension()[..], &[Expression::Counter, drop_it()]].concat(),
            "extensions are no way out",
        );
        // Broken packets belong to no connection, and must not pass for a new one.
        chain.add(
            &[
                &into(BRIDGES)[..],
                &with_state(ct_state::INVALID),
                &[Expression::Counter, drop_it()],
            ]
            .concat(),
            "invalid",
        );
        chain.add(&[&within(TALKING)[..], &[accept()]].concat(), "within a network");
        for (direction, comment) in [
            (out_of(INTERNAL), "out of an internal network"),
            (into(INTERNAL), "into an internal network"),
        ] {
            chain.add(
                &[&direction[..], &[Expression::Counter, drop_it()]].concat(),
                comment,
            );
        }
        chain.add(
            &[&into(BRIDGES)[..], &was_published(), &[accept()]].concat(),
            "published",
        );
        chain.add(
            &[&into(BRIDGES)[..], &[Expression::Counter, drop_it()]].concat(),
            "not published",
        );
        // Forwarding is for the whole machine. Where it was off, nobody expects it between the machine's other links.
        for (closed, number) in [(state.closed4, MAPS4.number), (state.closed6, MAPS6.number)] {
            if closed {
                let mut rule = by_family(number);
                rule.extend([
                    Expression::Meta(Meta::InputName, AT),
                    is_not_in(BRIDGES),
                    Expression::Meta(Meta::OutputName, AT),
                    is_not_in(BRIDGES),
                    Expression::Counter,
                    drop_it(),
                ]);
                chain.add(&rule, "this machine is no router");
            }
        }
        chain.messages
    }

    fn sources(&self) -> Vec<Message> {
        let mut chain = Rules::base(self.routed(), "srcnat", ChainType::Nat, Hook::Postrouting, 100);
        // The container would answer its neighbour directly, who expects an answer from the machine. Told by addresses,
        // because what br_netfilter sends back over the bridge comes by no link.
        for (set, number, offset, length) in [
            (RESIDENTS4, MAPS4.number, 12, 4),
            (RESIDENTS6, MAPS6.number, 8, 16),
        ] {
            let mut rule = by_family(number);
            rule.extend([
                Expression::Meta(Meta::OutputName, AT),
                Expression::Payload(Payload::Network, offset, length, AT.after(16)),
                is_in(set),
            ]);
            rule.extend(was_published());
            rule.push(Expression::Masquerade);
            chain.add(&rule, "published, from the same network");
        }
        for (set, number) in [(NAT4, MAPS4.number), (NAT6, MAPS6.number)] {
            let mut rule = by_family(number);
            rule.extend([
                Expression::Meta(Meta::InputName, AT),
                is_in(set),
                Expression::Meta(Meta::OutputName, AT),
                is_not_in(BRIDGES),
                Expression::Masquerade,
            ]);
            chain.add(&rule, "out of a network");
        }
        let mut local = by_family(MAPS4.number);
        local.extend([
            Expression::Payload(Payload::Network, 12, 1, AT),
            Expression::Compare(AT, Comparison::Equal, vec![127]),
            Expression::Meta(Meta::OutputName, AT),
            is_in(BRIDGES),
            Expression::Masquerade,
        ]);
        chain.add(&local, "published, from a loopback address");
        chain.messages
    }

    /// What a container may send on its wire.
    fn ports(&self) -> Vec<Message> {
        let mut wire = Rules::chain(self.bridged(), "container");
        let port = Expression::Meta(Meta::InputName, AT);
        let ethertype = |value: [u8; 2]| {
            [
                Expression::Meta(Meta::EtherType, AT),
                Expression::Compare(AT, Comparison::Equal, value.to_vec()),
            ]
        };
        let from = |base: Payload, offset: u32, length: u32, set: &str| {
            [
                port.clone(),
                Expression::Payload(base, offset, length, AT.after(16)),
                is_not_in(set),
                Expression::Counter,
                drop_it(),
            ]
        };
        wire.add(&from(Payload::Link, 6, 6, HARDWARE), "not its hardware address");
        let arp = ethertype(ETHERTYPE_ARP);
        wire.add(
            &[&arp[..], &from(Payload::Network, 8, 6, HARDWARE)].concat(),
            "not its hardware address in ARP",
        );
        wire.add(
            &[&arp[..], &from(Payload::Network, 14, 4, SENDERS4)].concat(),
            "not its address in ARP",
        );
        wire.add(
            &[
                &ethertype(ETHERTYPE_IPV4)[..],
                &from(Payload::Network, 12, 4, SENDERS4),
            ]
            .concat(),
            "not its address",
        );
        let six = ethertype(ETHERTYPE_IPV6);
        let advertisement = [
            Expression::Meta(Meta::Transport, AT),
            Expression::Compare(AT, Comparison::Equal, vec![ICMPV6]),
            Expression::Payload(Payload::Transport, 0, 1, AT),
            Expression::Compare(AT, Comparison::Equal, vec![ADVERTISEMENT]),
            Expression::Counter,
            drop_it(),
        ];
        wire.add(&[&six[..], &advertisement].concat(), "no router");
        let link_local = [
            Expression::Payload(Payload::Network, 8, 2, AT),
            Expression::Mask(AT, vec![0xff, 0xc0]),
            Expression::Compare(AT, Comparison::Equal, vec![0xfe, 0x80]),
            accept(),
        ];
        wire.add(&[&six[..], &link_local].concat(), "link-local");
        // A host asks with no address whether somebody has the one that it wants (RFC 4862, section 5.4).
        let unspecified = [
            Expression::Payload(Payload::Network, 8, 16, AT),
            Expression::Compare(AT, Comparison::Equal, vec![0; 16]),
            accept(),
        ];
        wire.add(&[&six[..], &unspecified].concat(), "duplicate address detection");
        wire.add(
            &[&six[..], &from(Payload::Network, 8, 16, SENDERS6)].concat(),
            "not its address",
        );
        let mut messages = wire.messages;
        let mut chain = Rules::base(
            self.bridged(),
            "prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            -300,
        );
        // Nearly all packets are these: what has such an address is at a port that is in the other set too.
        let own = |base: Payload, offset: u32, length: u32, set: &str| {
            [
                port.clone(),
                Expression::Payload(base, offset, length, AT.after(16)),
                is_in(set),
            ]
        };
        chain.add(
            &[
                &ethertype(ETHERTYPE_IPV4)[..],
                &own(Payload::Link, 6, 6, HARDWARE),
                &own(Payload::Network, 12, 4, SENDERS4)[1..],
                &[accept()],
            ]
            .concat(),
            "its addresses",
        );
        chain.add(
            &[
                port.clone(),
                is_in(PORTS),
                Expression::Verdict(Verdict::Jump("container".to_owned())),
            ],
            "from a container",
        );
        messages.extend(chain.messages);
        messages
    }
}

fn sets(routed: Table<'_>, bridged: Table<'_>) -> Vec<Message> {
    let set = |table, name, key: &[Field]| {
        nft::add_set(&Set {
            table,
            name,
            key,
            ranges: false,
            data: SetData::None,
        })
    };
    let link = key::LINK_NAME;
    let mut messages = vec![
        set(routed, BRIDGES, &[link]),
        set(routed, INTERNAL, &[link]),
        set(routed, TALKING, &[link, link]),
        set(routed, NAT4, &[link]),
        set(routed, NAT6, &[link]),
        set(routed, EXTENSIONS, &[link]),
        set(routed, RESIDENTS4, &[link, key::IPV4]),
        set(routed, RESIDENTS6, &[link, key::IPV6]),
        set(bridged, PORTS, &[link]),
        set(bridged, CABLES, &[link, link]),
        set(bridged, HARDWARE, &[link, key::MAC]),
        set(bridged, SENDERS4, &[link, key::IPV4]),
        set(bridged, SENDERS6, &[link, key::IPV6]),
    ];
    for maps in [MAPS4, MAPS6] {
        let target = [maps.address, key::PORT];
        let map = |name, key: &[Field], ranges, value: &[Field]| {
            nft::add_set(&Set {
                table: routed,
                name,
                key,
                ranges,
                data: SetData::Value(value),
            })
        };
        let whole = [maps.address, key::PROTOCOL, key::PORT];
        messages.extend([
            map(maps.anywhere, &whole[1..], false, &target),
            map(maps.at, &whole, false, &target),
            map(maps.ranges, &whole, true, &target[..1]),
        ]);
    }
    messages
}

/// The rules of a chain in the making.
struct Rules<'a> {
    chain: Chain<'a>,
    messages: Vec<Message>,
}

impl<'a> Rules<'a> {
    fn chain(table: Table<'a>, name: &'a str) -> Self {
        let chain = Chain { table, name };
        Self {
            chain,
            messages: vec![nft::add_chain(chain, None)],
        }
    }

    fn base(table: Table<'a>, name: &'a str, kind: ChainType, hook: Hook<'a>, priority: i32) -> Self {
        let chain = Chain { table, name };
        let base = BaseChain {
            kind,
            hook,
            priority,
            policy: Policy::Accept,
        };
        Self {
            chain,
            messages: vec![nft::add_chain(chain, Some(&base))],
        }
    }

    /// As [`Rules::base`], for a chain that may be there already.
    fn anew(table: Table<'a>, name: &'a str, kind: ChainType, hook: Hook<'a>, priority: i32) -> Self {
        let mut rules = Self::base(table, name, kind, hook, priority);
        rules.messages.push(nft::flush_chain(rules.chain));
        rules
    }

    fn add(&mut self, expressions: &[Expression], comment: &str) {
        self.messages.push(nft::add_rule(&Rule {
            chain: self.chain,
            expressions,
            comment,
        }));
    }
}

fn by_family(number: u8) -> Vec<Expression> {
    vec![
        Expression::Meta(Meta::Protocol, AT),
        Expression::Compare(AT, Comparison::Equal, vec![number]),
    ]
}

fn is_in(set: &str) -> Expression {
    Expression::Lookup {
        set: set.to_owned(),
        key: AT,
        inverted: false,
    }
}

fn is_not_in(set: &str) -> Expression {
    Expression::Lookup {
        set: set.to_owned(),
        key: AT,
        inverted: true,
    }
}

/// By an extension; all names of which begin alike, so that others cost no look at the set.
fn came_by_extension() -> [Expression; 3] {
    [
        Expression::Meta(Meta::InputName, AT),
        Expression::Compare(AT, Comparison::Equal, PREFIX.as_bytes().to_vec()),
        is_in(EXTENSIONS),
    ]
}

/// From a bridge to the same bridge, or from a port to itself.
fn within(set: &str) -> [Expression; 3] {
    [
        Expression::Meta(Meta::InputName, AT),
        Expression::Meta(Meta::OutputName, AT.after(16)),
        is_in(set),
    ]
}

fn with_state(bits: u32) -> [Expression; 3] {
    [
        Expression::Conntrack(Conntrack::State, AT),
        Expression::Mask(AT, bits.to_ne_bytes().to_vec()),
        Expression::Compare(AT, Comparison::NotEqual, vec![0; 4]),
    ]
}

/// The connection's receiver was translated, which for what goes into a network only publishing does.
fn was_published() -> [Expression; 3] {
    [
        Expression::Conntrack(Conntrack::Status, AT),
        Expression::Mask(AT, DST_NAT.to_ne_bytes().to_vec()),
        Expression::Compare(AT, Comparison::NotEqual, vec![0; 4]),
    ]
}

fn accept() -> Expression {
    Expression::Verdict(Verdict::Accept)
}

fn drop_it() -> Expression {
    Expression::Verdict(Verdict::Drop)
}
