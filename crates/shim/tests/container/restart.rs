//! Restart policies, with a daemon and without.

use shim_api::client::ShimConnection;
use shim_api::message::{Event, State};
use shim_api::task::RestartPolicy;

use crate::host::{self, Host};

#[tokio::test]
async fn on_failure_stops_at_its_maximum() {
    let host = Host::new().await;
    let mut task = host.task("echo run; exit 6");
    task.restart = RestartPolicy::OnFailure { maximum: 2 };
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    let mut restarts = 0;
    let record = loop {
        match host::next(&mut events).await.unwrap() {
            Event::Restarting { last } => {
                assert_eq!(last.restart_count, restarts);
                restarts += 1;
            }
            Event::Running { restart_count, .. } => assert_eq!(restart_count, restarts),
            Event::Exited { record } => break record,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (record.code, record.restart_count, restarts),
        (6, 2, 2),
        "{record:?}"
    );
    assert_eq!(host.logged(), "run\n".repeat(3));
}

#[tokio::test]
async fn the_policy_works_without_a_daemon_until_somebody_stops_it() {
    let mut host = Host::new().await;
    let mut task = host.task("echo run");
    task.restart = RestartPolicy::Always;
    let (shim, events, _) = host::start(&host, task, Vec::new()).await;
    let pid = shim.shim_pid().unwrap();
    drop((shim, events));
    host.stop_zygote();
    host::until("three runs", || host.logged().lines().count() >= 3).await;
    let shim = ShimConnection::connect(&host.socket()).await.unwrap();
    let mut events = shim.subscribe().await.unwrap();
    shim.stop_restarting().await.unwrap();
    let record = host::exited(&mut events).await;
    assert!(record.restart_count >= 2);
    assert_eq!(shim.state().await.unwrap(), State::Exited { record });
    shim.release().await.unwrap();
    host::until("the shim has ended", || !host::is_alive(pid)).await;
}

#[tokio::test]
async fn a_changed_policy_applies_to_a_pending_restart() {
    let host = Host::new().await;
    let mut task = host.task("exit 1");
    task.restart = RestartPolicy::UnlessStopped;
    let (shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    while !matches!(host::next(&mut events).await, Some(Event::Restarting { .. })) {}
    shim.set_restart_policy(RestartPolicy::No).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 1);
}

#[tokio::test]
async fn a_restart_that_cannot_be_says_why() {
    let host = Host::new().await;
    let mut task = host.task("exit 1");
    task.restart = RestartPolicy::Always;
    host.write_document(&task);
    let document = task.document.clone();
    let shim = host.new_shim().await;
    let mut events = shim.subscribe().await.unwrap();
    shim.start(task, Vec::new(), None, 0).await.unwrap();
    std::fs::remove_file(document).unwrap();
    let record = host::exited(&mut events).await;
    assert_eq!(record.code, 128);
    assert!(
        record.error.as_deref().unwrap_or_default().contains("task.json"),
        "{record:?}"
    );
    assert_eq!(host.exit_record(), Some(record));
}
