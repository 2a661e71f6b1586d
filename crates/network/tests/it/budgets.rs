//! Budgets, with packets between a machine and a container on its bridge. Each packet has 1,000 bytes.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use netlink::Socket;
use netlink::nft::{self, Table};
use network::budget::{Both, Budget, Budgets, Holder, Spent};
use network::endpoint;

use crate::world::{CONTAINER, GATEWAY, Host, PORT, Plugged};

const ID: &str = "0123456789ab";
/// What a packet has beside its headers of 28 bytes.
const BYTES: usize = 972;

struct World {
    plugged: Plugged,
    filter: Socket,
    budgets: Budgets,
}

impl World {
    fn new() -> Self {
        let plugged = Plugged::new();
        Self {
            filter: plugged.machine.filter(),
            plugged,
            budgets: Budgets::new("test"),
        }
    }

    fn set(&mut self, holder: &Holder) {
        self.budgets.set(&mut self.filter, holder).unwrap();
    }

    fn spent(&mut self) -> Both<Option<Spent>> {
        let all = self.budgets.spent(&mut self.filter).unwrap();
        all.into_iter()
            .find(|(id, _)| id == ID)
            .map(|(_, spent)| spent)
            .unwrap_or_default()
    }

    /// Sends packets to the container; returns how many arrive.
    fn passes_in(&self, packets: usize) -> usize {
        pass(
            &self.plugged.machine,
            (&self.plugged.container, CONTAINER),
            packets,
        )
    }

    /// Sends packets from the container; returns how many arrive.
    fn passes_out(&self, packets: usize) -> usize {
        pass(&self.plugged.container, (&self.plugged.machine, GATEWAY), packets)
    }
}

fn pass(from: &Host, to: (&Host, Ipv4Addr), packets: usize) -> usize {
    let receiver = to.0.inside(|| UdpSocket::bind((to.1, 0)).unwrap());
    let sender = from.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let address = receiver.local_addr().unwrap();
    for _ in 0..packets {
        sender.send_to(&[7; BYTES], address).unwrap();
    }
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut buffer = [0; BYTES];
    (0..packets)
        .take_while(|_| receiver.recv(&mut buffer).is_ok())
        .count()
}

fn budget(packets: u64, period: Option<u64>) -> Option<Budget> {
    Some(Budget {
        // What is left is less than a packet.
        bytes: packets * 1000 + 500,
        period: period.map(Duration::from_secs),
    })
}

fn holder(received: Option<Budget>, sent: Option<Budget>) -> Holder {
    Holder {
        id: ID.to_owned(),
        ports: vec![PORT.to_owned()],
        budgets: Both { received, sent },
        spent: Both::default(),
    }
}

#[test]
fn no_more_passes_than_the_budget_until_its_time_is_over() {
    let mut world = World::new();
    world.set(&holder(budget(10, Some(3)), budget(5, None)));
    assert_eq!(world.spent(), Both::default(), "no time has begun");
    let began = Instant::now();
    assert_eq!(world.passes_in(20), 10);
    assert_eq!(world.passes_out(20), 5);
    assert_eq!((world.passes_in(1), world.passes_out(1)), (0, 0));
    let spent = world.spent();
    let (received, sent) = (spent.received.unwrap(), spent.sent.unwrap());
    assert_eq!((received.used, sent.used), (10_500, 5_500));
    assert!(received.left.unwrap() < Duration::from_secs(3) && sent.left.is_none());
    while world.passes_in(1) == 0 {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(world.passes_out(1), 0);
}

#[test]
fn a_change_keeps_what_was_spent_and_the_time_that_has_begun() {
    let mut world = World::new();
    let small = holder(budget(10, Some(600)), None);
    world.set(&small);
    assert_eq!(world.passes_in(4), 4);
    // The same again changes nothing, and what was told is older than what the kernel knows.
    let mut again = small.clone();
    again.spent.received = Some(Spent {
        used: 9_000,
        left: None,
    });
    world.set(&again);
    assert_eq!(world.spent().received.unwrap().used, 4_000);
    world.set(&holder(budget(6, Some(300)), None));
    let spent = world.spent().received.unwrap();
    assert_eq!(spent.used, 4_000);
    assert!((290..=300).contains(&spent.left.unwrap().as_secs()), "{spent:?}");
    assert_eq!(world.passes_in(5), 2);
    // What was dropped beyond the old budget is not spent of the new one.
    world.set(&holder(budget(8, None), budget(1, None)));
    assert_eq!(world.passes_in(5), 2);
    assert_eq!(world.passes_out(5), 1);
    world.set(&holder(budget(9, Some(600)), None));
    assert_eq!((world.passes_in(5), world.passes_out(5)), (1, 5));
    world.set(&holder(None, None));
    assert_eq!(world.passes_in(5), 5);
    assert_eq!(world.spent(), Both::default());
}

#[test]
fn what_was_spent_survives_the_cable_the_daemon_and_the_table() {
    let mut world = World::new();
    let mut holder = holder(budget(10, Some(600)), None);
    world.set(&holder);
    assert_eq!(world.passes_in(5), 5);
    endpoint::leave(&mut world.plugged.route, PORT).unwrap();
    world.plugged.plug();
    assert_eq!(world.passes_in(1), 1);
    assert_eq!(world.spent().received.unwrap().used, 6_000);
    let other = Holder {
        id: "gone".to_owned(),
        ports: vec!["bvgone".to_owned()],
        ..holder.clone()
    };
    world.set(&other);
    world
        .budgets
        .replace(&mut world.filter, std::slice::from_ref(&holder))
        .unwrap();
    assert_eq!(world.spent().received.unwrap().used, 6_000);
    let chains = world.filter.chains().unwrap();
    assert!(!chains.iter().any(|chain| chain.name.ends_with("-gone")));
    holder.spent = world.spent();
    let table = Table {
        family: nft::Family::Bridge,
        name: world.budgets.table_name(),
    };
    world.filter.request(&[nft::remove_table(table, false)]).unwrap();
    world
        .budgets
        .replace(&mut world.filter, std::slice::from_ref(&holder))
        .unwrap();
    let spent = world.spent().received.unwrap();
    assert_eq!(spent.used, 6_000);
    assert!((580..=600).contains(&spent.left.unwrap().as_secs()), "{spent:?}");
    assert_eq!(world.passes_in(9), 4);
}

#[test]
fn nothing_is_left_of_a_container() {
    let mut world = World::new();
    let holder = holder(budget(2, Some(600)), budget(2, None));
    world.set(&holder);
    assert_eq!((world.passes_in(3), world.passes_out(3)), (2, 2));
    world
        .budgets
        .remove_ports(&mut world.filter, &holder, &[PORT.to_owned()])
        .unwrap();
    assert_eq!((world.passes_in(3), world.passes_out(3)), (3, 3));
    world.set(&holder);
    world.budgets.remove(&mut world.filter, &holder).unwrap();
    assert_eq!(world.spent(), Both::default());
    let chains = world.filter.chains().unwrap();
    assert!(!chains.iter().any(|chain| chain.name.ends_with(ID)));
    assert!(world.budgets.remove(&mut world.filter, &holder).is_err());
    for _ in 0..2 {
        world.budgets.replace(&mut world.filter, &[]).unwrap();
    }
    assert_eq!(world.filter.chains().unwrap(), []);
}
