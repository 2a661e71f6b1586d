//! Servers that tell who asks them, and those who ask.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::host::Host;

/// How long to wait for an answer that must come.
const LONG: Duration = Duration::from_secs(10);
/// How long to wait for one that must not.
const SHORT: Duration = Duration::from_millis(300);

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Returns docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A server that answers with its name and the address of who asks; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    name: String,
    protocol: Protocol,
    ended: Arc<AtomicBool>,
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts a server on this host.
    pub fn serve(&self, protocol: Protocol, address: SocketAddr, name: &str) -> Result<Server> {
        let ended = Arc::new(AtomicBool::new(false));
        let (said, end) = (name.to_owned(), Arc::clone(&ended));
        let doing = || format!("listen on {address} of {}", self.name());
        let (socket, thread): (OwnedFd, _) = match protocol {
            Protocol::Tcp => {
                let listener = self.inside(|| TcpListener::bind(address))?.with_context(doing)?;
                let kept = listener.try_clone()?.into();
                (
                    kept,
                    std::thread::spawn(move || serve_tcp(&listener, &said, &end)),
                )
            }
            Protocol::Udp => {
                let socket = self.inside(|| UdpSocket::bind(address))?.with_context(doing)?;
                socket.set_read_timeout(Some(Duration::from_millis(20)))?;
                let kept = socket.try_clone()?.into();
                (kept, std::thread::spawn(move || serve_udp(&socket, &said, &end)))
            }
        };
        Ok(Server {
            name: name.to_owned(),
            protocol,
            ended,
            socket,
            thread: Some(thread),
        })
    }

    /// Asks at `address`, which must be answered soon by `server`; returns the address that the server saw, without its port.
    /// `None`: nobody answered, or somebody else.
    pub fn ask(&self, server: &Server, address: SocketAddr) -> Result<Option<String>> {
        self.ask_within(server, address, LONG)
    }

    /// Returns whether nobody answers at `address`, or somebody else than `server`.
    pub fn is_kept_from(&self, server: &Server, address: SocketAddr) -> Result<bool> {
        Ok(self.ask_within(server, address, SHORT)?.is_none())
    }

    fn ask_within(&self, server: &Server, address: SocketAddr, patience: Duration) -> Result<Option<String>> {
        let said = self.inside(|| match server.protocol {
            Protocol::Tcp => ask_tcp(address, patience),
            Protocol::Udp => ask_udp(address, patience),
        })?;
        let (name, peer) = said.split_once(' ').unwrap_or_default();
        Ok((name == server.name).then(|| peer.to_owned()))
    }
}

fn serve_tcp(listener: &TcpListener, name: &str, end: &AtomicBool) {
    while let Ok((mut stream, peer)) = listener.accept() {
        if end.load(Ordering::Relaxed) {
            return;
        }
        // One who has gone away is no loss.
        drop(write!(stream, "{name} {}", peer.ip().to_canonical()));
        drop(stream.shutdown(Shutdown::Write));
        // Not closed before the other side has: a reset would take the answer along.
        drop(stream.set_read_timeout(Some(SHORT)));
        drop(stream.read(&mut [0]));
    }
}

fn serve_udp(socket: &UdpSocket, name: &str, end: &AtomicBool) {
    let mut question = [0; 64];
    while !end.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut question) {
            drop(socket.send_to(format!("{name} {}", peer.ip().to_canonical()).as_bytes(), peer));
        }
    }
}

/// Returns what was said, or nothing.
fn ask_tcp(address: SocketAddr, patience: Duration) -> String {
    let mut said = String::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, patience) {
        drop(stream.set_read_timeout(Some(LONG)));
        drop(stream.read_to_string(&mut said));
    }
    said
}

/// Returns what was said, or nothing; asks again, for datagrams may be lost while neighbours find each other.
fn ask_udp(address: SocketAddr, patience: Duration) -> String {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let Ok(socket) = UdpSocket::bind(any) else {
        return String::new();
    };
    // A refusal that comes back by ICMP then ends the waiting.
    if socket.connect(address).is_err() {
        return String::new();
    }
    let tries = if patience == LONG { 10 } else { 1 };
    drop(socket.set_read_timeout(Some(patience / tries)));
    let mut answer = [0; 128];
    for _ in 0..tries {
        drop(socket.send(b"?"));
        if let Ok(length) = socket.recv(&mut answer) {
            return String::from_utf8_lossy(&answer[..length]).into_owned();
        }
    }
    String::new()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Ends a wait for the next client; a socket without a connection says that it has none.
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
