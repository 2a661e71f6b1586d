//! What containers send to their resolver, what servers reply to it, and what arrives on netd's own socket.

use std::cell::OnceCell;

use netd::names::{Directory, Networks};
use netd::resolve::{self, Outcome, Transport};
use netd::wire::{self, Parsed};
use netd_api::message::{Container, Message, Name, Network};
use netd_api::packet::Decoder;

thread_local! {
    static KNOWN: OnceCell<(Networks, Directory)> = const { OnceCell::new() };
}

/// A packet as a query by UDP and TCP, as the reply to itself, and as a packet of netd's protocol.
pub fn dns(data: &[u8]) {
    KNOWN.with(|known| {
        let (networks, directory) = known.get_or_init(known_names);
        for (transport, limit) in [
            (Transport::Udp, wire::UDP_LIMIT),
            (Transport::Tcp, wire::TCP_LIMIT),
        ] {
            let mut out = vec![0xee; limit + 8];
            let outcome = resolve::answer(data, transport, Some(directory), networks, &mut out[..limit]);
            assert!(out[limit..].iter().all(|&byte| byte == 0xee));
            match outcome {
                Outcome::Answer(length) => {
                    assert!((wire::HEADER..=limit).contains(&length));
                    // The same id, and an answer, which is answered by nobody.
                    assert_eq!(out[..2], data[..2]);
                    assert!(matches!(wire::parse(&out[..length]), Parsed::Ignore));
                    if let Parsed::Query(query) = wire::parse(data) {
                        assert!(transport == Transport::Tcp || length <= query.udp_limit());
                        let end = query.question_end();
                        assert_eq!(out[wire::HEADER..end], data[wire::HEADER..end]);
                    }
                }
                Outcome::Forward(question) => {
                    assert!((wire::HEADER..=data.len()).contains(&question.end));
                    let (query, reply) = data.split_at(data.len() / 2);
                    wire::judge(data, question.end, 0, reply);
                    wire::judge(data, question.end, 0, query);
                    let mut reply = data.to_vec();
                    reply[2] |= 0x80;
                    reply[3] &= 0xf0;
                    let id = u16::from_be_bytes([data[0], data[1]]);
                    assert_eq!(wire::judge(data, question.end, id, &reply), wire::Verdict::Answer);
                    assert_eq!(wire::judge(data, question.end, !id, &reply), wire::Verdict::Stray);
                }
                Outcome::Silence => {}
            }
        }
    });
    let mut decoder = Decoder::default();
    for packet in data.splitn(4, |&byte| byte == 0xff) {
        if decoder.push::<Message>(packet, Vec::new()).is_err() {
            break;
        }
    }
}

fn known_names() -> (Networks, Directory) {
    let name = |name: &str, addresses: &[&str]| Name {
        name: name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().expect("written here"))
            .collect(),
        reverse: true,
    };
    let mut networks = Networks::default();
    networks.set(Network {
        id: "n".to_owned(),
        name: "net".to_owned(),
        internal: false,
        names: vec![
            name("web", &["10.0.0.2", "fd00::2"]),
            name("a", &["10.0.0.3"]),
            Name {
                addresses: (1..=250u8).map(|last| [10, 0, 1, last].into()).collect(),
                ..name("many", &[])
            },
            // A name that no question can have, and one that no answer can have.
            name("x\0\"", &["10.0.0.4"]),
            name(&"l".repeat(70), &["10.0.0.5"]),
        ],
    });
    let directory = Directory::new(Container {
        id: "c".to_owned(),
        networks: vec!["n".to_owned(), "none".to_owned()],
        names: vec![name("link", &["10.0.0.9"])],
        upstreams: None,
        forwards: true,
        keeps_single_labels: true,
    });
    (networks, directory)
}
