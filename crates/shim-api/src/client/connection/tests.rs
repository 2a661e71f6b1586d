//! A shim played by a thread.

use super::*;

fn pair() -> (ShimConnection, OwnedFd) {
    let (ours, theirs) = stream_pair().unwrap();
    (ShimConnection::over(ours, None), theirs)
}

#[tokio::test]
async fn replies_match_requests_and_events_come_between() {
    let (connection, shim) = pair();
    let player = std::thread::spawn(move || {
        let mut decoder = Decoder::default();
        frame::send(shim.as_fd(), &Hello { hello: 42 }, &[]).unwrap();
        while let Some(request) = decoder.wait_for::<Request>(shim.as_fd()).unwrap() {
            let reply = match request {
                Request::Subscribe => continue,
                Request::Attach(options) => {
                    let streams = decoder.take_fds(1).unwrap();
                    drop(streams);
                    assert!(options.stdin);
                    Reply::Done
                }
                Request::Signal { signal, .. } => {
                    frame::send(shim.as_fd(), &Event::OutOfMemory, &[]).unwrap();
                    Reply::Failed(Failure {
                        step: "signal".to_owned(),
                        message: format!("{signal}"),
                        errno: 3,
                    })
                }
                _ => Reply::Done,
            };
            frame::send(shim.as_fd(), &reply, &[]).unwrap();
        }
    });
    let mut events = connection.subscribe().await.unwrap();
    let (_client, stream) = stream_pair().unwrap();
    let options = AttachOptions {
        stdin: true,
        ..AttachOptions::default()
    };
    let (attached, signalled, resized) = tokio::join!(
        connection.attach(Attach { options, stream }),
        connection.signal(None, 9, true),
        connection.resize(Some("x"), 24, 80),
    );
    attached.unwrap();
    assert!(matches!(signalled, Err(RequestError::Failed(failure)) if failure.errno == 3));
    resized.unwrap();
    assert_eq!(connection.shim_pid(), Some(42));
    assert!(matches!(events.next().await, Some(Event::OutOfMemory)));
    drop((connection, events));
    player.join().unwrap();
}

#[tokio::test]
async fn a_death_fails_requests_and_ends_events() {
    let (connection, shim) = pair();
    let mut events = connection.subscribe().await.unwrap();
    let player = std::thread::spawn(move || {
        let mut decoder = Decoder::default();
        while let Some(request) = decoder.wait_for::<Request>(shim.as_fd()).unwrap() {
            if matches!(request, Request::Release) {
                break;
            }
        }
    });
    assert!(matches!(connection.release().await, Err(RequestError::Gone)));
    assert!(events.next().await.is_none());
    connection.closed().await;
    assert!(matches!(connection.state().await, Err(RequestError::Gone)));
    player.join().unwrap();
}

#[tokio::test]
async fn requests_larger_than_the_socket_buffer_are_sent_whole() {
    let (connection, shim) = pair();
    let long = "x".repeat(3 << 20);
    let player = std::thread::spawn(move || {
        let mut decoder = Decoder::default();
        let mut lengths = Vec::new();
        while let Some(request) = decoder.wait_for::<Request>(shim.as_fd()).unwrap() {
            if let Request::Resize {
                exec_id: Some(id), ..
            } = request
            {
                lengths.push(id.len());
            }
            frame::send(shim.as_fd(), &Reply::Done, &[]).unwrap();
        }
        lengths
    });
    for _ in 0..3 {
        connection.resize(Some(&long), 1, 1).await.unwrap();
    }
    let huge = "x".repeat(5 << 20);
    assert!(matches!(
        connection.resize(Some(&huge), 1, 1).await,
        Err(RequestError::TooLarge { .. })
    ));
    drop(connection);
    assert_eq!(player.join().unwrap(), vec![long.len(); 3]);
}

#[tokio::test]
async fn nobody_at_the_socket_is_said_so() {
    let error = ShimConnection::connect(Path::new("/nonexistent/shim.sock"))
        .await
        .unwrap_err();
    assert!(error.is_gone());
}
