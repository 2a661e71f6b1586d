//! Networks in a network namespace of the test's own, with containers that only take their places.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::error::{Kind, Kinded};
use netlink::Socket;
use netlink::route::Target;
use sys::clone::CloneFlags;
use sys::netlink::Family;

use super::*;
use crate::config::{EndpointRequest, PortRequest};
use crate::container::{Container, CreateRequest as NewContainer};
use crate::tests::Sandbox;
use crate::{Engine, NetworkConfig};

/// Runs a test in a network namespace of its own, in which every thread of the runtime is.
fn in_own_network<F: Future<Output = ()>>(test: F) {
    sys::namespace::unshare(CloneFlags::NEWNET).unwrap();
    sys::net::loopback_up().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

async fn open(sandbox: &Sandbox) -> Arc<Engine> {
    sandbox.open_with(NetworkConfig::default()).await
}

async fn make(engine: &Arc<Engine>, name: &str, subnet: &str) -> String {
    let request = CreateRequest {
        name: name.to_owned(),
        ipam: vec![IpamRequest {
            subnet: subnet.to_owned(),
            ..IpamRequest::default()
        }],
        ..CreateRequest::default()
    };
    create(engine, request).await.unwrap().id.to_string()
}

async fn container(
    engine: &Arc<Engine>,
    sandbox: &Sandbox,
    name: &str,
    change: impl FnOnce(&mut NewContainer),
) -> Arc<Container> {
    let mut request = sandbox.request(name);
    change(&mut request);
    let created = crate::container::create(engine, request).await.unwrap();
    engine.registry.get(created.id.as_str()).unwrap()
}

fn on(network: &str) -> impl FnOnce(&mut NewContainer) {
    move |request| request.host.network_mode = network.to_owned()
}

fn links() -> Vec<String> {
    let mut socket = Socket::open(Family::Route).unwrap();
    socket
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect()
}

fn address(container: &Container, at: usize) -> String {
    container.view().endpoints[at].ipv4.unwrap().addr().to_string()
}

#[test]
fn a_network_is_made_shown_and_removed() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-life");
        let engine = open(&sandbox).await;
        let id = make(&engine, "one", "10.91.0.0/24").await;
        let bridge = format!("br-{}", &id[..12]);
        let mut socket = Socket::open(Family::Route).unwrap();
        assert!(socket.link(Target::Name(&bridge)).unwrap().up);

        let again = create(
            &engine,
            CreateRequest {
                name: "one".to_owned(),
                ..CreateRequest::default()
            },
        )
        .await;
        assert_eq!(
            again.unwrap_err().to_string(),
            "network with name one already exists"
        );
        let overlap = CreateRequest {
            name: "two".to_owned(),
            ipam: vec![IpamRequest {
                subnet: "10.91.0.128/25".to_owned(),
                ..IpamRequest::default()
            }],
            ..CreateRequest::default()
        };
        let error = create(&engine, overlap).await.unwrap_err();
        assert!(error.to_string().contains("Pool overlaps"), "{error}");

        for name in ["one", id.as_str(), &id[..5]] {
            let found = inspect(&engine, name).unwrap();
            assert_eq!(found.id, id);
            assert_eq!(found.subnets[0].gateway, IpAddr::from([10, 91, 0, 1]));
        }
        let names = |filters: &[(&str, &str)]| {
            let filters: BTreeMap<String, Vec<String>> = filters
                .iter()
                .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
                .collect();
            let mut names: Vec<String> = list(&engine, &filters)
                .unwrap()
                .into_iter()
                .map(|one| one.name)
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&[]), ["bridge", "host", "none", "one"]);
        assert_eq!(names(&[("type", "custom")]), ["one"]);
        assert_eq!(names(&[("driver", "null")]), ["none"]);
        assert_eq!(names(&[("dangling", "true")]), ["one"]);

        for name in ["bridge", "host", "none"] {
            assert_eq!(remove(&engine, name).await.unwrap_err().kind(), Kind::Denied);
        }
        remove(&engine, "one").await.unwrap();
        assert_eq!(
            remove(&engine, "one").await.unwrap_err().to_string(),
            "network one not found"
        );
        assert_eq!(links(), ["lo"]);
    });
}

#[test]
fn subnets_avoid_what_the_machine_has_routes_to() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-pools");
        let engine = open(&sandbox).await;
        assert_eq!(
            inspect(&engine, "bridge").unwrap().subnets[0].subnet.to_string(),
            "172.17.0.0/16"
        );
        // N13: a route of the machine to the next pool.
        let mut socket = Socket::open(Family::Route).unwrap();
        let lo = socket.link(Target::Name("lo")).unwrap().index;
        socket
            .request(&[netlink::route::add_route(&netlink::route::Route {
                destination: IpAddr::from([172, 18, 0, 0]),
                prefix: 16,
                gateway: None,
                link: Some(lo),
                source: None,
                metric: None,
                on_link: false,
            })])
            .unwrap();
        let request = CreateRequest {
            name: "x".to_owned(),
            ..CreateRequest::default()
        };
        create(&engine, request).await.unwrap();
        assert_eq!(
            inspect(&engine, "x").unwrap().subnets[0].subnet.to_string(),
            "172.19.0.0/16"
        );
    });
}

#[test]
fn containers_take_addresses_and_ports_and_give_them_back() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-join");
        let engine = open(&sandbox).await;
        make(&engine, "net", "10.92.0.0/24").await;
        let web = PortRequest {
            port: 80,
            host_ports: Some((8080, 8080)),
            ..PortRequest::default()
        };
        let one = container(&engine, &sandbox, "one", |request| {
            on("net")(request);
            request.host.ports = vec![web];
        })
        .await;
        let two = container(&engine, &sandbox, "two", |request| {
            on("net")(request);
            request.host.ports = vec![web];
        })
        .await;
        allocate(&engine, &one).unwrap();
        attach(&engine, &one).unwrap();
        assert_eq!(address(&one, 0), "10.92.0.2");
        assert_eq!(one.view().endpoints[0].mac, "02:42:0a:5c:00:02");
        assert_eq!(one.view().publications[0].host_port, 8080);
        let error = allocate(&engine, &two).unwrap_err().to_string();
        assert!(
            error.contains("Bind for 0.0.0.0:8080 failed: port is already allocated to container one"),
            "{error}"
        );
        assert!(two.view().endpoints.is_empty(), "a failed start has a place");

        leave(&engine, &one);
        leave(&engine, &one);
        allocate(&engine, &two).unwrap();
        attach(&engine, &two).unwrap();
        assert_eq!(
            address(&two, 0),
            "10.92.0.3",
            "an address was given to another at once"
        );
        assert_eq!(remove(&engine, "net").await.unwrap_err().kind(), Kind::Denied);
        leave(&engine, &two);
        allocate(&engine, &two).unwrap();
        assert_eq!(address(&two, 0), "10.92.0.3", "a restart has another address");
        leave(&engine, &two);
        engine.close().await;
        remove(&engine, "net").await.unwrap();
    });
}

#[test]
fn addresses_of_ones_own_choice() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-static");
        let engine = open(&sandbox).await;
        make(&engine, "net", "10.93.0.0/24").await;
        let with = |name: &'static str, network: &'static str, ip: [u8; 4]| {
            let (engine, sandbox) = (&engine, &sandbox);
            async move {
                container(engine, sandbox, name, |request| {
                    on(network)(request);
                    let asked = EndpointRequest {
                        ipv4: Some(ip.into()),
                        ..EndpointRequest::default()
                    };
                    request.host.endpoints.insert(network.to_owned(), asked);
                })
                .await
            }
        };
        let one = with("one", "net", [10, 93, 0, 77]).await;
        allocate(&engine, &one).unwrap();
        assert_eq!(address(&one, 0), "10.93.0.77");
        let two = with("two", "net", [10, 93, 0, 77]).await;
        assert_eq!(
            allocate(&engine, &two).unwrap_err().to_string(),
            "Address already in use"
        );
        leave(&engine, &one);
        // A restart gets its own address back at once.
        allocate(&engine, &one).unwrap();
        let outside = with("three", "net", [10, 94, 0, 1]).await;
        assert_eq!(allocate(&engine, &outside).unwrap_err().kind(), Kind::Invalid);
        let default = with("four", "bridge", [172, 17, 0, 9]).await;
        let error = allocate(&engine, &default).unwrap_err().to_string();
        assert_eq!(
            error,
            "user specified IP address is supported on user defined networks only"
        );
    });
}

#[test]
fn several_networks_and_which_is_the_way_out() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-several");
        let engine = open(&sandbox).await;
        for (name, subnet) in [
            ("b-net", "10.95.1.0/24"),
            ("a-net", "10.95.2.0/24"),
            ("c-net", "10.95.3.0/24"),
        ] {
            make(&engine, name, subnet).await;
        }
        let one = container(&engine, &sandbox, "one", |request| {
            on("b-net")(request);
            request
                .host
                .endpoints
                .insert("a-net".to_owned(), EndpointRequest::default());
            let first = EndpointRequest {
                gw_priority: 1,
                ..EndpointRequest::default()
            };
            request.host.endpoints.insert("c-net".to_owned(), first);
        })
        .await;
        allocate(&engine, &one).unwrap();
        let view = one.view();
        let places: Vec<(&str, &str, bool)> = view
            .endpoints
            .iter()
            .map(|endpoint| {
                (
                    endpoint.interface.as_str(),
                    endpoint.network_name.as_str(),
                    endpoint.is_default,
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                ("eth0", "b-net", false),
                ("eth1", "a-net", false),
                ("eth2", "c-net", true)
            ]
        );
        let plan = super::sandbox(&engine, &one).unwrap();
        let gateways: Vec<usize> = plan
            .endpoints
            .iter()
            .map(|endpoint| endpoint.gateways.len())
            .collect();
        assert_eq!(gateways, [0, 0, 1]);
    });
}

#[test]
fn the_next_daemon_knows_the_networks_and_leaves_nothing_in_the_packet_filter() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-again");
        let engine = open(&sandbox).await;
        let id = make(&engine, "kept", "10.96.0.0/24").await;
        let one = container(&engine, &sandbox, "one", on("kept")).await;
        allocate(&engine, &one).unwrap();
        attach(&engine, &one).unwrap();
        assert!(tables().contains("table inet berth"));
        engine.close().await;
        drop(one);
        drop(engine);
        let engine = open(&sandbox).await;
        assert_eq!(inspect(&engine, "kept").unwrap().id, id);
        // The container did not run, by its record: what a crash left of its start is gone.
        assert!(!tables().contains("table inet berth"), "{}", tables());
    });
}

#[test]
fn a_flushed_packet_filter_is_made_again() {
    in_own_network(async {
        let sandbox = Sandbox::new("network-flush");
        let engine = open(&sandbox).await;
        make(&engine, "net", "10.97.0.0/24").await;
        let one = container(&engine, &sandbox, "one", on("net")).await;
        allocate(&engine, &one).unwrap();
        attach(&engine, &one).unwrap();
        let flush = std::process::Command::new("nft")
            .args(["flush", "ruleset"])
            .status()
            .unwrap();
        assert!(flush.success());
        // Nobody has to ask for it.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let view = one.view();
        let port = view.endpoints[0].port().unwrap();
        while !tables().contains(port) {
            assert!(std::time::Instant::now() < deadline, "{}", tables());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert!(tables().contains("this machine is no router"), "{}", tables());
        let two = container(&engine, &sandbox, "two", on("net")).await;
        allocate(&engine, &two).unwrap();
        attach(&engine, &two).unwrap();
        for port in [&one, &two] {
            let view = port.view();
            let port = view.endpoints[0].port().unwrap();
            assert!(tables().contains(port), "{}", tables());
        }
    });
}

/// Ten thousand ports are more than a watcher hears of at once; what it lost was its own daemon's.
#[test]
fn changes_of_ones_own_are_told_from_those_of_others() {
    in_own_network(async {
        let mut kernel = kernel::Kernel::new("berth", true);
        let mut table = table::Table::default();
        assert!(kernel.is_others_too(), "nobody has looked");
        assert!(!kernel.is_others_too());
        for _ in 0..3 {
            kernel.replace(&mut table).unwrap();
        }
        assert!(!kernel.is_others_too());
        let nft = |words: &[&str]| {
            let status = std::process::Command::new("nft").args(words).status().unwrap();
            assert!(status.success(), "{words:?}");
        };
        nft(&["add", "table", "inet", "theirs"]);
        assert!(kernel.is_others_too());
        kernel.replace(&mut table).unwrap();
        nft(&["delete", "table", "inet", "theirs"]);
        assert!(kernel.is_others_too());
        kernel.clear().unwrap();
        assert!(!kernel.is_others_too());
    });
}

fn tables() -> String {
    let output = std::process::Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
