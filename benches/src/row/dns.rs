//! The resolver at 127.0.0.11: netd's, and that of docker's daemon. The same client, in a container's network namespace, asks
//! both for the name of a neighbour.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netd_api::client::Client;
use netd_api::handover;
use netd_api::message::{Container, Name, Network};
use netd_api::start::{self, Options};
use sys::mmsg::{BATCH, Receiver, Sender};
use testkit::dockerd::Dockerd;
use testkit::lab::Host;
use testkit::place::Place;

use super::Effort;
use crate::memory::show as show_memory;
use crate::sample::{Sample, show};
use crate::table::Table;

/// Queries that one client has under way.
const WINDOW: usize = 64;
/// How long a client waits for an answer before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the comparison.
pub fn measure(effort: Effort) -> Result<Table> {
    let title = format!("dns: the name of a neighbour, {WINDOW} queries under way and one at a time");
    let mut table = Table::new(
        &title,
        &[
            "resolver",
            "answers per second",
            "lost",
            "processor time per answer",
            "p50",
            "p99",
            "largest memory",
        ],
    );
    let mut subjects = vec![berth()?];
    match docker()? {
        Some(docker) => subjects.push(docker),
        None => table.row(["docker", "not installed"]),
    }
    let mut results: Vec<Figures> = subjects.iter().map(|_| Figures::default()).collect();
    for _ in 0..effort.of(1, 5) {
        for (subject, figures) in subjects.iter().zip(&mut results) {
            subject.take_turn(effort, figures)?;
        }
    }
    for (subject, figures) in subjects.iter().zip(results) {
        let rate = figures.rates.iter().copied().max().unwrap_or(0);
        let answers = u32::try_from(figures.answers).unwrap_or(u32::MAX);
        let time = |percent| figures.sample.percentile(percent).map(show).unwrap_or_default();
        table.row([
            subject.name.to_owned(),
            rate.to_string(),
            figures.lost.to_string(),
            show(figures.processor / answers.max(1)),
            time(50),
            time(99),
            show_memory(peak(subject.pid)?),
        ]);
    }
    for subject in subjects {
        (subject.finish)()?;
    }
    Ok(table)
}

/// A resolver under test.
struct Subject {
    name: &'static str,
    /// The process that answers.
    pid: u32,
    /// Where it is asked.
    container: Host,
    /// What the answer must be.
    address: Ipv4Addr,
    finish: Box<dyn FnOnce() -> Result<()>>,
}

/// What was measured.
#[derive(Default)]
struct Figures {
    rates: Vec<u64>,
    answers: u64,
    lost: u64,
    processor: Duration,
    sample: Sample,
}

impl Subject {
    fn take_turn(&self, effort: Effort, figures: &mut Figures) -> Result<()> {
        let length = Duration::from_secs(effort.of(1, 3).try_into()?);
        let (container, address) = (&self.container, self.address);
        let before = processor_time(self.pid)?;
        let (answers, lost, took) = container.inside(|| throughput(length, address))??;
        figures.processor += processor_time(self.pid)?.saturating_sub(before);
        figures.answers += answers;
        figures.lost += lost;
        let millis = u64::try_from(took.as_millis())?.max(1);
        figures.rates.push(answers * 1000 / millis);
        let count = effort.of(500, 5000);
        for time in container.inside(|| latencies(count, address))?? {
            figures.sample.add(time);
        }
        Ok(())
    }
}

/// netd as the release binary has it, with a container that is only a namespace.
fn berth() -> Result<Subject> {
    let place = Place::create()?;
    let machine = Host::new("machine")?;
    let container = Host::new("container")?;
    let options = Options {
        executable: testkit::berth()?.to_owned(),
        socket: place.directory().join(start::SOCKET),
        resolv_conf: "/etc/resolv.conf".into(),
    };
    machine.inside(|| start::start(&options))??;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = Ipv4Addr::new(172, 18, 0, 2);
    let id = "c".repeat(64);
    let pid = runtime.block_on(async {
        let (client, _) = Client::connect(&options.socket).await?;
        let network = Network {
            id: "n".to_owned(),
            name: "net".to_owned(),
            internal: false,
            names: vec![Name {
                name: "web".to_owned(),
                addresses: vec![address.into()],
                reverse: true,
            }],
        };
        client.set_network(network).await?;
        let known = Container {
            id: id.clone(),
            networks: vec!["n".to_owned()],
            names: Vec::new(),
            upstreams: None,
            forwards: true,
            keeps_single_labels: false,
        };
        client.set_container(known).await?;
        anyhow::Ok(client.pid())
    })?;
    let sockets = container.inside(handover::sockets)??;
    // Should this program fail, netd has nothing left to stay for.
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    handover::hand_over(&options.socket, &id, &sockets, Some(own.as_fd()))?;
    let socket = options.socket;
    Ok(Subject {
        name: "berth",
        pid: u32::try_from(pid)?,
        container,
        address,
        finish: Box::new(move || {
            runtime.block_on(async {
                let (client, _) = Client::connect(&socket).await?;
                client.quit().await?;
                client.closed().await;
                anyhow::Ok(())
            })?;
            drop((place, machine));
            Ok(())
        }),
    })
}

/// docker's daemon on a machine of its own, with two containers on a network.
fn docker() -> Result<Option<Subject>> {
    let machine = Host::new("machine")?;
    let Some(dockerd) = Dockerd::start_on(&machine)? else {
        return Ok(None);
    };
    let tar = testkit::image::busybox_tar(dockerd.place().directory())?;
    dockerd
        .docker(&["import", text(&tar)?, "busybox"], b"")?
        .expect(0)?;
    dockerd.docker(&["network", "create", "net"], b"")?.expect(0)?;
    for name in ["web", "asker"] {
        let run = [
            "run",
            "-d",
            "--network",
            "net",
            "--name",
            name,
            "busybox",
            "sleep",
            "100000",
        ];
        dockerd.docker(&run, b"")?.expect(0)?;
    }
    let inspect = |format: &str, name: &str| dockerd.docker(&["inspect", "-f", format, name], b"")?.text();
    let pid = inspect("{{.State.Pid}}", "asker")?;
    let container = Host::of_process(pid.parse()?, "asker")?;
    let address = inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web")?;
    Ok(Some(Subject {
        name: "docker",
        pid: dockerd.pid(),
        container,
        address: address.parse()?,
        finish: Box::new(move || {
            dockerd.docker(&["rm", "-f", "web", "asker"], b"")?.expect(0)?;
            dockerd.docker(&["network", "rm", "net"], b"")?.expect(0)?;
            drop((dockerd, machine));
            Ok(())
        }),
    }))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

const RESOLVER: SocketAddrV4 = SocketAddrV4::new(handover::ADDRESS, handover::PORT);

/// Keeps [`WINDOW`] queries under way; returns how many were answered, how many were lost, and the time.
fn throughput(length: Duration, address: Ipv4Addr) -> Result<(u64, u64, Duration)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
    let mut query = query();
    let (mut number, mut answers, mut lost, mut under_way) = (0u16, 0u64, 0u64, 0usize);
    let begin = Instant::now();
    while begin.elapsed() < length || under_way > 0 {
        while under_way < WINDOW && begin.elapsed() < length {
            number = number.wrapping_add(1);
            query[..2].copy_from_slice(&number.to_be_bytes());
            let Some(room) = sender.room(query.len()) else {
                sender.send(&socket);
                continue;
            };
            room.copy_from_slice(&query);
            sender.push(query.len(), RESOLVER);
            under_way += 1;
        }
        sender.send(&socket);
        if !wait(&socket)? {
            lost += u64::try_from(under_way)?;
            under_way = 0;
            continue;
        }
        loop {
            let count = receiver.receive(&socket)?;
            for (packet, _) in receiver.packets() {
                check(packet, address)?;
            }
            answers += u64::try_from(count)?;
            under_way = under_way.saturating_sub(count);
            if count < BATCH {
                break;
            }
        }
    }
    Ok((answers, lost, begin.elapsed()))
}

/// Asks one query after the other.
fn latencies(count: usize, address: Ipv4Addr) -> Result<Vec<Duration>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::with_capacity(count);
    let mut query = query();
    let mut packet = [0; 512];
    for number in 0..count {
        query[..2].copy_from_slice(&u16::try_from(number % 60_000)?.to_be_bytes());
        let begin = Instant::now();
        socket.send_to(&query, SocketAddr::V4(RESOLVER))?;
        let length = socket.recv(&mut packet).context("an answer is missing")?;
        times.push(begin.elapsed());
        check(packet.get(..length).unwrap_or_default(), address)?;
    }
    Ok(times)
}

/// The address record of "web".
fn query() -> Vec<u8> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(b"\x03web\0\0\x01\0\x01");
    packet
}

fn check(packet: &[u8], address: Ipv4Addr) -> Result<()> {
    if packet.ends_with(&address.octets()) {
        Ok(())
    } else {
        bail!("a wrong answer instead of {}: {packet:?}", IpAddr::V4(address))
    }
}

/// Waits until something has arrived; `false` when nothing does.
fn wait(socket: &UdpSocket) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(PATIENCE.subsec_nanos()),
    };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}

/// Returns the processor time that a process has used (proc(5): `utime` and `stime`, in hundredths of a second).
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("stat")?.1;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Returns the most that was resident, in KiB (proc(5): `VmHWM`).
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .context("VmHWM")?;
    Ok(number.parse()?)
}
