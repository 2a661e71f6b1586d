use std::io::{Read, Write};

use super::*;

fn ask(registry: &LyingRegistry, request: &str) -> String {
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{request}\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    // A reset is one of the answers under test.
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn it_tells_the_truth_until_it_lies() {
    let registry = LyingRegistry::start().unwrap();
    let digest = registry.add_blob(b"0123456789");
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nRange: bytes=4-5");
    assert!(ask(&registry, &get).ends_with("\r\n\r\n45"));
    registry.lie(Rule::once("GET", "/blobs/", Lie::NoRange));
    assert!(ask(&registry, &get).ends_with("\r\n\r\n0123456789"));
    registry.lie(Rule::once("GET", "/blobs/", Lie::Reset(1)));
    assert!(!ask(&registry, &get).ends_with("45"));
    registry.lie(Rule::once("", "/v2/", Lie::later(503, 1)));
    assert!(ask(&registry, "GET /v2/ HTTP/1.1").starts_with("HTTP/1.1 503"));
    assert!(ask(&registry, "GET /v2/ HTTP/1.1").starts_with("HTTP/1.1 200"));
    assert_eq!(registry.count("GET", "/blobs/"), 3);
    assert_eq!(registry.seen()[0].header("range"), Some("bytes=4-5"));
}

#[test]
fn resets_are_resets() {
    let registry = LyingRegistry::start().unwrap();
    registry.lie(Rule::once("GET", "/v2/", Lie::Reset(1)));
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    write!(stream, "GET /v2/ HTTP/1.1\r\n\r\n").unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn stalled_answers_end_with_the_registry() {
    let registry = LyingRegistry::start().unwrap();
    registry.lie(Rule::always("", "", Lie::Silence));
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    write!(stream, "GET /v2/ HTTP/1.1\r\n\r\n").unwrap();
    registry
        .wait_for("GET", "/v2/", 1, Duration::from_secs(10))
        .unwrap();
    drop(registry);
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    assert!(bytes.is_empty());
}

#[test]
fn uploads_and_tokens() {
    let registry = LyingRegistry::start().unwrap();
    let digest = digest(b"abc");
    let begun = ask(
        &registry,
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0",
    );
    assert!(begun.contains("Location: /v2/a/blobs/uploads/1\r\n"), "{begun}");
    ask(
        &registry,
        "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0",
    );
    let put = format!("PUT /v2/a/blobs/uploads/1?digest={digest} HTTP/1.1\r\nContent-Length: 1\r\n\r\nc");
    assert!(ask(&registry, &put).starts_with("HTTP/1.1 201"));
    assert_eq!(registry.blob(&digest).as_deref(), Some(&b"abc"[..]));
    registry.set_auth(Auth::Bearer {
        realm: String::new(),
        user: None,
        refresh_token: String::new(),
        expires_in: 60,
    });
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1");
    assert!(ask(&registry, &get).contains("scope=\"repository:a:pull\""));
    let token = ask(&registry, "GET /token?scope=repository:a:pull HTTP/1.1");
    assert!(token.contains("token-0-"), "{token}");
}
