//! Ways to plug a container in that need no bridge: on a link of the host, or by giving it the link.
//!
//! ```text
//! outside 198.51.100.9 ──wire── machine ── one, two on the machine's end of the wire
//! ```

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use netlink::Socket;
use netlink::route::{Address, MacAddress, Target, add_address};
use network::endpoint::{self, Attach, EndpointError, Restored, Settings};

use sys::netlink::Family;

use crate::world::{Host, wire};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const ONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const TWO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

/// Tells whether a connection to a server of `other` is made.
fn reaches(host: &Host, other: &Host, address: Ipv4Addr, patience: Duration) -> bool {
    let listener = other.inside(|| TcpListener::bind((address, 0)).unwrap());
    let address = SocketAddr::from((address, listener.local_addr().unwrap().port()));
    host.inside(|| TcpStream::connect_timeout(&address, patience))
        .is_ok()
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(400);

/// The machine, and the host at the other end of its wire.
fn machine() -> (Host, Host) {
    let (machine, outside) = (Host::new(), Host::new());
    wire((&machine, None), (&outside, Some(OUTSIDE)));
    (machine, outside)
}

fn settings(attach: Attach, address: Ipv4Addr) -> Settings {
    Settings {
        attach,
        interface: "eth0".to_owned(),
        mac: None,
        mtu: None,
        addresses: vec![(address.into(), 24)],
        gateways: Vec::new(),
        routes: Vec::new(),
        sysctls: Default::default(),
        rates: Default::default(),
    }
}

fn macvlan(mode: &str) -> Attach {
    Attach::Macvlan {
        parent: "wire".to_owned(),
        mode: mode.to_owned(),
    }
}

fn join(machine: &Host, container: &Host, settings: &Settings) -> Result<(), EndpointError> {
    machine.inside(|| {
        let mut socket = Socket::open(Family::Route).unwrap();
        endpoint::join(&mut socket, container.as_fd(), settings).map(drop)
    })
}

#[test]
fn a_macvlan_in_each_of_its_modes() {
    for (mode, sees_neighbour) in [("bridge", true), ("private", false), ("vepa", false)] {
        let (machine, outside) = machine();
        let (one, two) = (Host::new(), Host::new());
        join(&machine, &one, &settings(macvlan(mode), ONE)).unwrap();
        join(&machine, &two, &settings(macvlan(mode), TWO)).unwrap();
        assert!(reaches(&one, &outside, OUTSIDE, LONG), "{mode}");
        assert!(reaches(&outside, &two, TWO, LONG), "{mode}");
        let patience = if sees_neighbour { LONG } else { SHORT };
        assert_eq!(reaches(&one, &two, TWO, patience), sees_neighbour, "{mode}");
        endpoint::remove(two.as_fd(), "eth0").unwrap();
        endpoint::remove(two.as_fd(), "eth0").unwrap();
        assert_eq!(two.route().links().unwrap().len(), 1);
    }
    let (machine, outside) = machine();
    let (one, two) = (Host::new(), Host::new());
    join(&machine, &one, &settings(macvlan("passthru"), ONE)).unwrap();
    assert!(reaches(&one, &outside, OUTSIDE, LONG));
    let error = join(&machine, &two, &settings(macvlan("passthru"), TWO)).unwrap_err();
    assert_eq!(error.to_string(), "use link \"wire\" of the host");
    assert_eq!(two.route().links().unwrap().len(), 1);
}

#[test]
fn a_hardware_address_is_waited_for_until_the_run_before_is_gone() {
    let (machine, outside) = machine();
    let mut settings = settings(macvlan("bridge"), ONE);
    settings.mac = Some([2, 0x42, 198, 51, 100, 2]);
    let (first, second) = (Host::new(), Host::new());
    join(&machine, &first, &settings).unwrap();
    let ending = std::thread::spawn(move || {
        // There is no event for "somebody waits"; when this is too early, nothing was to be waited for.
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
    });
    join(&machine, &second, &settings).unwrap();
    assert!(reaches(&second, &outside, OUTSIDE, LONG));
    ending.join().unwrap();
}

#[test]
fn what_was_kept_is_completed() {
    let (machine, outside) = machine();
    let one = Host::new();
    let settings = settings(macvlan("bridge"), ONE);
    let restore = || {
        machine.inside(|| {
            let mut socket = Socket::open(Family::Route).unwrap();
            endpoint::restore(&mut socket, one.as_fd(), &settings).unwrap()
        })
    };
    assert!(matches!(restore(), Restored::Joined(None)));
    let mut inside = one.route();
    let link = inside.link(Target::Name("eth0")).unwrap().index;
    let address = Address {
        link,
        address: ONE.into(),
        prefix: 24,
    };
    inside
        .request(&[netlink::route::remove_address(&address)])
        .unwrap();
    assert!(matches!(restore(), Restored::WasThere));
    assert!(reaches(&one, &outside, OUTSIDE, LONG));
}

#[test]
fn what_cannot_be_is_told_and_leaves_nothing() {
    let (machine, _outside) = machine();
    let one = Host::new();
    let ipvlan = |mode: &str, flag: &str| Attach::Ipvlan {
        parent: "wire".to_owned(),
        mode: mode.to_owned(),
        flag: flag.to_owned(),
    };
    let error = |attach| match join(&machine, &one, &settings(attach, ONE)) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    // Where the kernel has it, it works.
    let made = error(ipvlan("l2", "bridge"));
    assert!(
        matches!(made.as_str(), "" | "the kernel has no ipvlan links"),
        "{made}"
    );
    endpoint::remove(one.as_fd(), "eth0").unwrap();
    assert_eq!(error(ipvlan("l4", "bridge")), "ipvlan has no mode \"l4\"");
    assert_eq!(error(ipvlan("l3", "open")), "ipvlan has no mode \"open\"");
    assert_eq!(error(macvlan("source")), "macvlan has no mode \"source\"");
    let absent = Attach::Macvlan {
        parent: "eth7".to_owned(),
        mode: "bridge".to_owned(),
    };
    assert_eq!(error(absent), "use link \"eth7\" of the host");
    let absent = Attach::Phys {
        link: "eth7".to_owned(),
    };
    assert_eq!(error(absent), "use link \"eth7\" of the host");
    assert_eq!(one.route().links().unwrap().len(), 1);
}

#[test]
fn a_link_of_the_host_is_lent_and_given_back_as_it_was() {
    let (machine, outside) = machine();
    let one = Host::new();
    let mut socket = machine.route();
    let link = socket.link(Target::Name("wire")).unwrap();
    let own = Address {
        link: link.index,
        address: Ipv4Addr::new(198, 51, 100, 1).into(),
        prefix: 24,
    };
    socket.request(&[add_address(&own)]).unwrap();
    let lent_link = Attach::Phys {
        link: "wire".to_owned(),
    };
    let mut settings = settings(lent_link, ONE);
    settings.mac = Some([2, 1, 1, 1, 1, 1]);
    settings.mtu = Some(1300);
    // Once with a failure: the route cannot be.
    settings.routes.push(endpoint::Route {
        destination: (ONE.into(), 40),
        gateway: None,
    });
    join(&machine, &one, &settings).unwrap_err();
    let is_as_before = || {
        let mut socket = machine.route();
        let now = socket.link(Target::Name("wire")).unwrap();
        assert_eq!((now.up, now.mtu, now.mac), (true, link.mtu, link.mac));
        let addresses = socket.addresses().unwrap();
        let kept = addresses.iter().filter(|address| address.link == now.index);
        assert!(
            kept.clone()
                .any(|address| address.address == own.address && address.prefix == 24)
        );
        assert_eq!(kept.filter(|address| address.address.is_ipv4()).count(), 1);
        assert_eq!(one.route().links().unwrap().len(), 1);
    };
    is_as_before();
    settings.routes.clear();
    let lent = machine.inside(|| {
        endpoint::join(&mut socket, one.as_fd(), &settings)
            .unwrap()
            .unwrap()
    });
    assert_eq!(lent.link(), "wire");
    let inside = one.route().link(Target::Name("eth0")).unwrap();
    assert_eq!((inside.mtu, inside.mac), (1300, settings.mac.map(MacAddress)));
    assert!(reaches(&one, &outside, OUTSIDE, LONG));
    for _ in 0..2 {
        machine.inside(|| endpoint::give_back(&mut socket, &lent).unwrap());
        is_as_before();
    }
    assert!(reaches(&machine, &outside, OUTSIDE, LONG));
}
