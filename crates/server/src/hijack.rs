//! Hijacked connections: bytes copied between a client and a shim until the output ends or the client is gone.
//!
//! ```text
//! client ──stdin──▶ shim     the client's half-close is passed on (it closes the container's stdin)
//! client ◀─output── shim     the shim's close ends the stream, whatever the client still has to say
//! client ◀── last ── daemon   in Berth's own calls: how it ended
//! ```

use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::reply::{Head, Hijack};

/// How long a client may take to read the head of a reply before the stream follows all the same, and how often it is
/// looked at.
const HEAD_PATIENCE: Duration = Duration::from_millis(200);
const HEAD_PAUSE: Duration = Duration::from_millis(1);
/// How long what a client sent before it left may take to reach the shim.
const LAST_INPUT: Duration = Duration::from_secs(1);

/// Copies until the shim closes its end, or until the client is gone. `early` was read from the client already.
pub(crate) async fn copy<C>(client: C, early: Bytes, hangup: Hangup, hijack: Hijack) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_reader, mut client_writer) = tokio::io::split(client);
    let mut first = hijack.first;
    let mut last = hijack.last;
    let sending = async {
        if hijack.head == Head::Apart {
            hangup.head_taken().await;
        }
        send(&mut first, &mut client_writer).await
    };
    // A client that has left already may have sent something before, which is passed on below.
    tokio::select! {
        sent = sending => drop(sent),
        () = hangup.wait() => {}
    }
    drop(first);
    let Some(shim) = hijack.stream else {
        tokio::select! {
            sent = send(&mut last, &mut client_writer) => sent?,
            () = hangup.wait() => return Ok(()),
        }
        return client_writer.shutdown().await;
    };
    let (mut shim_reader, mut shim_writer) = shim.into_split();
    let input = async {
        let mut copied = if early.is_empty() {
            Ok(())
        } else {
            shim_writer.write_all(&early).await
        };
        if copied.is_ok() {
            copied = pump(&mut client_reader, &mut shim_writer).await;
        }
        // A failed write is a shim that does not want stdin, or is done: its close of the other direction tells.
        if let Err(error) = copied {
            tracing::debug!(%error, "stdin was not wanted any more");
        }
        // The half-close closes the container's stdin.
        drop(shim_writer);
    };
    let output = async {
        let mut copied = pump(&mut shim_reader, &mut client_writer).await;
        // A shim that closes while input is left that nobody reads: an end as any other.
        if copied
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
        {
            copied = Ok(());
        }
        if copied.is_ok() {
            copied = send(&mut last, &mut client_writer).await;
        }
        // The client may have closed first.
        drop(client_writer.shutdown().await);
        copied
    };
    let (mut input, mut output) = (pin!(input), pin!(output));
    let mut input_has_ended = false;
    let (copied, client_has_left) = loop {
        tokio::select! {
            copied = &mut output => {
                let client_has_left = copied.is_err();
                break (copied, client_has_left);
            }
            () = &mut input, if !input_has_ended => input_has_ended = true,
            () = hangup.wait() => break (Ok(()), true),
        }
    };
    if client_has_left && !input_has_ended {
        // Who types a line and the detach keys is gone before the line was read here. It is short, or nobody wants it.
        drop(tokio::time::timeout(LAST_INPUT, input).await);
    }
    copied
}

async fn send<W>(chunks: &mut Pin<Box<dyn Stream<Item = Bytes> + Send>>, writer: &mut W) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while let Some(chunk) = chunks.next().await {
        writer.write_all(&chunk).await?;
    }
    Ok(())
}

async fn pump<R, W>(reader: &mut R, writer: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = reader.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        writer.write_all(&buffer[..length]).await?;
    }
}

/// Tells when the other end of a socket is closed for both directions, which reading alone cannot tell from a
/// half-close. It watches a copy of the fd, so that its readiness is nobody else's.
#[derive(Debug)]
pub(crate) struct Hangup(UnixStream);

impl Hangup {
    /// Watches `socket`, which may be of any family: only its readiness is used.
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        UnixStream::from_std(copy.into()).map(Self)
    }

    /// Waits until the other end is gone.
    pub(crate) async fn wait(&self) {
        loop {
            if self.0.writable().await.is_err() {
                return std::future::pending().await;
            }
            // The readiness is taken back before the look, so that a hang-up between the two wakes this task again.
            drop(self.0.try_io(Interest::WRITABLE, || {
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            }));
            if sys::socket::is_hung_up(&self.0) {
                return;
            }
        }
    }

    /// Waits until the client has read the head of the reply, but not for long. Docker answers before a process exists
    /// that could write, and clients rely on it: docker-py reads the head with a buffer that it then throws away, with
    /// whatever output came in the same read.
    async fn head_taken(&self) {
        let deadline = tokio::time::Instant::now() + HEAD_PATIENCE;
        // An error: not a socket that can tell.
        while matches!(sys::socket::is_drained(&self.0), Ok(false)) && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(HEAD_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hijack(stream: UnixStream, first: &'static [u8]) -> Hijack {
        let first = futures_util::stream::iter([Bytes::from_static(first)]);
        Hijack::of_docker(Box::pin(first), Some(stream), crate::reply::RAW_STREAM)
    }

    async fn read_all(stream: &mut UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn passes_half_closes_on() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let (ours, mut shim) = UnixStream::pair().unwrap();
        let hangup = Hangup::of(&server).unwrap();
        let copying = tokio::spawn(copy(
            server,
            Bytes::from_static(b"early "),
            hangup,
            hijack(ours, b"before "),
        ));
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut shim).await, b"early late");
        shim.write_all(b"output").await.unwrap();
        drop(shim);
        assert_eq!(read_all(&mut client).await, b"before output");
        copying.await.unwrap().unwrap();
    }

    /// Who types a line and then the detach keys has closed the connection before anybody looked at it.
    #[tokio::test]
    async fn what_was_sent_before_leaving_arrives() {
        for output in [&b""[..], b"output that nobody reads"] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let (ours, mut shim) = UnixStream::pair().unwrap();
            let hangup = Hangup::of(&server).unwrap();
            shim.write_all(output).await.unwrap();
            client.write_all(b"last line").await.unwrap();
            drop(client);
            // How it ends does not matter: the client is gone.
            drop(copy(server, Bytes::new(), hangup, hijack(ours, b"")).await);
            let mut line = [0; 9];
            shim.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"last line", "{output:?}");
        }
    }

    /// A client reads the head with a buffer that it then throws away.
    #[tokio::test]
    async fn output_is_not_read_together_with_the_head() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        let (ours, mut shim) = UnixStream::pair().unwrap();
        shim.write_all(b"output").await.unwrap();
        drop(shim);
        server.write_all(b"head").await.unwrap();
        let hangup = Hangup::of(&server).unwrap();
        let copying = tokio::spawn(copy(server, Bytes::new(), hangup, hijack(ours, b"")));
        tokio::time::sleep(HEAD_PAUSE * 20).await;
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(read_all(&mut client).await, b"output");
        copying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn ends_with_the_output_though_the_client_stays() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let (ours, shim) = UnixStream::pair().unwrap();
        let hangup = Hangup::of(&server).unwrap();
        let copying = tokio::spawn(copy(server, Bytes::new(), hangup, hijack(ours, b"")));
        drop(shim);
        assert_eq!(read_all(&mut client).await, b"");
        copying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_last_word_comes_also_when_input_was_left() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let (ours, mut shim) = UnixStream::pair().unwrap();
        let hangup = Hangup::of(&server).unwrap();
        let mut hijack = hijack(ours, b"");
        hijack.last = Box::pin(futures_util::stream::iter([Bytes::from_static(b"end")]));
        let copying = tokio::spawn(copy(server, Bytes::new(), hangup, hijack));
        client.write_all(b"input").await.unwrap();
        // It has come, and is not read.
        let mut one = [0; 1];
        shim.read_exact(&mut one).await.unwrap();
        drop(shim);
        assert_eq!(read_all(&mut client).await, b"end");
        copying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_vanished_client_ends_it() {
        let (client, server) = UnixStream::pair().unwrap();
        let (ours, mut shim) = UnixStream::pair().unwrap();
        let hangup = Hangup::of(&server).unwrap();
        let copying = tokio::spawn(copy(server, Bytes::new(), hangup, hijack(ours, b"")));
        drop(client);
        copying.await.unwrap().unwrap();
        assert_eq!(read_all(&mut shim).await, b"");
    }
}
