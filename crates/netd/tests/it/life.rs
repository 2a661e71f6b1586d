//! netd's start and end, and those of daemons, shims and containers around it.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netd_api::client::{Client, ContainerProcess};
use netd_api::handover;
use netd_api::message::{Everything, Message, Reply, Request, State};
use netd_api::packet::{self, Decoder, PACKET};
use netd_api::start::{self, Options};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::world::{A, Answer, PATIENCE, RESOLVER, World, container, executable, id, network, query};

fn everything(containers: &[u8]) -> Everything {
    Everything {
        networks: vec![network()],
        containers: containers.iter().map(|&number| container(&id(number))).collect(),
        ..Everything::default()
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Asks for the state until it is as wanted.
async fn until(client: &Client, wanted: impl Fn(&State) -> bool) -> State {
    let begin = Instant::now();
    loop {
        let state = client.state().await.unwrap();
        if wanted(&state) {
            return state;
        }
        assert!(begin.elapsed() < PATIENCE, "{state:?}");
    }
}

/// F-30: netd is killed while a thousand queries a second are asked.
#[tokio::test]
async fn f_30_a_killed_netd_is_back_within_a_second() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let ends = Arc::new(AtomicBool::new(false));
    let socket = one.udp("127.0.0.1:0");
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let asker = {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || {
            let (mut answered, mut longest, mut last) = (0u32, Duration::ZERO, Instant::now());
            let mut next = Instant::now();
            while !ends.load(Ordering::SeqCst) {
                let asked = query("web", A);
                let mut packet = [0; 512];
                // An answer to an earlier query is late, not wrong.
                if socket.send_to(&asked, RESOLVER).is_ok()
                    && let Ok(length) = socket.recv(&mut packet)
                {
                    let answer = Answer::new(&packet[..length]);
                    // "Not known yet" is no wrong answer, an address of somebody else is.
                    assert!(answer.is("10.0.0.2") || answer.code == 2, "{answer:?}");
                    if answer.code == 0 {
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                        answered += 1;
                    }
                }
                next += Duration::from_millis(1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            (answered, longest)
        })
    };
    until(&world.client, |state| state.answered > 100).await;
    for _ in 0..3 {
        let (client, _) = Client::connect(&world.options.socket).await.unwrap();
        kill(client.pid());
        client.closed().await;
        // What a daemon does then.
        world.machine.inside(|| start::start(&world.options)).unwrap();
        let (client, _) = Client::connect(&world.options.socket).await.unwrap();
        assert_eq!(client.replace(everything(&[1])).await.unwrap(), []);
        let process = ContainerProcess {
            namespace: one.namespace(),
            life: None,
        };
        client.attach(&id(1), process).await.unwrap();
        until(&client, |state| state.answered > 50).await;
    }
    ends.store(true, Ordering::SeqCst);
    let (answered, longest) = asker.join().unwrap();
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(answered > 200, "{answered}");
    println!("{answered} answers, longest pause {longest:?}");
    let (client, _) = Client::connect(&world.options.socket).await.unwrap();
    client.quit().await.unwrap();
    client.closed().await;
}

/// Runs a process that ends when its stdin does.
fn process() -> Child {
    let mut command = Command::new("cat");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn sockets_end_with_their_container() {
    let world = World::new().await;
    let descriptors = || {
        let path = format!("/proc/{}/fd", world.client.pid());
        std::fs::read_dir(path).unwrap().count()
    };
    let one = world.known_container(1).await;
    until(&world.client, |state| state.sockets == [id(1)]).await;
    let before = descriptors();
    let mut child = process();
    let pid = i32::try_from(child.id()).unwrap();
    // The same container once more: what was there is replaced.
    let life = ContainerProcess::open(pid).unwrap().life;
    let two = crate::world::Host::new();
    let sockets = handover::sockets_in(two.namespace().as_fd()).unwrap();
    let path = &world.options.socket;
    handover::hand_over(path, &id(1), &sockets, life.as_ref().map(AsFd::as_fd)).unwrap();
    drop((sockets, life));
    assert!(two.ask("web", A).is("10.0.0.2"));
    assert_eq!(descriptors(), before + 1);
    // The first namespace has no resolver any more, so the port is free.
    drop(one.udp("127.0.0.11:53"));
    drop(child.stdin.take());
    child.wait().unwrap();
    until(&world.client, |state| state.sockets.is_empty()).await;
    assert_eq!(descriptors(), before - 2);
    drop(two.udp("127.0.0.11:53"));
    // What was said of it stays, for a start by its shim.
    let again = world.container(&id(1));
    assert!(again.ask("web", A).is("10.0.0.2"));
}

/// What root with CAP_NET_ADMIN in a container can do to sockets in its namespace.
#[tokio::test]
async fn destroyed_sockets_cost_nobody_anything() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    assert!(one.ask_by_tcp("web", A).is("10.0.0.2"));
    for kind in ["-t", "-u"] {
        let killed = one.inside(|| {
            let mut ss = Command::new("ss");
            ss.args(["-K", "-n", "-a", kind, "src", "127.0.0.11"]).output()
        });
        let killed = killed.unwrap();
        assert!(
            String::from_utf8_lossy(&killed.stdout).contains("127.0.0.11"),
            "{killed:?}"
        );
    }
    // A socket that fails for ever would keep it busy: it uses no processor time while nothing is asked.
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.client.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let begin = Instant::now();
    while one
        .inside(|| std::net::TcpStream::connect_timeout(&RESOLVER, PATIENCE))
        .is_err()
    {
        assert!(begin.elapsed() < PATIENCE, "it listens no more");
    }
    assert!(one.ask_by_tcp("web", A).is("10.0.0.2"));
    let asker = one.udp("127.0.0.1:0");
    asker.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut packet = [0; 512];
    loop {
        asker.send_to(&query("web", A), RESOLVER).unwrap();
        if asker.recv(&mut packet).is_ok() {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "no answer by UDP");
    }
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "it is busy");
}

#[tokio::test]
async fn a_new_daemon_tells_everything() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let two = world.known_container(2).await;
    let stranger = world.container(&id(3));
    until(&world.client, |state| state.sockets.len() == 3).await;
    for _ in 0..2 {
        assert_eq!(world.client.replace(everything(&[1])).await.unwrap(), []);
        let state = world.client.state().await.unwrap();
        assert_eq!((state.containers, state.sockets), (vec![id(1)], vec![id(1)]));
        assert!(one.ask("web", A).is("10.0.0.2"));
    }
    for gone in [&two, &stranger] {
        drop(gone.udp("127.0.0.11:53"));
    }
    world.client.replace(Everything::default()).await.unwrap();
    assert_eq!(world.client.state().await.unwrap().networks.len(), 0);
    drop(one.udp("127.0.0.11:53"));
}

#[tokio::test]
async fn a_state_of_many_packets_travels() {
    let world = World::new().await;
    let mut all = everything(&[]);
    for number in 0..3000 {
        let mut one = container(&format!("{number:064x}"));
        one.networks = vec!["n1".to_owned(); 3];
        all.containers.push(one);
    }
    world.client.replace(all.clone()).await.unwrap();
    let state = world.client.state().await.unwrap();
    assert_eq!(state.containers.len(), 3000);
    assert!(serde_json_len(&state) > 3 * PACKET);
}

fn serde_json_len(state: &State) -> usize {
    packet::encode(state).unwrap().iter().map(Vec::len).sum()
}

#[tokio::test]
async fn a_daemon_finds_its_netd_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        executable: executable(),
        socket: directory.path().join(start::SOCKET),
        resolv_conf: directory.path().join("resolv.conf"),
    };
    let first = Client::start_or_connect(&options).await.unwrap();
    let second = Client::start_or_connect(&options).await.unwrap();
    assert_eq!(first.pid(), second.pid());
    kill(first.pid());
    first.closed().await;
    second.closed().await;
    assert!(first.state().await.is_err());
    let third = Client::start_or_connect(&options).await.unwrap();
    assert_ne!(first.pid(), third.pid());
    // It is nobody's child, has its own session, and no descriptors but its own.
    let status = std::fs::read_to_string(format!("/proc/{}/stat", third.pid())).unwrap();
    let fields: Vec<&str> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_ne!(fields[1], std::process::id().to_string());
    assert_eq!(fields[3], third.pid().to_string());
    for entry in std::fs::read_dir(format!("/proc/{}/fd", third.pid())).unwrap() {
        let link = std::fs::read_link(entry.unwrap().path()).unwrap();
        let link = link.to_str().unwrap();
        let own = ["socket:", "anon_inode:[eventpoll]", "/dev/null", "net:["];
        assert!(own.iter().any(|own| link.starts_with(own)), "{link}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", third.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // CAP_DAC_READ_SEARCH, NET_BIND_SERVICE, NET_ADMIN, SYS_PTRACE, SYS_ADMIN (capabilities(7)).
    let kept = format!("CapEff:\t{:016x}", 1 << 2 | 1 << 10 | 1 << 12 | 1 << 19 | 1 << 21);
    assert!(status.contains(&kept), "{status}");
    third.quit().await.unwrap();
    third.closed().await;
}

fn listener(path: &std::path::Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    socket
}

#[tokio::test]
async fn another_version_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        executable: executable(),
        socket: directory.path().join(start::SOCKET),
        resolv_conf: directory.path().join("resolv.conf"),
    };
    let old = listener(&options.socket);
    let thread = std::thread::spawn(move || {
        let connections: Vec<OwnedFd> = (0..2).map(|_| rustix::net::accept(&old).unwrap()).collect();
        let mut asked = Vec::new();
        let mut buffer = vec![0; PACKET];
        for _ in 0..2 {
            let length =
                sys::socket::receive_with_fds(&connections[0], &mut buffer, &mut Vec::new()).unwrap();
            let message = Decoder::default().push(&buffer[..length], Vec::new());
            let Some((Message::Call { number, request }, _)) = message.unwrap() else {
                panic!("no call");
            };
            asked.push(request);
            let reply = Reply::Hello { version: 0, pid: 1 };
            packet::send(&connections[0], &netd_api::message::Answer { number, reply }, &[]).unwrap();
        }
        asked
    });
    let client = Client::start_or_connect(&options).await.unwrap();
    assert_eq!(thread.join().unwrap(), [Request::Hello, Request::Quit]);
    client.quit().await.unwrap();
    client.closed().await;
}

#[tokio::test]
async fn nonsense_on_the_socket_disconnects_and_nothing_else() {
    let world = World::new().await;
    let one = world.known_container(1).await;
    let connect = || {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = socket.unwrap();
        let address = SocketAddrUnix::new(&world.options.socket).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        socket
    };
    let null = std::fs::File::open("/dev/null").unwrap();
    let null = null.as_fd();
    let handover = format!("{{\"handover\":{{\"container\":\"{}\"}}}}", id(1));
    let short = "{\"handover\":{\"container\":\"1\"}}";
    for (packet, fds) in [
        (&b"x"[..], &[][..]),
        (b"{}", &[]),
        (b".", &[]),
        (b"{\"call\":{\"number\":1,\"request\":\"fly\"}}", &[]),
        (b"{\"call\":{\"number\":-1,\"request\":\"state\"}}", &[]),
        (handover.as_bytes(), &[]),
        (handover.as_bytes(), &[null]),
        (handover.as_bytes(), &[null; 5]),
        (short.as_bytes(), &[null, null]),
        (&[b'{'; PACKET], &[]),
    ] {
        let socket = connect();
        sys::socket::send_with_fds(&socket, packet, fds).unwrap();
        let mut buffer = [0; 64];
        let received = sys::socket::receive_with_fds(&socket, &mut buffer, &mut Vec::new());
        assert!(
            matches!(received, Ok(0) | Err(_)),
            "{:?}",
            String::from_utf8_lossy(packet)
        );
        assert!(one.ask("web", A).is("10.0.0.2"));
    }
    // Descriptors that are no sockets are not waited for, and end like a container's.
    let socket = connect();
    sys::socket::send_with_fds(&socket, handover.as_bytes(), &[null, null]).unwrap();
    until(&world.client, |state| state.sockets.is_empty()).await;
    let again = world.container(&id(1));
    assert!(again.ask("web", A).is("10.0.0.2"));
    // Many at once, that say nothing: others are not kept off for longer than they stay.
    let many: Vec<OwnedFd> = (0..300).map(|_| connect()).collect();
    assert!(again.ask("web", A).is("10.0.0.2"));
    drop(many);
    assert!(Client::connect(&world.options.socket).await.is_ok());
}

#[test]
fn a_netd_that_is_of_no_use_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("idle.sock");
    let options = |path: &std::path::Path| netd::server::Options {
        listener: listener(path),
        path: path.to_owned(),
        resolv_conf: directory.path().join("resolv.conf"),
        idle: Duration::from_millis(300),
    };
    let begin = Instant::now();
    netd::server::serve(options(&path)).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    // A connection that says nothing, as a daemon's second one, keeps it.
    let lost = directory.path().join("lost.sock");
    let thread = {
        let options = options(&lost);
        std::thread::spawn(move || netd::server::serve(options))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async { Client::connect(&lost).await.unwrap().0 });
    let set = client.set_container(container(&id(1)));
    runtime.block_on(set).unwrap();
    // One that still knows of containers waits longer, but not when nobody could find it.
    std::fs::remove_file(&lost).unwrap();
    let _another = listener(&lost);
    drop(client);
    drop(runtime);
    thread.join().unwrap().unwrap();
}

/// NW-08: whatever a packet makes netd do, the kernel does little for it. (What the filter lets pass: `filter.rs`.)
#[tokio::test]
async fn nw_08_netd_may_do_little() {
    let world = World::new().await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.client.pid())).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(
        (value("Seccomp"), value("NoNewPrivs")),
        ("2".to_owned(), "1".to_owned())
    );
    assert_eq!(value("Threads"), "1");
    // NET_BIND_SERVICE, NET_ADMIN, SYS_PTRACE, SYS_ADMIN, DAC_READ_SEARCH, as far as this machine gives them.
    let most = 1 << 10 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 2;
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&value(set), 16).unwrap() & !most, 0, "{set}");
    }
}
