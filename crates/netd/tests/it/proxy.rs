//! What is passed on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use netd_api::client::CallError;
use netd_api::message::{Holder, Protocol, Proxy, Reservation};

use crate::world::{Host, PATIENCE, World, id, wire};

/// A machine whose port 80 of IPv6 leads to a container that has only IPv4.
async fn published(protocol: Protocol) -> (World, Host) {
    let world = World::new().await;
    let container = Host::new();
    let addresses = [1, 2].map(|last| Ipv4Addr::new(10, 9, 0, last));
    wire((&world.machine, addresses[0]), (&container, addresses[1]));
    world.client.proxy(proxy(protocol)).await.unwrap();
    (world, container)
}

fn proxy(protocol: Protocol) -> Proxy {
    Proxy {
        container: id(1),
        listen: "[::]:80".parse().unwrap(),
        to: "10.9.0.2:8080".parse().unwrap(),
        protocol,
    }
}

fn connect(host: &Host) -> TcpStream {
    try_connect(host).unwrap()
}

fn try_connect(host: &Host) -> std::io::Result<TcpStream> {
    let address: SocketAddr = "[::1]:80".parse().unwrap();
    let stream = host.inside(|| TcpStream::connect_timeout(&address, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[tokio::test]
async fn bytes_travel_both_ways_and_ends_one_by_one() {
    let (world, container) = published(Protocol::Tcp).await;
    let listener = container.inside(|| TcpListener::bind("10.9.0.2:8080").unwrap());
    let mut client = connect(&world.machine);
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(10, 9, 0, 1));
    // What comes in at once and is taken slowly, in both directions at the same time.
    let size = 8 << 20;
    let bytes: Vec<u8> = (0..size)
        .map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    std::thread::scope(|scope| {
        for stream in [&client, &server] {
            let bytes = &bytes;
            let mut stream = stream.try_clone().unwrap();
            scope.spawn(move || stream.write_all(bytes).unwrap());
        }
        for stream in [&mut client, &mut server] {
            let mut received = vec![0; bytes.len()];
            // One after the other: the second waits with full buffers meanwhile.
            stream.read_exact(&mut received).unwrap();
            assert!(received == bytes);
        }
    });
    // The client ends, the container goes on.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    server.write_all(b"still here").unwrap();
    drop(server);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "still here");
    let begin = Instant::now();
    while world.client.state().await.unwrap().proxied > 0 {
        assert!(begin.elapsed() < PATIENCE, "a connection is left");
    }
}

#[tokio::test]
async fn a_container_that_does_not_listen_refuses() {
    let (world, container) = published(Protocol::Tcp).await;
    // The refusal may be there before the connection is looked at.
    let said = try_connect(&world.machine).and_then(|mut client| client.read(&mut [0; 1]));
    assert_eq!(said.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    // A server that breaks a connection breaks it for the client too.
    let listener = container.inside(|| TcpListener::bind("10.9.0.2:8080").unwrap());
    let mut client = connect(&world.machine);
    let (server, _) = listener.accept().unwrap();
    client.write_all(b"unread").unwrap();
    let begin = Instant::now();
    while server.peek(&mut [0; 8]).unwrap() < 6 {
        assert!(begin.elapsed() < PATIENCE, "nothing arrives");
    }
    drop(server);
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_proxy_ends_with_its_container() {
    let (world, container) = published(Protocol::Tcp).await;
    let listener = container.inside(|| TcpListener::bind("10.9.0.2:8080").unwrap());
    // Told again, it is the same one.
    world.client.proxy(proxy(Protocol::Tcp)).await.unwrap();
    let mut client = connect(&world.machine);
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let other = Proxy {
        container: id(2),
        ..proxy(Protocol::Tcp)
    };
    match world.client.proxy(other).await {
        Err(CallError::Held { held }) => assert_eq!(held.holder, Holder::Container { id: id(1) }),
        other => panic!("{other:?}"),
    }
    world.client.remove_container(&id(1)).await.unwrap();
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    // What is left of its connections is in nobody's way.
    drop(world.machine.inside(|| TcpListener::bind("[::]:80").unwrap()));
    world.client.proxy(proxy(Protocol::Tcp)).await.unwrap();
    world.client.release(&id(1)).await.unwrap();
    let state = world.client.state().await.unwrap();
    assert!(state.proxies.is_empty() && state.proxied == 0);
}

#[tokio::test]
async fn a_proxy_may_listen_on_what_is_reserved() {
    let world = World::new().await;
    let reservation = Reservation {
        address: "::".parse().unwrap(),
        protocol: Protocol::Tcp,
        first: 80,
        last: 80,
    };
    world.client.reserve(&id(1), vec![reservation]).await.unwrap();
    let address: SocketAddr = "[::1]:80".parse().unwrap();
    let refused = world
        .machine
        .inside(|| TcpStream::connect_timeout(&address, PATIENCE));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    world.client.proxy(proxy(Protocol::Tcp)).await.unwrap();
    // Somebody answers, though there is no container to connect to.
    let answer = try_connect(&world.machine).and_then(|mut client| client.read(&mut [0; 1]));
    assert_ne!(answer.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    world.client.release(&id(1)).await.unwrap();
    drop(world.machine.inside(|| TcpListener::bind("[::]:80").unwrap()));
}

#[tokio::test]
async fn packets_find_their_way_back_to_each_client() {
    let (world, container) = published(Protocol::Udp).await;
    let server = container.udp("10.9.0.2:8080");
    let clients: Vec<UdpSocket> = (0..20).map(|_| world.machine.udp("[::1]:0")).collect();
    for round in 0..3u8 {
        for (client, number) in clients.iter().zip(0u8..) {
            client.send_to(&[round, number], "[::1]:80").unwrap();
        }
        for _ in &clients {
            let mut packet = [0; 2];
            let (length, peer) = server.recv_from(&mut packet).unwrap();
            assert_eq!(length, 2);
            server.send_to(&[packet[1], packet[0], 7], peer).unwrap();
        }
        for (client, number) in clients.iter().zip(0u8..) {
            let mut packet = [0; 9];
            let (length, from) = client.recv_from(&mut packet).unwrap();
            assert_eq!(packet[..length], [number, round, 7]);
            assert_eq!(from.port(), 80);
        }
    }
    assert_eq!(world.client.state().await.unwrap().proxied, 20);
    world.client.release(&id(1)).await.unwrap();
    assert_eq!(world.client.state().await.unwrap().proxied, 0);
}

#[tokio::test]
async fn udp_clients_are_bounded() {
    let (world, container) = published(Protocol::Udp).await;
    let server = container.udp("10.9.0.2:8080");
    for number in 0..1100u16 {
        let client = world.machine.udp("[::1]:0");
        client.send_to(&number.to_be_bytes(), "[::1]:80").unwrap();
        let mut packet = [0; 2];
        server.recv_from(&mut packet).unwrap();
        assert_eq!(u16::from_be_bytes(packet), number);
    }
    assert_eq!(world.client.state().await.unwrap().proxied, 1024);
}
