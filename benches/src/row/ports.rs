//! Publishing ten thousand ports, one more beside them, and connections through one of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::lab::{Host, MACHINE};
use testkit::{http, residue};

use super::Effort;
use crate::memory::{self, Ledger};
use crate::sample::{Sample, difference, show};
use crate::site::Site;
use crate::table::Table;

/// A program that goes on until it is killed.
const SLEEP: [&str; 4] = ["busybox", "/bin/busybox", "sleep", "100000"];
const PORTS: u16 = 10_000;
/// How long after a removal the packet filter knows nothing of it any more.
const TAKEN_BACK: Duration = Duration::from_millis(300);
/// How long after a request the daemon has given back what that took.
const SETTLED: Duration = Duration::from_secs(3);
/// Ten thousand ports under their own numbers, which is one range, and under others, which is one element for each.
const RANGES: [(&str, &str); 2] = [
    ("under their own numbers", "20000-29999:20000-29999"),
    ("under other numbers", "20000-29999:30000-39999"),
];

/// Measures Berth, and of docker what can be waited for.
pub fn measure(effort: Effort) -> Result<Table> {
    let mut table = Table::new(
        &format!("{PORTS} published ports"),
        &["what", "engine", "without", "with", "more", "turns"],
    );
    let mut sites = Site::both("busybox", testkit::image::busybox_tar)?;
    for site in &mut sites {
        if site.name == "berth" {
            for (what, range) in RANGES {
                publish(site, what, range, effort.of(3, 21), &mut table)?;
                hold(site, what, range, effort.of(1, 5), &mut table)?;
            }
            one_more(site, effort.of(10, 100), &mut table)?;
        } else {
            // dockerd 20.10 runs several programs for each port.
            publish(
                site,
                "a hundredth of them",
                "20000-20099:20000-20099",
                1,
                &mut table,
            )?;
        }
    }
    for site in &sites {
        connect(site, effort, &mut table)?;
    }
    for site in sites {
        site.finish()?;
    }
    Ok(table)
}

/// Time of one command that publishes a range, against one that publishes nothing.
fn publish(site: &Site, what: &str, range: &str, turns: usize, table: &mut Table) -> Result<()> {
    let mut times = [Sample::default(), Sample::default()];
    for turn in 0..=turns {
        for (index, publication) in [&[][..], &["-p", range]].into_iter().enumerate() {
            let begin = Instant::now();
            site.ok(&[&["run", "-d", "--name", "many"], publication, &SLEEP].concat())?;
            let time = begin.elapsed();
            site.ok(&["rm", "-f", "many"])?;
            // What is taken back after the reply is not of the next one's time.
            std::thread::sleep(TAKEN_BACK);
            // The first turn makes bridges, tables and processes.
            if turn > 0 {
                times[index].add(time);
            }
        }
    }
    let [without, with] = times.map(|sample| sample.median().unwrap_or_default());
    table.row([
        format!("run -d, {what}"),
        site.name.to_owned(),
        show(without),
        show(with),
        difference(without, with),
        turns.to_string(),
    ]);
    Ok(())
}

/// Memory of a range, of a daemon that has done nothing of the kind before: it would have room for it already.
fn hold(site: &mut Site, what: &str, range: &str, turns: usize, table: &mut Table) -> Result<()> {
    let mut sizes = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..turns {
        for (index, publication) in [&[][..], &["-p", range]].into_iter().enumerate() {
            site.restart()?;
            // Before it makes netd.
            let ledger = Ledger::open(site.pid()?)?;
            site.ok(&[&["run", "-d", "--name", "first", "-p", "19999:80"], &SLEEP[..]].concat())?;
            std::thread::sleep(SETTLED);
            let before = [held_by_processes(site)?, ledger.kernel()?];
            site.ok(&[&["run", "-d", "--name", "many"], publication, &SLEEP].concat())?;
            std::thread::sleep(SETTLED);
            let after = [held_by_processes(site)?, ledger.kernel()?];
            for (sizes, (before, after)) in sizes.iter_mut().zip(before.into_iter().zip(after)) {
                sizes[index].push(i64::try_from(after)? - i64::try_from(before)?);
            }
            site.ok(&["rm", "-f", "first", "many"])?;
        }
    }
    for (whose, sizes) in ["of the daemon and netd", "of the kernel for them"]
        .into_iter()
        .zip(sizes)
    {
        let [without, with] = sizes.map(|mut sizes| {
            sizes.sort_unstable();
            sizes.get(sizes.len() / 2).copied().unwrap_or_default()
        });
        let size = |kib: i64| format!("{kib} KiB");
        table.row([
            format!("memory {whose}, {what}"),
            site.name.to_owned(),
            size(without),
            size(with),
            size(with - without),
            turns.to_string(),
        ]);
    }
    Ok(())
}

/// The daemon's work for one port when there are ten thousand: starts with and without, by the API, in turn.
fn one_more(site: &Site, turns: usize, table: &mut Table) -> Result<()> {
    let socket = site.place().socket();
    for (what, range) in std::iter::once(("when there is no other", None))
        .chain(RANGES.map(|(_, range)| ("when there are ten thousand", Some(range))))
    {
        if let Some(range) = range {
            site.ok(&[&["run", "-d", "--name", "many", "-p", range], &SLEEP[..]].concat())?;
        }
        let mut samples = [Sample::default(), Sample::default()];
        for turn in 0..turns + 2 {
            // Who is first has no advantage.
            let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                let time = start(&socket, index == 1)?;
                if turn > 1 {
                    samples[index].add(time);
                }
            }
        }
        let [without, with] = samples.map(|sample| sample.median().unwrap_or_default());
        let own = match range {
            None => String::new(),
            Some(range) => format!(" ({range})"),
        };
        table.row([
            format!("start with one port, {what}{own}"),
            site.name.to_owned(),
            show(without),
            show(with),
            difference(without, with),
            turns.to_string(),
        ]);
        if range.is_some() {
            site.ok(&["rm", "-f", "many"])?;
        }
    }
    Ok(())
}

/// Returns how long the start of a container took that was made for it, and is removed.
fn start(socket: &Path, publishes: bool) -> Result<Duration> {
    let bindings = if publishes {
        serde_json::json!({ "80/tcp": [{ "HostPort": "8080" }] })
    } else {
        serde_json::json!({})
    };
    let body = serde_json::json!({
        "Image": "busybox",
        "Cmd": &SLEEP[1..],
        "ExposedPorts": { "80/tcp": {} },
        "HostConfig": { "PortBindings": bindings },
    });
    let made = http::request(
        socket,
        "POST",
        "/v1.41/containers/create?name=one",
        Some(&body.to_string()),
    )?;
    if made.status != 201 {
        bail!("create: {}", made.body);
    }
    let begin = Instant::now();
    let started = http::request(socket, "POST", "/v1.41/containers/one/start", None)?;
    let time = begin.elapsed();
    if started.status != 204 {
        bail!("start: {}", started.body);
    }
    let gone = http::request(socket, "DELETE", "/v1.41/containers/one?force=1", None)?;
    if gone.status != 204 {
        bail!("remove: {}", gone.body);
    }
    Ok(time)
}

/// Connections of the outside to a published port, alone and among ten thousand, in turn.
fn connect(site: &Site, effort: Effort, table: &mut Table) -> Result<()> {
    const PORT: u16 = 8080;
    let (container, _) = site.start("web", &[&["-p", "8080:80"], &SLEEP[..]].concat())?;
    let listener = container.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))??;
    listener.set_nonblocking(true)?;
    // A server that gets no processor for a few milliseconds would lose the 129th, which comes again a second later.
    rustix::net::listen(&listener, 4096)?;
    let address = SocketAddr::new(MACHINE.parse()?, PORT);
    let count = effort.of(500, 5000);
    let mut samples = [Sample::default(), Sample::default()];
    let turns = effort.of(2, 9);
    for _ in 0..turns {
        connections(&site.outside, &listener, address, count, &mut samples[0])?;
        if site.name == "berth" {
            let (_, range) = RANGES[1];
            site.ok(&[&["run", "-d", "--name", "many", "-p", range], &SLEEP[..]].concat())?;
            connections(&site.outside, &listener, address, count, &mut samples[1])?;
            site.ok(&["rm", "-f", "many"])?;
        }
    }
    site.ok(&["rm", "-f", "web"])?;
    for percent in [50, 90] {
        let [alone, among] = samples.each_ref().map(|sample| sample.percentile(percent));
        table.row([
            format!("connecting from outside, {percent} %, alone and among them"),
            site.name.to_owned(),
            alone.map(show).unwrap_or_default(),
            among.map(show).unwrap_or_else(|| "not measured".to_owned()),
            match (alone, among) {
                (Some(alone), Some(among)) => difference(alone, among),
                _ => String::new(),
            },
            format!("{turns} × {count}"),
        ]);
    }
    let [alone, among] = samples.map(|sample| rate(&sample));
    table.row([
        "connections a second, one after the other".to_owned(),
        site.name.to_owned(),
        alone,
        among,
        String::new(),
        format!("{turns} × {count}"),
    ]);
    Ok(())
}

/// Connects `count` times, one after the other; each ends by a reset, so that nothing is left to wait for.
fn connections(
    from: &Host,
    listener: &TcpListener,
    to: SocketAddr,
    count: usize,
    sample: &mut Sample,
) -> Result<()> {
    std::thread::scope(|scope| {
        // As long as somebody connects: one that fails must not leave the server waiting.
        let (end, ends) = rustix::pipe::pipe()?;
        let server = scope.spawn(move || serve(listener, &end));
        let done = from.inside(|| -> Result<()> {
            for _ in 0..count {
                let begin = Instant::now();
                let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).context("connect")?;
                sample.add(begin.elapsed());
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
            Ok(())
        });
        drop(ends);
        server.join().ok().context("the server panicked")??;
        done?
    })
}

/// Accepts whoever connects until the other end of `end` is closed.
fn serve(listener: &TcpListener, end: &OwnedFd) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        if fds[0].revents().contains(PollFlags::IN) {
            // It may be gone already: a reset is how each of them ends.
            drop(listener.accept());
        } else if !fds[1].revents().is_empty() {
            return Ok(());
        }
    }
}

fn rate(sample: &Sample) -> String {
    match sample.mean() {
        Some(mean) => format!("{:.0}", 1.0 / mean.as_secs_f64()),
        None => "not measured".to_owned(),
    }
}

/// Returns what the daemon and netd hold for themselves, in KiB, without what the kernel holds for them.
fn held_by_processes(site: &Site) -> Result<u64> {
    let mut pids = vec![site.pid()?];
    for process in residue::processes(site.place())? {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        if name.trim() == "berth-netd" {
            pids.push(u32::try_from(process.pid)?);
        }
    }
    pids.into_iter().map(|pid| Ok(memory::of(pid)?.private)).sum()
}
