//! Bytes on the API socket as a hostile client writes them, and the figures of the daemon that they must not move.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::Daemon;

/// Connects; reading waits at most 20 seconds.
pub(crate) fn connect(daemon: &Daemon) -> Result<UnixStream> {
    let stream = UnixStream::connect(daemon.place().socket()).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Sends `bytes` as they are and reads until the daemon closes or is silent for `limit`.
pub(crate) fn exchange(daemon: &Daemon, bytes: &[u8], limit: Duration) -> Result<String> {
    let mut stream = connect(daemon)?;
    stream.set_read_timeout(Some(limit))?;
    // The daemon may answer and close before it has read all.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    let mut buffer = [0; 16384];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Posts a body of any kind; returns status and body.
pub(crate) fn post(daemon: &Daemon, path: &str, kind: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = exchange(daemon, &request, Duration::from_secs(60))?;
    Ok((status(&answer), answer))
}

/// Returns the status of the first answer; 0 without one.
pub(crate) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// Returns a figure in KiB of the daemon's `/proc/<pid>/status`: `VmHWM`, `VmRSS`.
pub(crate) fn memory(daemon: &Daemon, key: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()?))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .with_context(|| format!("no {key}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Returns how many file descriptors the daemon has open.
pub(crate) fn descriptors(daemon: &Daemon) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()?))?.count())
}
