//! 50 clients pulling at once from `berth registry serve` and from docker-registry: throughput, processor time and memory
//! of each server. Both serve the same blob over loopback, and take turns.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::registry_server::RegistryServer;

use super::Effort;
use crate::memory::show;
use crate::table::Table;

/// How many clients pull at once.
const CLIENTS: usize = 50;

/// Runs the comparison.
pub fn measure(effort: Effort) -> Result<Table> {
    let title = format!("registry: {CLIENTS} clients pull one blob at once");
    let mut table = Table::new(
        &title,
        &["server", "throughput", "processor time per GiB", "largest memory"],
    );
    let megabytes = effort.of(16, 64);
    let blob = blob(megabytes << 20);
    let mut servers = vec![("berth", RegistryServer::berth(&[])?)];
    match RegistryServer::docker("")? {
        Some(server) => servers.push(("docker-registry", server)),
        None => table.row(["docker-registry", "not installed"]),
    }
    let mut results = Vec::new();
    for (name, server) in &mut servers {
        let path = push(server, &blob)?;
        // A push leaves memory behind that pulls do not need.
        server.stop()?;
        server.launch()?;
        results.push((*name, path, Vec::new(), Duration::ZERO));
    }
    for _ in 0..effort.of(2, 7) {
        for ((_, server), (_, path, times, processor)) in servers.iter().zip(&mut results) {
            let before = processor_time(server)?;
            times.push(pull(server, path, blob.len())?);
            *processor += processor_time(server)?.saturating_sub(before);
        }
    }
    for ((_, server), (name, _, mut times, processor)) in servers.iter().zip(results) {
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let mebibytes = f64_of(megabytes * CLIENTS);
        let gibibytes = mebibytes / 1024.0 * f64_of(times.len());
        table.row([
            name.to_owned(),
            format!("{:.0} MiB/s", mebibytes / median.as_secs_f64()),
            format!("{:.0} ms", processor.as_secs_f64() * 1000.0 / gibibytes),
            show(peak(server)?),
        ]);
    }
    Ok(table)
}

fn f64_of(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// Returns bytes that no disk or network makes smaller.
fn blob(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Pushes the blob and returns its path.
fn push(server: &RegistryServer, blob: &[u8]) -> Result<String> {
    let answer = server
        .request("POST", "/v2/bench/blobs/uploads/", &[], b"")?
        .expect(202)?;
    let location = answer.header("location").context("no location")?;
    let path = location.find("/v2/").map_or(location, |at| &location[at..]);
    let digest = digest(server, blob)?;
    let join = if path.contains('?') { '&' } else { '?' };
    server
        .request("PUT", &format!("{path}{join}digest={digest}"), &[], blob)?
        .expect(201)?;
    Ok(format!("/v2/bench/blobs/{digest}"))
}

fn digest(server: &RegistryServer, blob: &[u8]) -> Result<String> {
    let path = server.directory().join("blob");
    std::fs::File::create_new(&path)?.write_all(blob)?;
    let mut sum = std::process::Command::new("sha256sum");
    let output = testkit::command::run(sum.arg(&path), b"")?.text()?;
    std::fs::remove_file(&path)?;
    let hex = output.split_whitespace().next().context("sha256sum")?;
    Ok(format!("sha256:{hex}"))
}

/// Lets all clients pull at once and returns how long the last one took.
fn pull(server: &RegistryServer, path: &str, length: usize) -> Result<Duration> {
    let start = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (start, address, path) = (Arc::clone(&start), server.address().to_owned(), path.to_owned());
            std::thread::spawn(move || {
                start.wait();
                pull_once(&address, &path, length)
            })
        })
        .collect();
    start.wait();
    let begin = Instant::now();
    for client in clients {
        client
            .join()
            .map_err(|_panic| anyhow::anyhow!("a client failed"))??;
    }
    Ok(begin.elapsed())
}

fn pull_once(address: &str, path: &str, length: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => received += count,
        }
    }
    if received < length {
        bail!("{received} bytes instead of {length}");
    }
    Ok(())
}

/// Returns the processor time that the server has used (proc(5): `utime` and `stime`, in hundredths of a second).
fn processor_time(server: &RegistryServer) -> Result<Duration> {
    let pid = server.pid().context("the registry does not run")?;
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
fn peak(server: &RegistryServer) -> Result<u64> {
    let pid = server.pid().context("the registry does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .context("VmHWM")?;
    Ok(number.parse()?)
}
