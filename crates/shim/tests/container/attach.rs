//! Clients: multiplexing, stdin, terminals, detach keys, slow ones.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{self, Host};

#[tokio::test]
async fn every_client_gets_every_byte_of_its_streams() {
    let host = Host::new().await;
    let (mut both, first) = host::client(host::all());
    let mut options = host::all();
    options.stderr = false;
    let (mut stdout, second) = host::client(options);
    let task = host.task("echo out; echo err >&2");
    let (_shim, mut events, _) = host::start(&host, task, vec![first, second]).await;
    let expected = ("out\n".to_owned(), "err\n".to_owned());
    assert_eq!(host::split(&host::read_all(&mut both).await), expected);
    assert_eq!(
        host::split(&host::read_all(&mut stdout).await),
        ("out\n".to_owned(), String::new())
    );
    assert_eq!(host::exited(&mut events).await.code, 0);
}

#[tokio::test]
async fn a_half_close_ends_stdin_and_output_still_comes() {
    let host = Host::new().await;
    let mut task = host.task("cat; echo end");
    (task.stdin, task.stdin_once) = (true, true);
    let (mut client, attach) = host::client(host::all());
    let (_shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    let input = "a line\n".repeat(100_000);
    let (mut reader, mut writer) = client.split();
    let write = async {
        writer.write_all(input.as_bytes()).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut output = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut output));
    read.unwrap();
    let (stdout, _) = host::split(&output);
    assert!(stdout == format!("{input}end\n"));
    assert_eq!(host::exited(&mut events).await.code, 0);
}

#[tokio::test]
async fn stdin_stays_open_for_the_next_client_unless_once() {
    let host = Host::new().await;
    let mut task = host.task("while read line; do echo got $line; done");
    task.stdin = true;
    let (mut first, attach) = host::client(host::all());
    let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    first.write_all(b"one\n").await.unwrap();
    host::read_until(&mut first, "got one").await;
    drop(first);
    let (mut second, attach) = host::client(host::all());
    shim.attach(attach).await.unwrap();
    second.write_all(b"two\n").await.unwrap();
    host::read_until(&mut second, "got two").await;
    shim.signal(None, 9, false).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 137);
}

#[tokio::test]
async fn a_terminal_has_its_size_and_raw_output() {
    let host = Host::new().await;
    let mut task = host.task("stty size; read x; stty size; echo done");
    task.spec.process_mut().as_mut().unwrap().set_terminal(Some(true));
    task.stdin = true;
    host.write_document(&task);
    let (mut client, attach) = host::client(host::all());
    let shim = host.new_shim().await;
    let mut events = shim.subscribe().await.unwrap();
    shim.start(task, vec![attach], Some((11, 22)), 0).await.unwrap();
    host::read_until(&mut client, "11 22\r\n").await;
    shim.resize(None, 33, 44).await.unwrap();
    client.write_all(b"\n").await.unwrap();
    let rest = String::from_utf8(host::read_all(&mut client).await).unwrap();
    assert!(rest.contains("33 44\r\ndone\r\n"), "{rest:?}");
    assert_eq!(host::exited(&mut events).await.code, 0);
    assert!(host.logged().contains("done\r\n"));
}

#[tokio::test]
async fn detach_keys_end_the_client_and_not_the_container() {
    let host = Host::new().await;
    let mut task = host.task("echo ready; read line; echo got $line");
    task.spec.process_mut().as_mut().unwrap().set_terminal(Some(true));
    (task.stdin, task.stdin_once) = (true, true);
    let (mut client, attach) = host::client(host::all());
    let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    host::read_until(&mut client, "ready").await;
    client.write_all(b"\x10\x11").await.unwrap();
    host::read_all(&mut client).await;
    let (mut second, attach) = host::client(host::all());
    shim.attach(attach).await.unwrap();
    second.write_all(b"again\n").await.unwrap();
    host::read_until(&mut second, "got again").await;
    assert_eq!(host::exited(&mut events).await.code, 0);
}

#[tokio::test]
async fn an_onlooker_that_does_not_read_does_not_stop_the_container() {
    let host = Host::new().await;
    let mut task = host.task("read go; yes | head -c 3000000; echo end");
    (task.stdin, task.stdin_once) = (true, true);
    task.log.driver = "none".to_owned();
    let (mut client, attach) = host::client(host::all());
    let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    let (idle, attach) = host::client(host::all());
    shim.attach(attach).await.unwrap();
    client.write_all(b"go\n").await.unwrap();
    let began = std::time::Instant::now();
    let (stdout, _) = host::split(&host::read_all(&mut client).await);
    assert!(stdout.len() > 3_000_000 && stdout.ends_with("y\nend\n"));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(host::exited(&mut events).await.code, 0);
    drop(idle);
}
