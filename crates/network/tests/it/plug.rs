//! The first packets after a container was plugged in.

use std::net::UdpSocket;
use std::time::Duration;

use network::endpoint;

use crate::world::{CONTAINER, GATEWAY, PORT, Plugged};

/// A port that does not pass packets yet, or an end that does not send them, loses what comes in the first moment, and a
/// connection begun in it takes a second.
#[test]
fn nothing_is_lost_in_the_first_moment() {
    let mut plugged = Plugged::new();
    for round in 0..100 {
        endpoint::leave(&mut plugged.route, PORT).unwrap();
        plugged.plug();
        let ways = [
            (&plugged.machine, &plugged.container, CONTAINER),
            (&plugged.container, &plugged.machine, GATEWAY),
        ];
        let (from, to, address) = ways[round % 2];
        let receiver = to.inside(|| UdpSocket::bind((address, 0)).unwrap());
        let sender = from.inside(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        sender.send_to(b"first", receiver.local_addr().unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let received = receiver.recv(&mut [0; 8]);
        assert!(
            received.is_ok(),
            "lost in round {round}, to {address}: {received:?}"
        );
    }
}
