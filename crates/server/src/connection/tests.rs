use std::sync::Mutex;

use tokio::net::UnixStream;

use super::*;

#[test]
fn tells_old_hijacks_from_the_rest() {
    for (head, expected) in [
        ("GET /_ping HTTP/1.1\r\n", "other"),
        ("POST /containers/create HTTP/1.1\r\n", "other"),
        ("POST /containers/x/start HTTP/1.1\r\n", "other"),
        ("POST", "more"),
        ("POST /containers/x/atta", "more"),
        (
            "POST /v1.24/containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\n",
            "more",
        ),
        (
            "POST /v1.24/containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n",
            "hijack",
        ),
        (
            "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}",
            "hijack",
        ),
        (
            "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n\r\n",
            "other",
        ),
        (
            "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n",
            "other",
        ),
        ("POST /exec/x/start HTTP/1.1\r\nHost d\r\n\r\n", "other"),
        ("\r\n\r\n", "other"),
    ] {
        let found = match classify(head.as_bytes()) {
            None => "more",
            Some(First::Hijack { .. }) => "hijack",
            Some(First::Other) => "other",
            Some(First::Nothing) => "nothing",
        };
        assert_eq!(found, expected, "{head}");
    }
}

/// Answers `/attach` with a stream, `/silent` with a body that never comes, `/query` with the query, and all else with
/// its body.
#[derive(Default)]
struct Fake {
    stopping: CancellationToken,
    shim: Mutex<Option<UnixStream>>,
    silent: Mutex<Option<tokio::sync::mpsc::Sender<io::Result<Bytes>>>>,
}

impl Service for Fake {
    async fn answer(self: Arc<Self>, _peer: Peer, request: Request<Body>) -> Reply {
        let path = request.uri().path().to_owned();
        if path.ends_with("/attach") || path.starts_with("/exec/") {
            let first = futures_util::stream::iter([Bytes::from_static(b"first ")]).boxed();
            let shim = self.shim.lock().unwrap().take();
            return Reply::Hijack(Hijack::of_docker(first, shim, reply::RAW_STREAM));
        }
        if path == "/silent" {
            let (sender, receiver) = reply::channel();
            *self.silent.lock().unwrap() = Some(sender);
            return reply::stream("text/plain", receiver);
        }
        if path == "/query" {
            let query = request.uri().query().unwrap_or_default().to_owned();
            return reply::typed(http::StatusCode::OK, "text/plain", reply::full(query));
        }
        let body = request
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        reply::typed(http::StatusCode::OK, "text/plain", reply::full(body))
    }

    fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }
}

struct Fixture {
    client: UnixStream,
    shim: UnixStream,
    fake: Arc<Fake>,
    serving: tokio::task::JoinHandle<io::Result<()>>,
}

fn fixture() -> Fixture {
    let (client, server) = UnixStream::pair().unwrap();
    let (ours, shim) = UnixStream::pair().unwrap();
    let fake = Arc::new(Fake::default());
    *fake.shim.lock().unwrap() = Some(ours);
    let peer = Peer::Unix { uid: 0, pid: None };
    let serving = tokio::spawn(serve(server, peer, Arc::clone(&fake)));
    Fixture {
        client,
        shim,
        fake,
        serving,
    }
}

async fn read_all(stream: &mut UnixStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    all
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn an_upgrade_becomes_a_stream() {
    let Fixture {
        mut client,
        mut shim,
        serving,
        ..
    } = fixture();
    let request =
        "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for line in [
        "connection: upgrade",
        "upgrade: tcp",
        "content-type: application/vnd.docker.raw-stream",
        "api-version: 1.50",
    ] {
        assert!(lower.contains(line), "{line} is not in {head}");
    }
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut shim).await, "early late");
    shim.write_all(b"output").await.unwrap();
    drop(shim);
    assert_eq!(read_all(&mut client).await, "first output");
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn old_clients_get_200_and_raw_bytes() {
    let Fixture {
        mut client,
        mut shim,
        serving,
        ..
    } = fixture();
    // In pieces, as a slow client sends it.
    for piece in [
        "POST /exec/x/st",
        "art HTTP/1.1\r\nHost: d\r\nContent-Len",
        "gth: 2\r\n\r\n{",
        "}stdin",
    ] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut shim).await, "stdin");
    drop(shim);
    let all = read_all(&mut client).await;
    assert_eq!(
        all,
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nfirst "
    );
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn quotes_in_a_query_are_taken_byte_by_byte_and_on_later_requests() {
    const REQUESTS: &str = concat!(
        "POST /echo?x=\"1\" HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\n\"GET ",
        "GET /query?filters={\"name\":[\"c1\"]} HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /query?last=\"2\" HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    );
    for size in [1, 2, 7, 20, 64, REQUESTS.len()] {
        let Fixture {
            mut client, serving, ..
        } = fixture();
        for piece in REQUESTS.as_bytes().chunks(size) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let all = read_all(&mut client).await;
        let bodies = ["\"GET ", "filters={%22name%22:[%22c1%22]}", "last=%222%22"];
        assert_eq!(all.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{size}: {all}");
        for body in bodies {
            assert!(all.contains(&format!("\r\n\r\n{body}")), "{size}: {all}");
        }
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let Fixture {
        mut client, serving, ..
    } = fixture();
    client
        .write_all(b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let all = read_all(&mut client).await;
    assert!(
        all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nhello"),
        "{all}"
    );
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_head_of_a_stream_comes_at_once_and_a_vanished_reader_is_noticed() {
    let Fixture {
        mut client,
        fake,
        serving,
        ..
    } = fixture();
    client
        .write_all(b"GET /silent HTTP/1.1\r\nHost: d\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let sender = fake.silent.lock().unwrap().take().unwrap();
    drop(client);
    sender.closed().await;
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_ends_idle_connections() {
    let Fixture {
        mut client,
        fake,
        serving,
        ..
    } = fixture();
    client
        .write_all(b"GET /x HTTP/1.1\r\nHost: d\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    fake.stopping.cancel();
    assert_eq!(read_all(&mut client).await, "");
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn nonsense_is_refused() {
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "POST /exec/x/start HTTP/9.9\r\n\r\n",
    ] {
        let Fixture {
            mut client, serving, ..
        } = fixture();
        client.write_all(nonsense.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let all = read_all(&mut client).await;
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 4"), "{all}");
        serving.await.unwrap().unwrap();
    }
}
