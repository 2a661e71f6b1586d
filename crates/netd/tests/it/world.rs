//! A machine with a netd, and containers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use netd_api::client::Client;
use netd_api::handover;
use netd_api::message::{Container, Name, Network};
use netd_api::start::{self, Options};
use netlink::Socket;
use netlink::route::{Address, LinkChange, LinkKind, NewLink, Target, add_address, add_link, change_link};
use sys::clone::CloneFlags;
use sys::netlink::Family;

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Where containers find their resolver.
pub(crate) const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(handover::ADDRESS), handover::PORT);

/// A network namespace.
pub(crate) struct Host(OwnedFd);

impl Host {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            sys::namespace::unshare(CloneFlags::NEWNET).unwrap();
            sys::net::loopback_up().unwrap();
            OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
        });
        Self(made.join().unwrap())
    }

    pub(crate) fn namespace(&self) -> OwnedFd {
        self.0.try_clone().unwrap()
    }

    /// Does something in this namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::namespace::setns(self.0.as_fd(), CloneFlags::NEWNET).unwrap();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.inside(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Asks the resolver by UDP; returns its answer.
    pub(crate) fn ask(&self, name: &str, kind: u16) -> Answer {
        let socket = self.udp("127.0.0.1:0");
        Answer::new(&exchange(&socket, &query(name, kind)))
    }

    /// Asks the resolver by TCP.
    pub(crate) fn ask_by_tcp(&self, name: &str, kind: u16) -> Answer {
        let mut stream = self.inside(|| TcpStream::connect_timeout(&RESOLVER, PATIENCE).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send_framed(&mut stream, &query(name, kind));
        Answer::new(&receive_framed(&mut stream))
    }

    fn route(&self) -> Socket {
        Socket::open_in(Family::Route, self.0.as_fd()).unwrap()
    }
}

/// Sends a message as TCP has it.
pub(crate) fn send_framed(stream: &mut impl std::io::Write, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap();
    stream
        .write_all(&[&length.to_be_bytes(), message].concat())
        .unwrap();
}

/// Receives a message as TCP has it.
pub(crate) fn receive_framed(stream: &mut impl std::io::Read) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

/// Sends a query and waits for its answer.
pub(crate) fn exchange(socket: &UdpSocket, query: &[u8]) -> Vec<u8> {
    socket.send_to(query, RESOLVER).unwrap();
    let mut answer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from, RESOLVER);
    answer.truncate(length);
    assert_eq!(answer[..2], query[..2], "another id");
    answer
}

pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const AAAA: u16 = 28;

/// Returns a query with an id of its own.
pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let id = u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 0x1_0000).unwrap();
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) is_cut: bool,
    /// Addresses as text, other data as bytes.
    pub(crate) records: Vec<String>,
    pub(crate) question: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(packet: &[u8]) -> Self {
        assert_eq!(packet[2] & 0x80, 0x80, "no answer");
        let mut at = 12;
        while packet[at] != 0 {
            at += 1 + usize::from(packet[at]);
        }
        at += 5;
        let question = packet[12..at].to_vec();
        let mut records = Vec::new();
        for _ in 0..u16::from_be_bytes([packet[6], packet[7]]) {
            assert_eq!(packet[at] & 0xc0, 0xc0);
            let size = usize::from(u16::from_be_bytes([packet[at + 10], packet[at + 11]]));
            let data = &packet[at + 12..at + 12 + size];
            records.push(match data.len() {
                4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                16 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                _ => String::from_utf8_lossy(data).into_owned(),
            });
            at += 12 + size;
        }
        Self {
            code: packet[3] & 15,
            is_cut: packet[2] & 2 != 0,
            records,
            question,
        }
    }

    /// Returns whether this is the one address.
    pub(crate) fn is(&self, address: &str) -> bool {
        self.code == 0 && self.records == [address]
    }
}

/// Connects two namespaces by a cable with addresses in 10.9.0.0/24.
pub(crate) fn wire(one: (&Host, Ipv4Addr), other: (&Host, Ipv4Addr)) {
    let up = || LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let peer = NewLink {
        name: "eth0",
        kind: LinkKind::Ifb,
        settings: LinkChange {
            namespace: Some(other.0.0.as_fd()),
            ..LinkChange::default()
        },
    };
    let link = NewLink {
        name: "wire",
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: up(),
    };
    one.0.route().request(&[add_link(&link)]).unwrap();
    for ((host, address), name) in [(one, "wire"), (other, "eth0")] {
        let mut socket = host.route();
        let index = socket.link(Target::Name(name)).unwrap().index;
        let own = Address {
            link: index,
            address: address.into(),
            prefix: 24,
        };
        socket
            .request(&[change_link(Target::Index(index), &up()), add_address(&own)])
            .unwrap();
    }
}

/// A machine with a netd.
pub(crate) struct World {
    pub(crate) machine: Host,
    pub(crate) client: Client,
    pub(crate) options: Options,
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            executable: executable(),
            socket: directory.path().join(start::SOCKET),
            resolv_conf: directory.path().join("resolv.conf"),
        };
        let machine = Host::new();
        // Where it is started it stays.
        machine.inside(|| start::start(&options)).unwrap();
        let (client, version) = Client::connect(&options.socket).await.unwrap();
        assert_eq!(version, netd_api::message::VERSION);
        Self {
            machine,
            client,
            options,
            directory,
        }
    }

    /// Writes the host's `resolv.conf`.
    pub(crate) fn resolv_conf(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&new)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .unwrap();
        std::fs::rename(new, &self.options.resolv_conf).unwrap();
    }

    /// Makes a namespace whose resolver is netd's.
    pub(crate) fn container(&self, id: &str) -> Host {
        let host = Host::new();
        let sockets = handover::sockets_in(host.0.as_fd()).unwrap();
        handover::hand_over(&self.options.socket, id, &sockets, None).unwrap();
        host
    }

    /// Makes one that is in the network "net" with the names of [`network`].
    pub(crate) async fn known_container(&self, number: u8) -> Host {
        self.client.set_network(network()).await.unwrap();
        let id = id(number);
        self.client.set_container(container(&id)).await.unwrap();
        self.container(&id)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.client.pid()).unwrap();
        // Not there any more where the test has ended it.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

/// Returns the example `berth-netd`, built with these tests.
pub(crate) fn executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap();
    let path = path.join("examples/berth-netd");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

pub(crate) fn id(number: u8) -> String {
    format!("{number:064x}")
}

pub(crate) fn network() -> Network {
    let name = |name: &str, addresses: &[&str], reverse| Name {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        reverse,
    };
    Network {
        id: "n1".to_owned(),
        name: "net".to_owned(),
        internal: false,
        names: vec![
            name("web", &["10.0.0.2", "fd00::2"], true),
            name("db", &["10.0.0.3"], true),
            name("all", &["10.0.0.2", "10.0.0.3"], false),
        ],
    }
}

pub(crate) fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        networks: vec!["n1".to_owned()],
        names: Vec::new(),
        upstreams: Some(Vec::new()),
        forwards: true,
        keeps_single_labels: false,
    }
}

/// A DNS server of somebody else, that answers with `reply`; it ends with the test's process.
pub(crate) struct Upstream {
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    /// `reply` gets each query and where it came from, and returns packets to send back.
    pub(crate) fn start(
        host: &Host,
        address: &str,
        reply: impl Fn(&[u8], SocketAddr) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = host.udp(address);
        socket.set_read_timeout(None).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                count.fetch_add(1, Ordering::SeqCst);
                for reply in reply(&packet[..length], peer) {
                    socket.send_to(&reply, peer).unwrap();
                }
            }
        });
        Self { asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Returns an answer with one address.
pub(crate) fn answer(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer[7] = 1;
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
    answer.extend_from_slice(&address);
    answer
}

/// Returns an answer with a code and nothing else.
pub(crate) fn refusal(query: &[u8], code: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80 | code;
    answer
}
