//! Names of others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use netd_api::message::Container;

use crate::world::{
    A, PTR, Upstream, World, answer, container, exchange, id, network, query, receive_framed, refusal,
    send_framed, wire,
};

fn with_upstreams(number: u8, upstreams: &[&str]) -> Container {
    let upstreams = upstreams.iter().map(|address| address.parse().unwrap());
    Container {
        upstreams: Some(upstreams.collect()),
        ..container(&id(number))
    }
}

#[tokio::test]
async fn others_are_asked_from_inside_the_container() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let outside = Ipv4Addr::new(10, 9, 0, 1);
    let inside = Ipv4Addr::new(10, 9, 0, 2);
    wire((&world.machine, outside), (&one, inside));
    let server = Upstream::start(&world.machine, "10.9.0.1:53", move |query, peer| {
        assert_eq!(peer.ip(), inside, "asked from elsewhere");
        vec![answer(query, [192, 0, 2, 1])]
    });
    // Given to the container, and named by the host.
    let given = with_upstreams(1, &["10.9.0.1"]);
    world.client.set_container(given).await.unwrap();
    assert!(one.ask("Example.com", A).is("192.0.2.1"));
    world.resolv_conf("nameserver 10.9.0.1\n");
    let named = Container {
        upstreams: None,
        ..container(&id(1))
    };
    world.client.set_container(named).await.unwrap();
    assert!(one.ask("unknown", A).is("192.0.2.1"));
    assert_eq!(server.asked(), 2);
    // A known name is not asked for.
    assert!(one.ask("web", A).is("10.0.0.2"));
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn the_host_s_own_server_is_asked_on_the_host() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let server = Upstream::start(&world.machine, "127.0.0.53:53", |query, _| {
        vec![answer(query, [192, 0, 2, 2])]
    });
    world.resolv_conf("nameserver 127.0.0.53\n");
    let named = Container {
        upstreams: None,
        ..container(&id(1))
    };
    world.client.set_container(named).await.unwrap();
    assert!(one.ask("example.com", A).is("192.0.2.2"));
    // Given to the container, the same address is the container's own.
    let given = with_upstreams(1, &["127.0.0.53"]);
    world.client.set_container(given).await.unwrap();
    assert_eq!(one.ask("example.com", A).code, 2);
    assert_eq!(server.asked(), 1);
    let own = Upstream::start(&one, "127.0.0.53:53", |query, _| {
        vec![answer(query, [192, 0, 2, 3])]
    });
    assert!(one.ask("example.com", A).is("192.0.2.3"));
    assert_eq!((server.asked(), own.asked()), (1, 1));
}

#[tokio::test]
async fn servers_take_their_turn() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    // Silent, refusing, good; a fourth is never asked. That of an address that nobody has costs no time.
    let silent = Upstream::start(&one, "127.1.0.1:53", |_, _| Vec::new());
    let refusing = Upstream::start(&one, "127.1.0.2:53", |query, _| vec![refusal(query, 5)]);
    let good = Upstream::start(&one, "127.1.0.3:53", |query, _| {
        vec![answer(query, [192, 0, 2, 1])]
    });
    let three = with_upstreams(1, &["127.1.0.9", "127.1.0.2", "127.1.0.3", "127.1.0.1"]);
    world.client.set_container(three).await.unwrap();
    let began = Instant::now();
    assert!(one.ask("example.com", A).is("192.0.2.1"));
    assert!(began.elapsed() < Duration::from_secs(3));
    let three = with_upstreams(1, &["127.1.0.1", "127.1.0.3"]);
    world.client.set_container(three).await.unwrap();
    let began = Instant::now();
    assert!(one.ask("example.com", A).is("192.0.2.1"));
    let took = began.elapsed();
    assert!((3.9..6.0).contains(&took.as_secs_f64()), "{took:?}");
    let asked = [&silent, &refusing, &good].map(Upstream::asked);
    assert_eq!(asked, [1, 1, 2]);
    // No such name is an answer.
    let no = Upstream::start(&one, "127.1.0.4:53", |query, _| vec![refusal(query, 3)]);
    let two = with_upstreams(1, &["127.1.0.4", "127.1.0.3"]);
    world.client.set_container(two).await.unwrap();
    assert_eq!(one.ask("example.com", A).code, 3);
    assert_eq!((no.asked(), good.asked()), (1, 2));
}

#[tokio::test]
async fn only_the_right_answer_of_the_right_server_counts() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let liar = one.udp("127.1.0.2:53");
    let _server = Upstream::start(&one, "127.1.0.1:53", move |query, peer| {
        // Another server, another id, another question, a question; then the truth.
        liar.send_to(&answer(query, [6, 6, 6, 1]), peer).unwrap();
        let mut other_id = answer(query, [6, 6, 6, 2]);
        other_id[1] ^= 1;
        let mut other_name = answer(query, [6, 6, 6, 3]);
        other_name[13] ^= 1;
        let mut other_kind = answer(query, [6, 6, 6, 4]);
        other_kind[query.len() - 3] ^= 1;
        let short = answer(query, [6, 6, 6, 5])[..11].to_vec();
        let good = answer(query, [192, 0, 2, 1]);
        vec![
            other_id,
            other_name,
            other_kind,
            query.to_vec(),
            short,
            Vec::new(),
            good,
        ]
    });
    let given = with_upstreams(1, &["127.1.0.1"]);
    world.client.set_container(given).await.unwrap();
    for _ in 0..50 {
        assert!(one.ask("example.com", A).is("192.0.2.1"));
    }
}

#[tokio::test]
async fn ids_and_ports_are_random() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let (sender, seen) = std::sync::mpsc::channel();
    let _server = Upstream::start(&one, "127.1.0.1:53", move |query, peer| {
        sender.send((query[..2].to_vec(), peer.port())).unwrap();
        vec![answer(query, [192, 0, 2, 1])]
    });
    let given = with_upstreams(1, &["127.1.0.1"]);
    world.client.set_container(given).await.unwrap();
    let mut ids = Vec::new();
    let mut ports = Vec::new();
    let socket = one.udp("127.0.0.1:0");
    let packet = query("example.com", A);
    for _ in 0..200 {
        // The client's id is always the same one.
        exchange(&socket, &packet);
        let (id, port) = seen.recv().unwrap();
        ids.push(id);
        ports.push(port);
    }
    for_distinct(&mut ids);
    for_distinct(&mut ports);
}

fn for_distinct<T: Ord + std::fmt::Debug>(values: &mut Vec<T>) {
    let count = values.len();
    let ascending = values.windows(2).filter(|pair| pair[0] < pair[1]).count();
    values.sort();
    values.dedup();
    assert!(values.len() > count * 9 / 10, "repeated: {values:?}");
    assert!(ascending < count * 3 / 4, "in order");
}

/// NW-02, CVE-2024-29018: not one packet of a container that may not leave.
#[tokio::test]
async fn nw_02_an_internal_network_asks_nobody() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let on_host = Upstream::start(&world.machine, "127.0.0.53:53", |query, _| {
        vec![answer(query, [6, 6, 6, 6])]
    });
    let inside = Upstream::start(&one, "127.1.0.1:53", |query, _| vec![answer(query, [6, 6, 6, 6])]);
    world.resolv_conf("nameserver 127.0.0.53\n");
    let mut internal = network();
    internal.internal = true;
    let forbidden = Container {
        forwards: false,
        ..container(&id(1))
    };
    for (network, container) in [
        (internal.clone(), container(&id(1))),
        (internal.clone(), with_upstreams(1, &["127.1.0.1"])),
        (network(), forbidden),
    ] {
        let networks = [Some(container.upstreams.clone()), None];
        for upstreams in networks {
            let mut container = container.clone();
            container.upstreams = upstreams.unwrap_or(None);
            world.client.set_network(network.clone()).await.unwrap();
            world.client.set_container(container).await.unwrap();
            for kind in [A, PTR, 16, 255] {
                assert_eq!(one.ask("secret.example.com", kind).code, 2);
                assert_eq!(one.ask_by_tcp("secret.example.com", kind).code, 2);
            }
            assert!(one.ask("web", A).is("10.0.0.2"));
        }
    }
    assert_eq!((on_host.asked(), inside.asked()), (0, 0));
    assert_eq!(world.client.state().await.unwrap().forwarded, 0);
}

#[tokio::test]
async fn it_never_asks_itself() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    world.resolv_conf("nameserver 127.0.0.11\nnameserver ::ffff:127.0.0.11\n");
    for upstreams in [None, Some(vec!["127.0.0.11".parse().unwrap()])] {
        let container = Container {
            upstreams,
            ..container(&id(1))
        };
        world.client.set_container(container).await.unwrap();
        assert_eq!(one.ask("example.com", A).code, 2);
    }
    assert_eq!(world.client.state().await.unwrap().forwarded, 0);
}

#[tokio::test]
async fn a_large_answer_goes_by_tcp() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let big = |query: &[u8]| {
        let mut packet = answer(query, [192, 0, 2, 1]);
        packet[6..8].copy_from_slice(&200u16.to_be_bytes());
        for number in 1..200u8 {
            packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 1, number]);
        }
        packet
    };
    let _by_udp = Upstream::start(&one, "127.1.0.1:53", move |query, _| {
        let mut cut = refusal(query, 0);
        cut[2] |= 2;
        vec![cut]
    });
    // One that sends more than was allowed.
    let _careless = Upstream::start(&one, "127.1.0.2:53", move |query, _| vec![big(query)]);
    let listener = one.inside(|| TcpListener::bind("127.1.0.1:53").unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let query = receive_framed(&mut stream);
            let reply = big(&query);
            // In pieces, as a network may have it.
            let mut framed = Vec::new();
            send_framed(&mut framed, &reply);
            for piece in framed.chunks(700) {
                std::io::Write::write_all(&mut stream, piece).unwrap();
            }
        }
    });
    let given = with_upstreams(1, &["127.1.0.1"]);
    world.client.set_container(given).await.unwrap();
    assert!(one.ask("example.com", A).is_cut);
    let whole = one.ask_by_tcp("example.com", A);
    assert_eq!((whole.code, whole.records.len()), (0, 200));
    let careless = with_upstreams(1, &["127.1.0.2"]);
    world.client.set_container(careless).await.unwrap();
    let cut = one.ask("example.com", A);
    assert!(cut.is_cut && cut.records.is_empty(), "{cut:?}");
}

/// One container with queries that nobody answers does not keep others from asking.
#[tokio::test]
async fn queries_under_way_are_shared_fairly() {
    let world = World::new().await;
    let silent = |query: &[u8], _: SocketAddr| {
        drop(query.to_vec());
        Vec::new()
    };
    let mut greedy = Vec::new();
    for number in 1..=3u8 {
        let host = world.known_container(number).await;
        Upstream::start(&host, "127.1.0.1:53", silent);
        let given = with_upstreams(number, &["127.1.0.1"]);
        world.client.set_container(given).await.unwrap();
        let socket = host.udp("127.0.0.1:0");
        greedy.push((host, socket));
    }
    for (_, socket) in &greedy {
        for batch in 0..40 {
            for _ in 0..16 {
                socket
                    .send_to(&query("slow.example.com", A), crate::world::RESOLVER)
                    .unwrap();
            }
            // Answered in order, so that no batch is lost for want of room in a socket.
            let marker = query("web", A);
            socket.send_to(&marker, crate::world::RESOLVER).unwrap();
            let mut packet = [0; 512];
            loop {
                socket
                    .recv_from(&mut packet)
                    .unwrap_or_else(|error| panic!("batch {batch}: {error}"));
                if packet[..2] == marker[..2] {
                    break;
                }
            }
        }
    }
    let state = world.client.state().await.unwrap();
    assert!((900..=1024).contains(&state.forwards), "{state:?}");
    let modest = world.known_container(9).await;
    let _good = Upstream::start(&modest, "127.1.0.1:53", |query, _| {
        vec![answer(query, [192, 0, 2, 1])]
    });
    let given = with_upstreams(9, &["127.1.0.1"]);
    world.client.set_container(given).await.unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        assert!(modest.ask("example.com", A).is("192.0.2.1"));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_changed_resolv_conf_is_followed() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    for (address, last) in [("127.0.0.53:53", 1), ("127.0.0.54:53", 2)] {
        Upstream::start(&world.machine, address, move |query, _| {
            vec![answer(query, [192, 0, 2, last])]
        });
    }
    let named = Container {
        upstreams: None,
        ..container(&id(1))
    };
    world.client.set_container(named).await.unwrap();
    assert_eq!(one.ask("example.com", A).code, 2);
    for (text, address) in [
        ("nameserver 127.0.0.53\n", "192.0.2.1"),
        ("nameserver 127.0.0.54\n", "192.0.2.2"),
    ] {
        world.resolv_conf(text);
        let began = Instant::now();
        while !one.ask("example.com", A).is(address) {
            assert!(began.elapsed() < Duration::from_secs(5), "not followed");
        }
    }
}
