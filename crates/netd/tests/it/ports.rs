//! Reserved host ports.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use netd_api::client::CallError;
use netd_api::message::{Everything, Held, Holder, Protocol, Request, Reservation, Reserved};

use crate::world::{World, container, id, network};

fn reservation(address: &str, protocol: Protocol, first: u16, last: u16) -> Reservation {
    Reservation {
        address: address.parse().unwrap(),
        protocol,
        first,
        last,
    }
}

async fn held(world: &World, number: u8, wanted: &[Reservation]) -> Held {
    match world.client.reserve(&id(number), wanted.to_vec()).await {
        Err(CallError::Held { held }) => *held,
        other => panic!("{other:?}"),
    }
}

fn can_bind(world: &World, protocol: Protocol, address: &str) -> bool {
    world.machine.inside(|| match protocol {
        // std sets SO_REUSEADDR, as most servers do.
        Protocol::Tcp => TcpListener::bind(address).is_ok(),
        _ => UdpSocket::bind(address).is_ok(),
    })
}

#[tokio::test]
async fn a_reserved_port_is_nobody_else_s() {
    let world = World::new().await;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let wanted = reservation("0.0.0.0", protocol, 8080, 8082);
        world.client.reserve(&id(1), vec![wanted]).await.unwrap();
        world.client.reserve(&id(1), vec![wanted]).await.unwrap();
        for address in ["0.0.0.0:8080", "127.0.0.1:8082", "[::]:8081"] {
            // The last is both families' in std, and so in the way of IPv4.
            assert!(!can_bind(&world, protocol, address), "{protocol} {address}");
        }
        assert!(can_bind(&world, protocol, "[::1]:8080"));
        assert!(can_bind(&world, protocol, "0.0.0.0:8083"));
    }
    let container = held(&world, 2, &[reservation("127.0.0.1", Protocol::Tcp, 8081, 8090)]).await;
    assert_eq!(container.holder, Holder::Container { id: id(1) });
    assert_eq!(container.port, 8081);
    let text = format!("127.0.0.1:8081/tcp is held by container {}", &id(1)[..12]);
    assert_eq!(container.to_string(), text);
    world.client.release(&id(1)).await.unwrap();
    world.client.release(&id(1)).await.unwrap();
    assert!(can_bind(&world, Protocol::Tcp, "0.0.0.0:8080"));
    assert!(can_bind(&world, Protocol::Udp, "0.0.0.0:8080"));
    assert!(world.client.state().await.unwrap().reservations.is_empty());
}

#[tokio::test]
async fn a_holder_is_named() {
    let world = World::new().await;
    let own = i32::try_from(std::process::id()).unwrap();
    let listener = world
        .machine
        .inside(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    let both = world.machine.inside(|| TcpListener::bind("[::]:7001").unwrap());
    let udp = world.machine.udp("0.0.0.0:7002");
    for (port, protocol) in [
        (7000, Protocol::Tcp),
        (7001, Protocol::Tcp),
        (7002, Protocol::Udp),
    ] {
        // The others of the request are given back.
        let free = reservation("0.0.0.0", Protocol::Tcp, 7010, 7010);
        let found = held(&world, 1, &[free, reservation("0.0.0.0", protocol, port, port)]).await;
        assert_eq!(
            (found.port, found.protocol, &found.container),
            (port, protocol, &id(1))
        );
        assert!(
            matches!(found.holder, Holder::Process { pid, .. } if pid == own),
            "{found:?}"
        );
        assert!(can_bind(&world, Protocol::Tcp, "0.0.0.0:7010"));
    }
    drop((listener, both, udp));
    // An address that this host does not have.
    let found = held(&world, 1, &[reservation("192.0.2.1", Protocol::Tcp, 7000, 7000)]).await;
    assert!(
        matches!(&found.holder, Holder::Refused { reason } if reason.contains("assign")),
        "{found:?}"
    );
    let found = held(&world, 1, &[reservation("0.0.0.0", Protocol::Tcp, 0, 0)]).await;
    assert!(matches!(found.holder, Holder::Refused { .. }));
    let found = held(&world, 1, &[reservation("0.0.0.0", Protocol::Tcp, 9, 8)]).await;
    assert!(matches!(found.holder, Holder::Refused { .. }));
}

#[tokio::test]
async fn steps_end_at_the_first_that_fails() {
    let world = World::new().await;
    let reserve = |number: u8| Request::Reserve {
        container: id(number),
        reservations: vec![reservation("0.0.0.0", Protocol::Tcp, 8080, 8080)],
    };
    let set = |number: u8| Request::SetContainer(container(&id(number)));
    world.client.steps(Vec::new()).await.unwrap();
    let steps = vec![Request::SetNetwork(network()), set(1), reserve(1)];
    world.client.steps(steps).await.unwrap();
    match world.client.steps(vec![set(2), reserve(2), set(3)]).await {
        Err(CallError::Held { held }) => assert_eq!(held.holder, Holder::Container { id: id(1) }),
        other => panic!("{other:?}"),
    }
    let state = world.client.state().await.unwrap();
    assert_eq!(state.containers, [id(1), id(2)]);
    assert_eq!(state.reservations.len(), 1);
    let nested = world.client.steps(vec![Request::Steps(vec![set(3)])]).await;
    assert_eq!(
        nested.unwrap_err().to_string(),
        "netd refused: steps within steps"
    );
}

#[tokio::test]
async fn connections_that_have_ended_hold_nothing() {
    let world = World::new().await;
    world.machine.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:7000").unwrap();
        let mut client = TcpStream::connect("127.0.0.1:7000").unwrap();
        let (server, _) = listener.accept().unwrap();
        // Who closes first remembers the connection for a minute.
        drop(server);
        std::io::Read::read(&mut client, &mut [0; 1]).unwrap();
    });
    let remembered = world
        .machine
        .inside(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    assert!(remembered.contains(":1B58 "), "{remembered}");
    let wanted = reservation("0.0.0.0", Protocol::Tcp, 7000, 7000);
    world.client.reserve(&id(1), vec![wanted]).await.unwrap();
}

#[tokio::test]
async fn ten_thousand_ports_cost_what_one_does() {
    let world = World::new().await;
    let pid = world.client.pid();
    let memory = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("Private_Dirty"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let wanted = reservation("0.0.0.0", Protocol::Tcp, 20_000, 29_999);
    world
        .client
        .reserve(&id(9), vec![reservation("0.0.0.0", Protocol::Tcp, 9, 9)])
        .await
        .unwrap();
    let before = memory();
    let begin = Instant::now();
    world.client.reserve(&id(1), vec![wanted]).await.unwrap();
    let took = begin.elapsed();
    let grown = memory().saturating_sub(before);
    println!("{took:?}, {grown} KiB");
    assert!(
        took <= Duration::from_millis(100) && grown <= 1024,
        "{took:?}, {grown} KiB"
    );
    let inside = held(
        &world,
        2,
        &[reservation("10.0.0.1", Protocol::Tcp, 25_000, 25_000)],
    )
    .await;
    assert_eq!(inside.holder, Holder::Container { id: id(1) });
    world.client.release(&id(1)).await.unwrap();
    let _listener = world
        .machine
        .inside(|| TcpListener::bind("127.0.0.1:25000").unwrap());
    let found = held(&world, 1, &[wanted]).await;
    assert!(
        matches!(found.holder, Holder::Process { .. }) && found.port == 25_000,
        "{found:?}"
    );
    // On another address it is not in the way.
    let elsewhere = reservation("127.0.0.2", Protocol::Tcp, 20_000, 29_999);
    world.client.reserve(&id(1), vec![elsewhere]).await.unwrap();
}

#[tokio::test]
async fn a_new_daemon_s_reservations_replace_the_old_one_s() {
    let world = World::new().await;
    let [one, two] = [7000, 7001].map(|port| reservation("0.0.0.0", Protocol::Tcp, port, port));
    world.client.reserve(&id(1), vec![one, two]).await.unwrap();
    let _listener = world
        .machine
        .inside(|| TcpListener::bind("127.0.0.1:7002").unwrap());
    let lost = reservation("0.0.0.0", Protocol::Tcp, 7002, 7002);
    let sctp = reservation("0.0.0.0", Protocol::Sctp, 7000, 7000);
    let reserved = |number: u8, reservations: &[Reservation]| Reserved {
        container: id(number),
        reservations: reservations.to_vec(),
    };
    let everything = Everything {
        reservations: vec![reserved(1, &[one]), reserved(2, &[lost, sctp])],
        ..Everything::default()
    };
    for _ in 0..2 {
        let refused = world.client.replace(everything.clone()).await.unwrap();
        assert_eq!(refused.len(), 1);
        assert_eq!(
            (refused[0].port, refused[0].address),
            (7002, IpAddr::from([0, 0, 0, 0]))
        );
        assert!(!can_bind(&world, Protocol::Tcp, "0.0.0.0:7000"));
        assert!(can_bind(&world, Protocol::Tcp, "0.0.0.0:7001"));
        let state = world.client.state().await.unwrap();
        assert_eq!(state.reservations, [reserved(1, &[one]), reserved(2, &[sctp])]);
    }
}
