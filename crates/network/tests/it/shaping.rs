//! Rates, measured with packets between a machine and a container on its bridge.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use network::shape::{self, Rates};
use network::{counters, endpoint};

use crate::world::{CONTAINER, GATEWAY, Host, PORT, Plugged};

/// How long is measured, from the first byte on: what waits in a socket when a measurement begins later would count too.
const WINDOW: Duration = Duration::from_millis(3200);

impl Plugged {
    /// Returns the bits in a second that a connection to `address` gets through.
    fn speed(&self, from: &Host, to: &Host, address: Ipv4Addr) -> f64 {
        let listener = to.inside(|| TcpListener::bind((address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let mut sender = from.inside(|| TcpStream::connect(address).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        let sending = std::thread::spawn(move || while sender.write_all(&[7; 1 << 14]).is_ok() {});
        let mut buffer = vec![0; 1 << 16];
        let (began, mut bytes) = (Instant::now(), 0);
        while began.elapsed() < WINDOW {
            bytes += receiver.read(&mut buffer).unwrap();
        }
        let speed = bytes as f64 * 8.0 / began.elapsed().as_secs_f64();
        drop(receiver);
        sending.join().unwrap();
        speed
    }

    /// Measures what the container gets until it is about `megabits` a second.
    fn receives(&self, megabits: f64) {
        is_reached(megabits, || self.speed(&self.machine, &self.container, CONTAINER));
    }

    /// Measures what the container gets rid of until it is about `megabits` a second.
    fn sends(&self, megabits: f64) {
        is_reached(megabits, || self.sent());
    }

    fn sent(&self) -> f64 {
        self.speed(&self.container, &self.machine, GATEWAY)
    }

    fn links(&mut self) -> usize {
        self.route.links().unwrap().len()
    }
}

/// Measures up to five times: a machine that stands still for a moment blurs one measurement, for what was not sent in time is
/// never made up for; a rate that is not held blurs them all.
fn is_reached(megabits: f64, measure: impl Fn() -> f64) {
    let wanted = megabits * 0.9375..=megabits * 1.025;
    let mut measured = Vec::new();
    for _ in 0..5 {
        let speed = measure() / 1e6;
        if wanted.contains(&speed) {
            return;
        }
        measured.push(speed);
    }
    panic!("{measured:?} Mbit/s instead of {megabits}");
}

#[test]
fn rates_hold_both_ways_and_change_while_it_runs() {
    let mut world = Plugged::new();
    let links = world.links();
    let rate = |megabits: u64| Some(megabits * 1_000_000 / 8);
    let both = Rates {
        received: rate(8),
        sent: rate(8),
    };
    shape::limit(&mut world.route, PORT, both).unwrap();
    world.receives(8.0);
    world.sends(8.0);
    let other = Rates {
        received: rate(40),
        sent: None,
    };
    shape::limit(&mut world.route, PORT, other).unwrap();
    world.receives(40.0);
    let sent = world.sent();
    assert!(sent > 100e6, "{sent} bits in a second");
    shape::limit(&mut world.route, PORT, both).unwrap();
    shape::limit(&mut world.route, PORT, Rates::default()).unwrap();
    shape::limit(&mut world.route, PORT, Rates::default()).unwrap();
    let received = world.speed(&world.machine, &world.container, CONTAINER);
    assert!(received > 100e6, "{received} bits in a second");
    assert_eq!(world.links(), links);
}

#[test]
fn a_port_that_comes_again_is_shaped_again_and_released() {
    let mut world = Plugged::new();
    let links = world.links();
    let rates = Rates {
        received: None,
        sent: Some(1_000_000),
    };
    shape::limit(&mut world.route, PORT, rates).unwrap();
    endpoint::leave(&mut world.route, PORT).unwrap();
    world.plug();
    shape::limit(&mut world.route, PORT, rates).unwrap();
    world.sends(8.0);
    endpoint::leave(&mut world.route, PORT).unwrap();
    for _ in 0..2 {
        shape::release(&mut world.route, PORT).unwrap();
    }
    assert_eq!(world.links(), links - 1);
    let absent = shape::limit(&mut world.route, PORT, rates).unwrap_err();
    assert_eq!(absent.to_string(), format!("find port \"{PORT}\""));
    let nothing = Rates {
        sent: Some(0),
        ..rates
    };
    assert!(shape::limit(&mut world.route, PORT, nothing).is_err());
    assert!(shape::limit(&mut world.route, "a-name-too-long", rates).is_err());
}

#[test]
fn both_ends_count_the_same() {
    let mut world = Plugged::new();
    world.sent();
    let inside = counters::of_namespace(world.container.as_fd()).unwrap();
    let at_port = counters::of_port(&mut world.route, PORT).unwrap();
    let [(name, inside)] = inside.as_slice() else {
        panic!("{inside:?}");
    };
    assert_eq!(name, "eth0");
    assert!(inside.sent_bytes > 1_000_000);
    assert_eq!(inside.sent_bytes, at_port.sent_bytes);
    assert!(inside.received_packets.abs_diff(at_port.received_packets) < 3);
}
