//! One connection: requests in, answers out, bent by the rules.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::lie::Lie;
use super::request::{Body, Seen, head};
use super::{Shared, auth};

pub(super) fn connection(stream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match &shared.tls {
        None => requests(stream.try_clone()?, stream, shared),
        Some(config) => {
            let session = rustls::ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            let socket = stream.try_clone()?;
            requests(rustls::StreamOwned::new(session, socket), stream, shared)
        }
    }
}

fn requests(mut stream: impl Read + Write, socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let seen = match head(&mut stream, &mut buffer) {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(()),
            Err(error) => {
                // What Go's server says to one who speaks TLS to it.
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")?;
                stream.flush()?;
                return Err(error);
            }
        };
        let (index, lie) = {
            let mut state = shared.lock();
            state.seen.push(seen.clone());
            let rule = state
                .rules
                .iter_mut()
                .find(|rule| rule.fits(&seen.method, &seen.target));
            let lie = rule.map(|rule| {
                rule.times = rule.times.saturating_sub(1);
                rule.lie.clone()
            });
            (state.seen.len() - 1, lie)
        };
        let body = match body(&mut stream, socket, &mut buffer, shared, &seen, lie.as_ref()) {
            Ok(body) => body,
            Err(error) => {
                note(shared, index, |seen| seen.status = 0);
                return Err(error);
            }
        };
        note(shared, index, |seen| seen.body = body.len() as u64);
        let answer = answer(shared, &seen, &body, lie.as_ref());
        note(shared, index, |seen| seen.status = answer.status);
        if !write(&mut stream, socket, shared, &seen, index, answer, lie)? {
            return Ok(());
        }
    }
}

/// Reads the body; what is cut off of an upload's piece is kept as a real registry keeps it.
fn body(
    stream: &mut impl Read,
    socket: &TcpStream,
    buffer: &mut Vec<u8>,
    shared: &Shared,
    seen: &Seen,
    lie: Option<&Lie>,
) -> io::Result<Vec<u8>> {
    let most = match lie {
        Some(Lie::CutRequest(most) | Lie::StallRequest(most)) => *most,
        _ => usize::MAX,
    };
    let mut reader = Body::of(seen);
    let mut body = Vec::new();
    while body.len() < most {
        let piece = reader.next(stream, buffer, most - body.len())?;
        if piece.is_empty() {
            return Ok(body);
        }
        body.extend_from_slice(&piece);
    }
    if seen.method == "PATCH"
        && let Some(upload) = shared.lock().store.uploads.get_mut(seen.path())
    {
        upload.extend_from_slice(&body);
    }
    if let Some(Lie::StallRequest(_)) = lie {
        shared.wait_for_the_end();
    }
    reset(socket)?;
    Err(io::ErrorKind::ConnectionReset.into())
}

fn answer(shared: &Shared, seen: &Seen, body: &[u8], lie: Option<&Lie>) -> Answer {
    match lie {
        Some(Lie::Answer(status, headers, body)) => {
            let mut answer = Answer::new(*status).body(body.clone());
            for (name, value) in headers {
                answer.set(name, value);
            }
            return answer;
        }
        Some(Lie::Redirect(location)) => return Answer::new(307).header("Location", location),
        _ => {}
    }
    if seen.path() == "/token" {
        return auth::token(shared, seen, &String::from_utf8_lossy(body));
    }
    if let Some(refusal) = auth::refusal(shared, seen) {
        return refusal;
    }
    let mut answer = shared.lock().store.answer(seen, body);
    if answer.ranges && !matches!(lie, Some(Lie::NoRange)) {
        take_range(seen, &mut answer);
    }
    answer
}

/// Cuts the body to what `Range: bytes=FIRST-[LAST]` asks for.
fn take_range(seen: &Seen, answer: &mut Answer) {
    answer.set("Accept-Ranges", "bytes");
    let Some(range) = seen
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="))
    else {
        return;
    };
    let (first, last) = range.split_once('-').unwrap_or((range, ""));
    let total = answer.body.len();
    let first: usize = first.parse().unwrap_or(0);
    let end = last
        .parse()
        .map_or(total, |last: usize| total.min(last.saturating_add(1)));
    if first >= end {
        answer.status = 416;
        answer.body.clear();
        answer.set("Content-Range", &format!("bytes */{total}"));
        return;
    }
    answer.status = 206;
    answer.set("Content-Range", &format!("bytes {first}-{}/{total}", end - 1));
    answer.body = answer.body[first..end].to_vec();
}

/// Sends the answer and returns whether the connection may be used again.
fn write(
    stream: &mut (impl Read + Write),
    socket: &TcpStream,
    shared: &Shared,
    seen: &Seen,
    index: usize,
    mut answer: Answer,
    lie: Option<Lie>,
) -> io::Result<bool> {
    match &lie {
        Some(Lie::Silence) => {
            shared.wait_for_the_end();
            return Ok(false);
        }
        Some(Lie::Hangup) => return close(socket),
        Some(Lie::Raw(bytes)) => {
            stream.write_all(bytes)?;
            stream.flush()?;
            return close(socket);
        }
        Some(Lie::Flip(at)) => {
            if let Some(byte) = answer.body.get_mut(*at) {
                *byte ^= 1;
            }
        }
        Some(Lie::Body(body)) => answer.body.clone_from(body),
        _ => {}
    }
    let length = match &lie {
        Some(Lie::Length(length)) => *length,
        _ => answer.body.len() as u64,
    };
    if !matches!(lie, Some(Lie::NoLength)) && answer.status != 204 {
        answer.set("Content-Length", &length.to_string());
    }
    if let Some(Lie::Headers(headers)) = &lie {
        for (name, value) in headers {
            answer.set(name, value);
        }
    }
    let mut head = format!("HTTP/1.1 {} Test\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if let Some(Lie::SlowHead(pause)) = &lie {
        for byte in head.as_bytes() {
            stream.write_all(&[*byte])?;
            stream.flush()?;
            pause_for(shared, *pause)?;
        }
    } else {
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
    }
    let body = if seen.method == "HEAD" {
        &[][..]
    } else {
        &answer.body
    };
    let most = match &lie {
        Some(Lie::Stall(most) | Lie::Reset(most) | Lie::Slow(_, _, most)) => body.len().min(*most),
        _ => body.len(),
    };
    let (piece, pause) = match &lie {
        Some(Lie::Slow(piece, pause, _)) => (*piece, Some(*pause)),
        _ => (64 << 10, None),
    };
    for piece in body[..most].chunks(piece) {
        stream.write_all(piece)?;
        note(shared, index, |seen| seen.sent += piece.len() as u64);
        if let Some(pause) = pause {
            pause_for(shared, pause)?;
        }
    }
    stream.flush()?;
    match lie {
        Some(Lie::Stall(_)) => {
            shared.wait_for_the_end();
            Ok(false)
        }
        Some(Lie::Slow(..)) if most == body.len() => Ok(true),
        Some(Lie::Reset(_) | Lie::Slow(..)) => {
            drain(shared, socket)?;
            reset(socket)?;
            Ok(false)
        }
        Some(Lie::NoLength | Lie::Length(_)) => close(socket),
        _ => Ok(true),
    }
}

fn note(shared: &Shared, index: usize, change: impl FnOnce(&mut Seen)) {
    // The log may have been emptied meanwhile.
    if let Some(seen) = shared.lock().seen.get_mut(index) {
        change(seen);
    }
}

fn pause_for(shared: &Shared, pause: Duration) -> io::Result<()> {
    std::thread::sleep(pause);
    if shared.is_stopping() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

fn close(socket: &TcpStream) -> io::Result<bool> {
    socket.shutdown(std::net::Shutdown::Both)?;
    Ok(false)
}

/// Waits until the peer's kernel has everything that was sent, for two seconds at most: it may read no more.
fn drain(shared: &Shared, socket: &TcpStream) -> io::Result<()> {
    let ports = [socket.local_addr()?.port(), socket.peer_addr()?.port()].map(|port| format!(":{port:04X}"));
    for _ in 0..2000 {
        let table = std::fs::read_to_string("/proc/self/net/tcp")?;
        let mut lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = lines.find(|fields| {
            fields.len() > 4 && fields[1].ends_with(&ports[0]) && fields[2].ends_with(&ports[1])
        });
        if own.is_none_or(|fields| fields[4].starts_with("00000000:")) {
            break;
        }
        pause_for(shared, Duration::from_millis(1))?;
    }
    Ok(())
}

/// Makes the end of the connection a reset.
fn reset(socket: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    Ok(())
}
