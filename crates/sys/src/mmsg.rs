//! Many UDP packets with one system call: `recvmmsg` and `sendmmsg`, over IPv4.
#![expect(unsafe_code, reason = "rustix has neither call")]

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::{SyscallError, call, check};

/// How many packets one call takes.
pub const BATCH: usize = 32;
/// The longest packet that is received whole.
const RECEIVED: usize = 2048;
/// Room for the packets of one send.
const SPACE: usize = 64 << 10;
/// Length of a `struct sockaddr_in`.
const ADDRESS: libc::socklen_t = 16;

/// Received packets. Its memory is used again by each call.
pub struct Receiver {
    space: Box<[[u8; RECEIVED]; BATCH]>,
    addresses: [libc::sockaddr_in; BATCH],
    lengths: [usize; BATCH],
    count: usize,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            space: Box::new([[0; RECEIVED]; BATCH]),
            addresses: [no_address(); BATCH],
            lengths: [0; BATCH],
            count: 0,
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receiver")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Receives what is there, up to [`BATCH`] packets, without waiting; returns their number. `EAGAIN` is 0.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<usize, SyscallError> {
        self.count = 0;
        let mut parts = [iovec(); BATCH];
        let mut headers = [header(); BATCH];
        let slots = self.space.iter_mut().zip(&mut self.addresses);
        for ((slot, address), (part, header)) in slots.zip(parts.iter_mut().zip(&mut headers)) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = RECEIVED;
            header.msg_hdr.msg_name = (&raw mut *address).cast();
            header.msg_hdr.msg_namelen = ADDRESS;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let raw = socket.as_fd().as_raw_fd();
        let flags = libc::MSG_DONTWAIT;
        let count = loop {
            // SAFETY: `headers` has BATCH entries, each with one `iovec` of RECEIVED bytes in `space` and the room of one
            // `sockaddr_in`, all of which live, borrowed for writing, through the call; no control data; no timeout.
            let value =
                unsafe { libc::recvmmsg(raw, headers.as_mut_ptr(), COUNT, flags, std::ptr::null_mut()) };
            match check(value.into()) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                result => break call!(result, "recvmmsg({raw}, {BATCH} packets)")?,
            }
        };
        self.count = usize::try_from(count).unwrap_or(0).min(BATCH);
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let received = usize::try_from(header.msg_len).unwrap_or(0).min(RECEIVED);
            // One that was cut says nothing.
            *length = if whole { received } else { 0 };
        }
        Ok(self.count)
    }

    /// Returns the packets and who sent them; a packet that was too long is empty.
    pub fn packets(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        let slots = self.space.iter().zip(&self.lengths).zip(&self.addresses);
        slots.take(self.count).map(|((slot, &length), address)| {
            let ip = Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr));
            let peer = SocketAddrV4::new(ip, u16::from_be(address.sin_port));
            (slot.get(..length).unwrap_or_default(), peer)
        })
    }
}

/// Packets that wait to be sent. Its memory is used again.
pub struct Sender {
    space: Box<[u8]>,
    used: usize,
    /// Where each packet is in `space`, and to whom it goes.
    packets: Vec<(usize, usize, SocketAddrV4)>,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            space: vec![0; SPACE].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(BATCH),
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sender")
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// Returns room for one more packet of `length` bytes; `None` when what is there must be sent first.
    pub fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.packets.len() == BATCH {
            return None;
        }
        self.space.get_mut(self.used..self.used.checked_add(length)?)
    }

    /// Adds the packet whose first `length` bytes were written to [`Self::room`].
    pub fn push(&mut self, length: usize, peer: SocketAddrV4) {
        let end = self.used.saturating_add(length);
        if end <= self.space.len() && self.packets.len() < BATCH {
            self.packets.push((self.used, end, peer));
            self.used = end;
        }
    }

    /// Sends all, without waiting. What cannot be sent is dropped, as any packet may be on its way.
    ///
    /// Packets for the same peer that follow each other go through the kernel as one and are parted at its socket
    /// (`UDP_SEGMENT`, Linux 4.18): a resolver's answers often do.
    pub fn send(&mut self, socket: impl AsFd) {
        let raw = socket.as_fd().as_raw_fd();
        let mut runs = [Run::default(); BATCH];
        let runs = group(&self.packets, &mut runs);
        let mut addresses = [no_address(); BATCH];
        let mut parts = [iovec(); BATCH];
        let mut controls = [Segment::new(0); BATCH];
        let mut headers = [header(); BATCH];
        let rooms = addresses.iter_mut().zip(&mut parts);
        let rooms = rooms.zip(controls.iter_mut().zip(&mut headers));
        for (run, ((address, part), (control, header))) in runs.iter().zip(rooms) {
            let data = self.space.get(run.start..run.end).unwrap_or_default();
            address.sin_family = FAMILY;
            address.sin_port = run.peer.port().to_be();
            address.sin_addr.s_addr = run.peer.ip().to_bits().to_be();
            part.iov_base = data.as_ptr().cast_mut().cast();
            part.iov_len = data.len();
            header.msg_hdr.msg_name = (&raw mut *address).cast();
            header.msg_hdr.msg_namelen = ADDRESS;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            if run.count > 1 {
                *control = Segment::new(run.segment);
                header.msg_hdr.msg_control = (&raw mut *control).cast();
                header.msg_hdr.msg_controllen = size_of::<Segment>();
            }
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let mut done = 0;
        while let Some(rest) = headers.get_mut(done..runs.len())
            && !rest.is_empty()
        {
            let count = u32::try_from(rest.len()).unwrap_or(0);
            // SAFETY: `rest` has `count` entries, each with one `iovec` of initialised bytes in `space` and perhaps one
            // `Segment`, which sendmmsg only reads, and one `sockaddr_in`, all of which live through the call.
            let value = unsafe { libc::sendmmsg(raw, rest.as_mut_ptr(), count, flags) };
            match check(value.into()) {
                Ok(sent) => done += usize::try_from(sent).unwrap_or(0).max(1),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The first one cannot be sent; a packet filter may say so, or a kernel that does not know segments.
                Err(_) => {
                    if let Some(run) = runs.get(done).filter(|run| run.count > 1) {
                        self.send_singly(&socket, run);
                    }
                    done += 1;
                }
            }
        }
        self.packets.clear();
        self.used = 0;
    }

    fn send_singly(&self, socket: impl AsFd, run: &Run) {
        let data = self.space.get(run.start..run.end).unwrap_or_default();
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        for packet in data.chunks(run.segment.into()) {
            // Dropped if it cannot be sent, as above.
            rustix::net::sendto(&socket, packet, flags, &run.peer).ok();
        }
    }
}

/// Packets that follow each other in memory, for one peer, of one length; the last may be shorter.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    end: usize,
    segment: u16,
    count: usize,
    peer: SocketAddrV4,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            start: 0,
            end: 0,
            segment: 0,
            count: 0,
            peer: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        }
    }
}

/// The longest run: what one UDP packet may have, less than the kernel's `UDP_MAX_SEGMENTS` of packets in any case.
const LONGEST_RUN: usize = 60_000;

/// Puts packets into runs, of which there are no more than packets.
fn group<'a>(packets: &[(usize, usize, SocketAddrV4)], runs: &'a mut [Run; BATCH]) -> &'a [Run] {
    let mut count = 0usize;
    for &(start, end, peer) in packets {
        let length = end - start;
        let last = count.checked_sub(1).and_then(|last: usize| runs.get_mut(last));
        if let Some(run) = last
            && run.peer == peer
            && run.end == start
            && run.end - run.start == usize::from(run.segment) * run.count
            && length <= run.segment.into()
            && length > 0
            && end - run.start <= LONGEST_RUN
        {
            run.end = end;
            run.count += 1;
        } else if let Some(run) = runs.get_mut(count) {
            *run = Run {
                start,
                end,
                segment: u16::try_from(length).unwrap_or(u16::MAX),
                count: 1,
                peer,
            };
            count += 1;
        }
    }
    runs.get(..count).unwrap_or_default()
}

/// The control message `UDP_SEGMENT` (udp(7)), with the padding that its length is rounded up to.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
    padding: [u8; 6],
}

impl Segment {
    fn new(size: u16) -> Self {
        Self {
            header: libc::cmsghdr {
                // Without the padding.
                cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
                cmsg_level: libc::SOL_UDP,
                cmsg_type: libc::UDP_SEGMENT,
            },
            size,
            padding: [0; 6],
        }
    }
}

/// [`BATCH`] as the kernel takes it.
const COUNT: libc::c_uint = 32;
const _: () = assert!(COUNT as usize == BATCH, "the batch is one number");

/// `AF_INET` as an address has it.
const FAMILY: libc::sa_family_t = 2;
const _: () = assert!(FAMILY as i32 == libc::AF_INET, "the address family is one number");

fn no_address() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: 0,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    }
}

fn iovec() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

fn header() -> libc::mmsghdr {
    // SAFETY: of `struct mmsghdr` every field is a number or a pointer, for which zero is a value: no name, no data.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn packets_travel_in_batches() {
        let [here, there] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = |socket: &UdpSocket| match socket.local_addr().unwrap() {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => unreachable!(),
        };
        let mut sender = Sender::default();
        for number in 0..40u8 {
            let Some(room) = sender.room(3) else {
                assert_eq!(usize::from(number), BATCH);
                break;
            };
            room.copy_from_slice(&[number; 3]);
            sender.push(usize::from(number % 4), address(&there));
        }
        sender.send(&here);
        let mut receiver = Receiver::default();
        assert_eq!(receiver.receive(&there).unwrap(), BATCH);
        for ((packet, peer), number) in receiver.packets().zip(0..) {
            assert_eq!(packet, vec![number; usize::from(number % 4)]);
            assert_eq!(peer, address(&here));
        }
        assert_eq!(receiver.receive(&there).unwrap(), 0);
        assert_eq!(receiver.packets().count(), 0);
        here.send_to(&[1; RECEIVED + 1], address(&there)).unwrap();
        assert_eq!(receiver.receive(&there).unwrap(), 1);
        assert_eq!(receiver.packets().next().unwrap().0, b"");
    }

    /// What arrives is what was pushed, in order, however the kernel is given it.
    #[test]
    fn runs_arrive_as_packets() {
        let [here, one, two] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = |socket: &UdpSocket| match socket.local_addr().unwrap() {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => unreachable!(),
        };
        let lengths = [9usize, 9, 9, 4, 4, 9, 0, 9, 9, 10, 3, 3, 1, 600, 600, 599, 1];
        let mut sender = Sender::default();
        let mut expected = [Vec::new(), Vec::new()];
        for (&length, number) in lengths.iter().zip(0u8..) {
            let index = usize::from(number % 7 == 6);
            sender.room(length).unwrap().fill(number);
            sender.push(length, address([&one, &two][index]));
            expected[index].push(vec![number; length]);
        }
        let mut runs = [Run::default(); BATCH];
        assert!(group(&sender.packets, &mut runs).len() < lengths.len());
        sender.send(&here);
        for (socket, expected) in [&one, &two].into_iter().zip(expected) {
            let mut receiver = Receiver::default();
            assert_eq!(receiver.receive(socket).unwrap(), expected.len());
            let received: Vec<Vec<u8>> = receiver.packets().map(|(packet, _)| packet.to_vec()).collect();
            assert_eq!(received, expected);
        }
        let run = Run {
            start: 0,
            end: 21,
            segment: 9,
            count: 3,
            peer: address(&one),
        };
        sender.send_singly(&here, &run);
        let mut receiver = Receiver::default();
        assert_eq!(receiver.receive(&one).unwrap(), 3);
    }

    #[test]
    fn room_ends() {
        let mut sender = Sender::default();
        assert!(sender.room(SPACE).is_some());
        assert!(sender.room(SPACE + 1).is_none());
        sender.push(SPACE - 1, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
        assert!(sender.room(1).is_some());
        assert!(sender.room(2).is_none());
    }
}
