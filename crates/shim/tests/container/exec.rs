//! More processes in a running container.

use oci_spec::runtime::Process;
use shim_api::client::stream_pair;
use shim_api::message::{AttachOptions, ExecRequest};
use tokio::io::AsyncWriteExt;

use crate::host::{self, Host};

fn request(id: &str, process: Process, attach: Option<AttachOptions>) -> Box<ExecRequest> {
    Box::new(ExecRequest {
        id: id.to_owned(),
        process,
        user: None,
        groups: Vec::new(),
        privileged: false,
        attach,
        console_size: Some((5, 6)),
    })
}

#[tokio::test]
async fn codes_streams_and_signals_of_execs() {
    let host = Host::new().await;
    let (shim, mut events, _) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;

    let (mut client, stream) = stream_pair().unwrap();
    let script = host::process("read line; echo out $line; echo err >&2; exit 9");
    shim.exec(request("one", script, Some(host::all())), Some(stream))
        .await
        .unwrap();
    client.write_all(b"in\n").await.unwrap();
    let expected = ("out in\n".to_owned(), "err\n".to_owned());
    assert_eq!(host::split(&host::read_all(&mut client).await), expected);
    assert_eq!(host::exec_exited(&mut events, "one").await, 9);

    shim.exec(request("two", host::process("sleep 1000"), None), None)
        .await
        .unwrap();
    shim.signal(Some("two"), 15, false).await.unwrap();
    assert_eq!(host::exec_exited(&mut events, "two").await, 143);
    assert!(shim.signal(Some("two"), 15, false).await.is_err());

    let mut missing = host::process("");
    missing.set_args(Some(vec!["/nothing".to_owned()]));
    let error = shim
        .exec(request("three", missing, None), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/nothing"), "{error}");

    shim.signal(None, 9, false).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 137);
    assert_eq!(host.logged(), "");
}

#[tokio::test]
async fn a_half_close_ends_an_execs_stdin() {
    let host = Host::new().await;
    let (shim, mut events, _) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;
    let (mut client, stream) = stream_pair().unwrap();
    shim.exec(
        request("cat", host::process("cat"), Some(host::all())),
        Some(stream),
    )
    .await
    .unwrap();
    client.write_all(b"text").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(host::split(&host::read_all(&mut client).await).0, "text");
    assert_eq!(host::exec_exited(&mut events, "cat").await, 0);
}

#[tokio::test]
async fn an_exec_may_have_a_terminal() {
    let host = Host::new().await;
    let (shim, mut events, _) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;
    let (mut client, stream) = stream_pair().unwrap();
    let mut process = host::process("stty size; read x; stty size");
    process.set_terminal(Some(true));
    shim.exec(request("tty", process, Some(host::all())), Some(stream))
        .await
        .unwrap();
    host::read_until(&mut client, "5 6\r\n").await;
    shim.resize(Some("tty"), 7, 8).await.unwrap();
    client.write_all(b"\n").await.unwrap();
    host::read_until(&mut client, "7 8\r\n").await;
    assert_eq!(host::exec_exited(&mut events, "tty").await, 0);
}

#[tokio::test]
async fn a_process_left_behind_by_an_exec_does_not_hold_up_its_exit() {
    let host = Host::new().await;
    let (shim, mut events, _) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;
    let (mut client, stream) = stream_pair().unwrap();
    let script = host::process("(sleep 1000; echo late) & echo early");
    shim.exec(request("daemon", script, Some(host::all())), Some(stream))
        .await
        .unwrap();
    assert_eq!(host::exec_exited(&mut events, "daemon").await, 0);
    assert_eq!(host::split(&host::read_all(&mut client).await).0, "early\n");
    shim.signal(None, 9, true).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 137);
}
