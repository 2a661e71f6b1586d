//! What is answered from memory.

use std::time::Instant;

use netd_api::message::{Name, NameChange};

use crate::world::{
    A, AAAA, PTR, World, container, exchange, id, network, query, receive_framed, send_framed,
};

#[tokio::test]
async fn a_container_finds_its_neighbours() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    assert!(one.ask("web", A).is("10.0.0.2"));
    assert!(one.ask("web", AAAA).is("fd00::2"));
    assert!(one.ask_by_tcp("web.net", A).is("10.0.0.2"));
    let none = one.ask("db", AAAA);
    assert_eq!((none.code, none.records.len()), (0, 0));
    let reverse = one.ask("2.0.0.10.in-addr.arpa", PTR);
    assert_eq!(reverse.records, ["\u{3}web\u{3}net\0"]);
    let mut firsts: Vec<String> = (0..4).map(|_| one.ask("all", A).records[0].clone()).collect();
    firsts.dedup();
    assert_eq!(firsts.len(), 4, "they do not take turns: {firsts:?}");
    // The question comes back in the case that it was asked in.
    assert_eq!(one.ask("WeB", A).question, b"\x03WeB\0\0\x01\0\x01");
}

#[tokio::test]
async fn each_container_has_its_own_view() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let mut other = container(&id(2));
    other.networks = vec!["elsewhere".to_owned()];
    other.names = vec![Name {
        name: "link".to_owned(),
        addresses: vec!["10.7.0.1".parse().unwrap()],
        reverse: false,
    }];
    world.client.set_container(other).await.unwrap();
    let two = world.container(&id(2));
    assert_eq!(two.ask("web", A).code, 2);
    assert!(two.ask("link", A).is("10.7.0.1"));
    assert_eq!(one.ask("link", A).code, 2);
}

#[tokio::test]
async fn changes_count_at_once() {
    let world = World::new().await;
    // Sockets first, knowledge later.
    let one = world.container(&id(1));
    assert_eq!(one.ask("web", A).code, 2);
    world.client.set_network(network()).await.unwrap();
    world.client.set_container(container(&id(1))).await.unwrap();
    assert!(one.ask("web", A).is("10.0.0.2"));
    let change = NameChange {
        network: "n1".to_owned(),
        name: "new".to_owned(),
        address: "10.0.0.9".parse().unwrap(),
        reverse: true,
    };
    world.client.add_name(change.clone()).await.unwrap();
    assert!(one.ask("new", A).is("10.0.0.9"));
    world.client.remove_name(change.clone()).await.unwrap();
    assert_eq!(one.ask("new", A).code, 2);
    world.client.remove_network("n1").await.unwrap();
    assert_eq!(one.ask("web", A).code, 2);
    let error = world.client.add_name(change).await.unwrap_err();
    assert_eq!(error.to_string(), "netd refused: no such network: \"n1\"");
}

#[tokio::test]
async fn a_tcp_client_may_send_many_queries_at_once() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let mut stream = one
        .inside(|| std::net::TcpStream::connect_timeout(&crate::world::RESOLVER, crate::world::PATIENCE))
        .unwrap();
    stream.set_read_timeout(Some(crate::world::PATIENCE)).unwrap();
    let queries: Vec<Vec<u8>> = (0..2000).map(|_| query("web", A)).collect();
    let writer = stream.try_clone().unwrap();
    let sent = queries.clone();
    let thread = std::thread::spawn(move || {
        let mut writer = writer;
        for query in &sent {
            send_framed(&mut writer, query);
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    for query in &queries {
        let answer = receive_framed(&mut stream);
        assert_eq!(answer[..2], query[..2]);
    }
    thread.join().unwrap();
    // It closes when the client has ended and has its answers.
    assert_eq!(std::io::Read::read(&mut stream, &mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn many_containers_cost_little_memory() {
    let world = World::new().await;
    world.client.set_network(network()).await.unwrap();
    let mut hosts = Vec::new();
    for number in 0..100u8 {
        for (name, reverse) in [
            (format!("container-{number}"), true),
            (format!("{number:012x}"), false),
        ] {
            let change = NameChange {
                network: "n1".to_owned(),
                name,
                address: format!("10.0.1.{number}").parse().unwrap(),
                reverse,
            };
            world.client.add_name(change).await.unwrap();
        }
        world.client.set_container(container(&id(number))).await.unwrap();
        hosts.push(world.container(&id(number)));
    }
    let began = Instant::now();
    for host in &hosts {
        assert!(host.ask("container-99", A).is("10.0.1.99"));
    }
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", world.client.pid())).unwrap();
    let private: u64 = smaps
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    println!("{private} KiB private, 100 answers in {:?}", began.elapsed());
    // Private_Clean is the program's text, which other processes of the same file would share.
    let dirty: u64 = smaps
        .lines()
        .filter(|line| line.starts_with("Private_Dirty"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(dirty <= 2048, "{dirty} KiB\n{smaps}");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_by_tcp() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let mut many = network();
    many.names = vec![Name {
        name: "many".to_owned(),
        addresses: (1..=100u8).map(|last| [10, 5, 0, last].into()).collect(),
        reverse: false,
    }];
    world.client.set_network(many).await.unwrap();
    let cut = one.ask("many", A);
    assert!(cut.is_cut && cut.records.len() == 30, "{cut:?}");
    assert_eq!(one.ask_by_tcp("many", A).records.len(), 100);
    let mut large = query("many", A);
    large[11] = 1;
    large.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    let answer = exchange(&one.udp("127.0.0.1:0"), &large);
    assert_eq!(answer.len(), 12 + 10 + 100 * 16 + 11);
}
