//! Networks: what a container is plugged into before its program runs. The host is a network namespace of the test's own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use netlink::Socket;
use netlink::route::{Link, MacAddress, Target};
use network::bridge;
use oci::endpoint::{Attach, Settings};
use oci_spec::runtime::{Capability, LinuxCapabilitiesBuilder, LinuxNamespaceType};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shim_api::client::ShimConnection;
use shim_api::message::Event;
use shim_api::task::{KeptNamespaces, RestartPolicy, Sandbox, Task};
use sys::clone::CloneFlags;
use sys::netlink::Family;

use crate::host::{self, Host};

const BRIDGE: &str = "br-test";
const PORT: &str = "bv0123456789a";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 1);

/// Moves the test's thread, and with it the zygote that it starts, into a new network with a bridge.
async fn networked_host() -> Host {
    sys::namespace::unshare(CloneFlags::NEWNET).unwrap();
    sys::net::loopback_up().unwrap();
    let settings = bridge::Settings {
        name: BRIDGE.to_owned(),
        gateways: vec![(GATEWAY.into(), 24), ("fd70::1".parse().unwrap(), 64)],
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: None,
    };
    bridge::create(&mut routes(), &settings).unwrap();
    Host::new().await
}

fn routes() -> Socket {
    Socket::open(Family::Route).unwrap()
}

fn endpoint() -> Settings {
    Settings {
        attach: Attach::Bridge {
            bridge: BRIDGE.to_owned(),
            port: PORT.to_owned(),
            talking: true,
        },
        interface: "eth0".to_owned(),
        mac: Some([2, 0x42, 10, 70, 0, 2]),
        mtu: Some(1400),
        addresses: vec![(Ipv4Addr::new(10, 70, 0, 2).into(), 24)],
        gateways: vec![GATEWAY.into()],
        routes: Vec::new(),
        sysctls: Default::default(),
        rates: Default::default(),
    }
}

fn plugged(host: &Host, script: &str) -> Box<Task> {
    let mut task = host.task(script);
    let allowed: oci_spec::runtime::Capabilities = [Capability::NetAdmin, Capability::NetRaw].into();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(allowed.clone())
        .effective(allowed.clone())
        .permitted(allowed)
        .inheritable([])
        .ambient([])
        .build()
        .unwrap();
    let process = task.spec.process_mut().as_mut().unwrap();
    process.set_capabilities(Some(capabilities));
    task.network = Some(Sandbox {
        endpoints: vec![endpoint()],
        resolver: None,
        notes: String::new(),
    });
    task
}

fn ports() -> Vec<Link> {
    let mut links = routes().links().unwrap();
    links.retain(|link| link.kind.as_deref() == Some("veth"));
    links
}

async fn run(host: &Host, task: Box<Task>) -> String {
    let (_shim, mut events, _) = host::start(host, task, Vec::new()).await;
    let record = host::exited(&mut events).await;
    let logged = host.logged();
    assert_eq!(record.code, 0, "{logged}");
    logged
}

#[tokio::test]
async fn a_program_finds_its_network_in_place() {
    let host = networked_host().await;
    let mut task = plugged(
        &host,
        "busybox ip -o addr; busybox ip route; busybox ip link show eth0; \
         busybox ping -c1 -W5 10.70.0.1 >/dev/null && echo reached; \
         cat /proc/sys/net/ipv4/conf/eth0/forwarding /proc/sys/net/ipv4/conf/eth0/log_martians \
         /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
    );
    host::own_user_namespace(&host, &mut task);
    let endpoint = &mut task.network.as_mut().unwrap().endpoints[0];
    let forwarding = "net.ipv4.conf.IFNAME.forwarding".to_owned();
    endpoint.sysctls.insert(forwarding, "0".to_owned());
    // The document's parameters are set when the interface is there.
    let linux = task.spec.linux_mut().as_mut().unwrap();
    let of_document = [("net.ipv4.conf.eth0.log_martians".to_owned(), "1".to_owned())];
    linux.set_sysctl(Some(of_document.into()));
    let logged = run(&host, task).await;
    for expected in [
        "inet 10.70.0.2/24 brd 10.70.0.255",
        "default via 10.70.0.1 dev eth0",
        "mtu 1400",
        "02:42:0a:46:00:02",
        "reached\n0\n1\n1\n",
    ] {
        assert!(logged.contains(expected), "no {expected:?} in {logged}");
    }
    // No address of IPv6 but the loopback's.
    assert_eq!(
        logged.matches("inet6").count(),
        logged.matches("inet6 ::1").count(),
        "{logged}"
    );
}

#[tokio::test]
async fn addresses_of_both_families_and_a_gateway_outside_of_the_subnet() {
    let host = networked_host().await;
    let mut task = plugged(
        &host,
        "busybox ip -o addr; busybox ip route; busybox ip -6 route; cat /proc/sys/net/ipv6/conf/eth0/accept_ra; \
         busybox ping -6 -c1 -W5 fd70::1 >/dev/null && echo six; \
         busybox ping -c1 -W5 10.70.0.1 >/dev/null && echo four",
    );
    let endpoint = &mut task.network.as_mut().unwrap().endpoints[0];
    endpoint.addresses = vec![
        (Ipv4Addr::new(10, 70, 0, 2).into(), 32),
        ("fd70::2".parse().unwrap(), 64),
    ];
    endpoint.gateways.push("fd70::1".parse().unwrap());
    let logged = run(&host, task).await;
    for expected in [
        "default via 10.70.0.1 dev eth0 onlink",
        "default via fd70::1 dev eth0",
        "0\nsix\nfour\n",
    ] {
        assert!(logged.contains(expected), "no {expected:?} in {logged}");
    }
}

#[tokio::test]
async fn a_restart_without_a_daemon_has_the_same_address() {
    let mut host = networked_host().await;
    let mut task = plugged(
        &host,
        "busybox ip -o -4 addr show eth0; busybox ping -c1 -W5 10.70.0.1 >/dev/null && echo reached; exit 3",
    );
    task.restart = RestartPolicy::Always;
    let (shim, events, _) = host::start(&host, task, Vec::new()).await;
    drop((shim, events));
    host.stop_zygote();
    host::until("three runs", || host.logged().matches("reached").count() >= 3).await;
    let shim = ShimConnection::connect(&host.socket()).await.unwrap();
    let mut events = shim.subscribe().await.unwrap();
    shim.stop_restarting().await.unwrap();
    host::exited(&mut events).await;
    let logged = host.logged();
    assert_eq!(
        logged.matches("10.70.0.2/24").count(),
        logged.matches("reached").count()
    );
    shim.release().await.unwrap();
    host::until("the cable has gone", || ports().is_empty()).await;
}

#[tokio::test]
async fn a_cable_that_is_still_there_from_the_run_before_is_replaced() {
    let host = networked_host().await;
    let script = "busybox ping -c1 -W5 10.70.0.1 >/dev/null && echo reached; sleep 1000";
    let mut task = plugged(&host, script);
    task.restart = RestartPolicy::OnFailure { maximum: 1 };
    let (_shim, mut events, started) = host::start(&host, task, Vec::new()).await;
    // Holds the namespace as a name server does that has sockets in it.
    let held = OwnedFd::from(File::open(format!("/proc/{}/ns/net", started.pid)).unwrap());
    let first = ports()[0].index;
    host::until("the first run", || host.logged() == "reached\n").await;
    host::kill(started.pid);
    while !matches!(host::next(&mut events).await, Some(Event::Restarting { .. })) {}
    assert_eq!(ports()[0].index, first);
    let second = loop {
        if let Some(Event::Running { pid, .. }) = host::next(&mut events).await {
            break pid;
        }
    };
    assert_eq!(ports().len(), 1);
    assert_ne!(ports()[0].index, first);
    host::until("the second run", || host.logged() == "reached\nreached\n").await;
    host::kill(second);
    assert_eq!(host::exited(&mut events).await.code, 137);
    drop(held);
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_cable() {
    let host = networked_host().await;
    // The second endpoint fails, then the program.
    let mut task = plugged(&host, "true");
    let mut second = endpoint();
    second.interface = "eth1".to_owned();
    second.attach = Attach::Bridge {
        bridge: "br-none".to_owned(),
        port: "bvother".to_owned(),
        talking: true,
    };
    task.network.as_mut().unwrap().endpoints.push(second);
    host.write_document(&task);
    let error = host
        .new_shim()
        .await
        .start(task, Vec::new(), None, 0)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("find bridge \"br-none\""), "{error}");
    assert!(ports().is_empty());

    let mut task = plugged(&host, "true");
    let process = task.spec.process_mut().as_mut().unwrap();
    process.set_args(Some(vec!["/bin/no-such-program".to_owned()]));
    let error = host.new_shim().await.start(task, Vec::new(), None, 0).await;
    assert!(error.unwrap_err().to_string().contains("no-such-program"));
    assert!(ports().is_empty());

    let mut task = plugged(&host, "true");
    let sysctls = &mut task.network.as_mut().unwrap().endpoints[0].sysctls;
    sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    let error = host.new_shim().await.start(task, Vec::new(), None, 0).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is not a parameter of an interface"), "{error}");
    assert!(ports().is_empty());
}

#[tokio::test]
async fn a_kept_namespace_keeps_its_cable() {
    let host = networked_host().await;
    let task = |script: &str| {
        let mut task = plugged(&host, script);
        task.keep = Some(KeptNamespaces {
            directory: host.directory.join("kept"),
            kinds: vec![LinuxNamespaceType::Network],
        });
        task
    };
    let show = "busybox ip -o -4 addr show eth0; busybox ping -c1 -W5 10.70.0.1 >/dev/null && echo reached";
    run(
        &host,
        task(&format!("{show}; busybox ip addr add 10.70.0.9/24 dev eth0")),
    )
    .await;
    let first = ports();
    assert_eq!(first.len(), 1);
    // It lost an address and its place on the bridge; what the container has added itself stays.
    let alone = netlink::route::LinkChange {
        master: Some(0),
        up: Some(false),
        ..Default::default()
    };
    let unplug = netlink::route::change_link(Target::Name(PORT), &alone);
    routes().request(&[unplug]).unwrap();
    let logged = run(
        &host,
        task(&format!("{show}; busybox ip addr del 10.70.0.2/24 dev eth0")),
    )
    .await;
    assert_eq!(logged.matches("reached").count(), 2, "{logged}");
    assert_eq!(logged.matches("10.70.0.9/24").count(), 1, "{logged}");
    let logged = run(&host, task(show)).await;
    assert_eq!(logged.matches("reached").count(), 3, "{logged}");
    assert_eq!(ports()[0].index, first[0].index);
    // Plugged out while it did not run.
    network::endpoint::leave(&mut routes(), PORT).unwrap();
    let logged = run(&host, task(show)).await;
    assert_eq!(logged.matches("reached").count(), 4, "{logged}");
    let kept = host.directory.join("kept/net");
    rustix::mount::unmount(kept, rustix::mount::UnmountFlags::DETACH).unwrap();
    host::until("the cable has gone", || ports().is_empty()).await;
}

#[tokio::test]
async fn a_link_of_the_host_comes_back_when_the_container_ends() {
    use netlink::route::{LinkChange, LinkKind, NewLink, add_link, change_link};
    let host = networked_host().await;
    let peer = NewLink {
        name: "far",
        kind: LinkKind::Ifb,
        settings: LinkChange::default(),
    };
    let wire = NewLink {
        name: "wire",
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: LinkChange::default(),
    };
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let far = change_link(Target::Name("far"), &up);
    routes().request(&[add_link(&wire), far]).unwrap();
    let mut task = plugged(&host, "busybox ip -o -4 addr show eth0; exit 5");
    task.network.as_mut().unwrap().endpoints[0].attach = Attach::Phys {
        link: "wire".to_owned(),
    };
    task.restart = RestartPolicy::OnFailure { maximum: 1 };
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.restart_count, 1);
    assert_eq!(host.logged().matches("10.70.0.2/24").count(), 2);
    assert_eq!(routes().link(Target::Name("wire")).unwrap().mtu, 1500);
}

#[tokio::test]
async fn rates_are_limited_from_the_first_packet_and_leave_nothing() {
    let host = networked_host().await;
    let before = routes().links().unwrap().len();
    // 16 KiB pass at once, the others in almost three seconds.
    let listener = std::net::TcpListener::bind((GATEWAY, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("dd if=/dev/zero bs=1024 count=384 2>/dev/null | busybox nc 10.70.0.1 {port}");
    let mut task = plugged(&host, &script);
    task.network.as_mut().unwrap().endpoints[0].rates.sent = Some(128 << 10);
    let receiving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let began = std::time::Instant::now();
        let bytes = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        (bytes, began.elapsed())
    });
    run(&host, task).await;
    let (bytes, time) = receiving.join().unwrap();
    assert_eq!(bytes, 384 << 10);
    assert!(time > Duration::from_millis(1500), "{time:?}");
    host::until("everything has gone", || {
        routes().links().unwrap().len() == before
    })
    .await;

    let mut task = plugged(&host, "true");
    let endpoint = &mut task.network.as_mut().unwrap().endpoints[0];
    endpoint.rates.sent = Some(1 << 20);
    endpoint.attach = Attach::Phys {
        link: BRIDGE.to_owned(),
    };
    host.write_document(&task);
    let error = host.new_shim().await.start(task, Vec::new(), None, 0).await;
    drop(error.unwrap_err());
    assert_eq!(routes().links().unwrap().len(), before);
}

/// Takes what one shim hands over: the message, the sockets for UDP and TCP, and a pidfd of PID 1.
fn take_sockets(listener: &OwnedFd) -> (String, UdpSocket, OwnedFd, OwnedFd) {
    let connection = rustix::net::accept(listener).unwrap();
    let (mut buffer, mut fds) = ([0; 1024], Vec::new());
    let length = sys::socket::receive_with_fds(&connection, &mut buffer, &mut fds).unwrap();
    let process = fds.pop().unwrap();
    let tcp = fds.pop().unwrap();
    let udp = UdpSocket::from(fds.pop().unwrap());
    assert!(fds.is_empty());
    (
        String::from_utf8(buffer[..length].to_vec()).unwrap(),
        udp,
        tcp,
        process,
    )
}

fn listen(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    socket
}

#[tokio::test]
async fn the_name_server_gets_sockets_in_the_containers_namespace() {
    let host = networked_host().await;
    let server = host.directory.join("netd.sock");
    let mut task = plugged(
        &host,
        "busybox nslookup -type=a question 127.0.0.11; busybox nc -w5 127.0.0.11 53",
    );
    host::own_user_namespace(&host, &mut task);
    task.network.as_mut().unwrap().resolver = Some(server.clone());
    // Nobody is there to take them.
    host.write_document(&task);
    let error = host
        .new_shim()
        .await
        .start(task.clone(), Vec::new(), None, 0)
        .await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("connect to netd"), "{error}");
    assert!(ports().is_empty());

    let listener = listen(&server);
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    let (message, udp, tcp, process) = take_sockets(&listener);
    assert_eq!(
        message,
        format!("{{\"handover\":{{\"container\":\"{}\"}}}}", host.id)
    );
    let address: SocketAddr = "127.0.0.11:53".parse().unwrap();
    assert_eq!(udp.local_addr().unwrap(), address);
    udp.set_nonblocking(false).unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = udp.recv_from(&mut buffer).unwrap();
    let question = &mut buffer[..length];
    assert!(
        question.windows(9).any(|bytes| bytes == b"\x08question"),
        "{question:?}"
    );
    // "There is no such name."
    question[2..4].copy_from_slice(&[0x81, 0x83]);
    udp.send_to(question, from).unwrap();
    let tcp = std::net::TcpListener::from(tcp);
    assert_eq!(tcp.local_addr().unwrap(), address);
    tcp.set_nonblocking(false).unwrap();
    let (mut stream, _) = tcp.accept().unwrap();
    std::io::Write::write_all(&mut stream, b"by tcp\n").unwrap();
    drop(stream);
    host::exited(&mut events).await;
    let logged = host.logged();
    assert!(
        logged.contains("NXDOMAIN") && logged.contains("by tcp"),
        "{logged}"
    );
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    assert_eq!(rustix::event::poll(&mut ended, Some(&now)).unwrap(), 1);
    // As long as its sockets are held, so is the namespace.
    assert_eq!(ports().len(), 1);
    drop((udp, tcp));
    host::until("the cable has gone", || ports().is_empty()).await;
}

#[tokio::test]
#[ignore = "prints figures, asserts nothing"]
#[expect(clippy::print_stdout, reason = "the figures are what this test is for")]
async fn how_much_longer_a_plugged_start_takes() {
    const TIMES: usize = 200;
    let host = networked_host().await;
    let server = host.directory.join("netd.sock");
    let listener = listen(&server);
    let mut starts = [Vec::new(), Vec::new(), Vec::new()];
    let mut memory = [0, 0, 0];
    for number in 0..TIMES {
        for (kind, starts) in starts.iter_mut().enumerate() {
            let mut task = plugged(&host, "");
            host::own_user_namespace(&host, &mut task);
            let process = task.spec.process_mut().as_mut().unwrap();
            process.set_args(Some(vec!["/bin/sleep".to_owned(), "1000".to_owned()]));
            match (kind, &mut task.network) {
                (1 | 2, Some(sandbox)) => {
                    sandbox.endpoints[0].attach = Attach::Bridge {
                        bridge: BRIDGE.to_owned(),
                        // Not the one before: that may not be gone yet.
                        port: format!("bv{number}-{kind}"),
                        talking: true,
                    };
                    sandbox.resolver = (kind == 2).then(|| server.clone());
                }
                (_, network) => *network = None,
            }
            let shim = host.new_shim().await;
            shim.state().await.unwrap_err();
            let mut events = shim.subscribe().await.unwrap();
            let began = std::time::Instant::now();
            let started = shim.start(task, Vec::new(), None, 0).await.unwrap();
            starts.push(began.elapsed());
            shim.state().await.unwrap();
            memory[kind] = host::private_memory(shim.shim_pid().unwrap());
            if kind == 2 {
                drop(take_sockets(&listener));
            }
            host::kill(started.pid);
            host::exited(&mut events).await;
            shim.release().await.unwrap();
        }
    }
    for ((name, starts), memory) in ["none", "bridge", "bridge and resolver"]
        .iter()
        .zip(&mut starts)
        .zip(memory)
    {
        starts.sort();
        println!(
            "{name}: median {:?}, best {:?}; a shim has {memory} KiB",
            starts[TIMES / 2],
            starts[0]
        );
    }
}
