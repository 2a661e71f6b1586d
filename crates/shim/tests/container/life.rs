//! Start, signals, the exit record, reconnecting, and the shim's own death.

use oci_spec::runtime::{LinuxMemoryBuilder, LinuxNamespaceType, LinuxResourcesBuilder};
use shim_api::client::{RequestError, ShimConnection};
use shim_api::message::{Event, State};
use shim_api::task::RestartPolicy;

use crate::host::{self, Host};

#[tokio::test]
async fn exit_codes_and_output_are_reported() {
    let host = Host::new().await;
    let task = host.task("echo out; echo err >&2; printf tail; exit 7");
    let (shim, mut events, started) = host::start(&host, task, Vec::new()).await;
    assert!(started.pid > 1 && shim.shim_pid().is_some());
    let record = host::exited(&mut events).await;
    assert_eq!((record.code, record.signal, record.oom_killed), (7, None, false));
    assert_eq!(host.exit_record(), Some(record.clone()));
    assert!(record.started_at <= record.finished_at);
    let mut lines: Vec<String> = host.logged().split_inclusive('\n').map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines.concat().replace('\n', ""), ["err", "out", "tail"].concat());
    assert_eq!(shim.state().await.unwrap(), State::Exited { record });
    shim.release().await.unwrap();
    assert!(host::next(&mut events).await.is_none());
    assert!(!host.socket().exists());
    let cgroup = format!("/sys/fs/cgroup/pids{}", host.cgroup_path());
    assert!(!std::path::Path::new(&cgroup).exists());
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_the_start() {
    let host = Host::new().await;
    let mut task = host.task("");
    let process = task.spec.process_mut().as_mut().unwrap();
    process.set_args(Some(vec!["/bin/nothing".to_owned()]));
    let shim = host.new_shim().await;
    match shim.start(task, Vec::new(), None, 0).await {
        Err(RequestError::Failed(failure)) => {
            assert_eq!((failure.step.as_str(), failure.errno), ("exec", 2), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    shim.closed().await;
    assert!(!host.socket().exists() && host.exit_record().is_none());
}

#[tokio::test]
async fn signals_reach_the_container() {
    let host = Host::new().await;
    let task = host.task("trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.01; done");
    let (mut client, attach) = host::client(host::all());
    let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    host::read_until(&mut client, "ready").await;
    shim.signal(None, 10, false).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 3);

    let host = Host::new().await;
    let (shim, mut events, _) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;
    shim.signal(None, 9, true).await.unwrap();
    let record = host::exited(&mut events).await;
    assert_eq!((record.code, record.signal), (137, Some(9)));
    assert!(shim.signal(None, 9, false).await.is_err());
}

#[tokio::test]
async fn the_record_is_there_when_the_event_comes_and_without_a_daemon() {
    let mut host = Host::new().await;
    let mut task = host.task("cat; exit 4");
    (task.stdin, task.stdin_once, task.auto_remove) = (true, true, false);
    let (client, attach) = host::client(host::all());
    let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
    let pid = shim.shim_pid().unwrap();
    assert!(matches!(
        host::next(&mut events).await,
        Some(Event::Running { .. })
    ));
    // The daemon dies: its connections, its clients' and the zygote go away.
    drop((shim, events));
    host.stop_zygote();
    drop(client);
    host::until("the shim ends by itself", || !host::is_alive(pid)).await;
    assert_eq!(host.exit_record().unwrap().code, 4);
    assert!(!host.socket().exists());
}

#[tokio::test]
async fn the_next_daemon_finds_the_container() {
    let mut host = Host::new().await;
    let task = host.task("echo one; sleep 1000");
    let (shim, _, started) = host::start(&host, task, Vec::new()).await;
    let pid = shim.shim_pid();
    drop(shim);
    host.stop_zygote();
    let shim = ShimConnection::connect(&host.socket()).await.unwrap();
    assert_eq!(shim.shim_pid(), pid);
    let mut events = shim.subscribe().await.unwrap();
    match host::next(&mut events).await {
        Some(Event::Running {
            pid,
            started_at,
            restart_count,
        }) => {
            assert_eq!(
                (pid, started_at, restart_count),
                (started.pid, started.started_at, 0)
            );
        }
        other => panic!("{other:?}"),
    }
    // It runs, but may not have come to its first line.
    host::until("its line", || host.logged() == "one\n").await;
    shim.signal(None, 9, false).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 137);
    let late = ShimConnection::connect(&host.socket()).await.unwrap();
    let mut late_events = late.subscribe().await.unwrap();
    assert_eq!(host::exited(&mut late_events).await.code, 137);
    assert_eq!(host.logged(), "one\n");
}

#[tokio::test]
async fn the_death_of_the_shim_is_the_death_of_the_container() {
    let host = Host::new().await;
    let (shim, mut events, started) = host::start(&host, host.task("sleep 1000"), Vec::new()).await;
    host::kill(shim.shim_pid().unwrap());
    while host::next(&mut events).await.is_some() {}
    assert!(matches!(shim.state().await, Err(RequestError::Gone)));
    host::until("PID 1 is gone", || !host::is_alive(started.pid)).await;
    // A new shim takes over the stale socket and the cgroup.
    let (_shim, mut events, _) = host::start(&host, host.task("exit 5"), Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.code, 5);
}

#[tokio::test]
async fn nothing_is_lost_in_a_rotated_log() {
    let host = Host::new().await;
    let mut task = host.task("seq 1 20000");
    task.log.options = [("max-size", "100k"), ("max-file", "100"), ("compress", "true")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.code, 0);
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(host.logged() == expected);
}

#[tokio::test]
async fn an_oom_kill_is_told_and_recorded() {
    let host = Host::new().await;
    let mut task = host.task("dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 0.2; exit 1");
    let memory = LinuxMemoryBuilder::default()
        .limit(16 << 20)
        .swap(16 << 20)
        .build()
        .unwrap();
    let resources = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    task.spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .set_resources(Some(resources));
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    let mut told = false;
    let record = loop {
        match host::next(&mut events).await.unwrap() {
            Event::OutOfMemory => told = true,
            Event::Exited { record } => break record,
            _ => {}
        }
    };
    assert!(told && record.oom_killed, "{record:?}");
    assert_eq!(record.code, 1);
}

#[tokio::test]
async fn without_a_pid_namespace_nothing_survives_the_container() {
    let host = Host::new().await;
    let mut task = host.task("sleep 1000 & echo $!; exit 2");
    let linux = task.spec.linux_mut().as_mut().unwrap();
    let namespaces = linux.namespaces().clone().unwrap();
    let others = namespaces
        .into_iter()
        .filter(|namespace| namespace.typ() != LinuxNamespaceType::Pid);
    linux.set_namespaces(Some(others.collect()));
    task.restart = RestartPolicy::OnFailure { maximum: 1 };
    let (_shim, mut events, _) = host::start(&host, task, Vec::new()).await;
    let record = host::exited(&mut events).await;
    assert_eq!((record.code, record.restart_count, record.error), (2, 1, None));
    let pids: Vec<i32> = host.logged().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    host::until("the processes left behind are gone", || {
        !pids.iter().any(|pid| host::is_alive(*pid))
    })
    .await;
}

#[tokio::test]
async fn a_new_start_waits_for_the_last_shim_to_clean_up() {
    let host = Host::new().await;
    for _ in 0..20 {
        let (shim, mut events, _) = host::start(&host, host.task("exit 1"), Vec::new()).await;
        host::exited(&mut events).await;
        let release = tokio::spawn(async move { shim.release().await });
        let (shim, mut events, _) = host::start(&host, host.task("sleep 0.05; exit 3"), Vec::new()).await;
        assert_eq!(host::exited(&mut events).await.code, 3);
        release.await.unwrap().unwrap();
        shim.release().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_prepared_and_is_not_started_is_taken_back() {
    let host = Host::new().await;
    let cgroup = format!("/sys/fs/cgroup/pids{}", host.cgroup_path());
    let wait_until = async |is_there: bool| {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::path::Path::new(&cgroup).exists() != is_there {
            assert!(tokio::time::Instant::now() < deadline, "wanted: {is_there}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let task = serde_json::value::to_raw_value(&host.task("true")).unwrap();
    for is_told in [true, false] {
        let shim = host.new_shim().await;
        shim.prepare(&task, None).unwrap();
        wait_until(true).await;
        if is_told {
            shim.release().await.unwrap();
            assert!(!std::path::Path::new(&cgroup).exists(), "before the reply");
        }
        drop(shim);
        wait_until(false).await;
    }
    let (shim, mut events, _) = host::start(&host, host.task("exit 3"), Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.code, 3);
    shim.release().await.unwrap();
}

#[tokio::test]
async fn many_containers_of_one_zygote_at_once() {
    let host = Host::new().await;
    let start = async |number: u8| {
        let mut task = host.task(&format!("echo {number}; exit {number}"));
        for path in [
            &mut task.socket,
            &mut task.exit_record,
            &mut task.document,
            &mut task.log.path,
        ] {
            path.as_mut_os_string().push(format!(".{number}"));
        }
        let cgroup = format!("{}/{number}", host.cgroup_path());
        let linux = task.spec.linux_mut().as_mut().unwrap();
        linux.set_cgroups_path(Some(cgroup.into()));
        let (mut client, attach) = host::client(host::all());
        let (shim, mut events, _) = host::start(&host, task, vec![attach]).await;
        let record = host::exited(&mut events).await;
        assert_eq!(record.code, number);
        assert_eq!(
            host::split(&host::read_all(&mut client).await).0,
            format!("{number}\n")
        );
        shim.release().await.unwrap();
    };
    let mut starts: Vec<_> = (0..32).map(|number| Box::pin(start(number))).collect();
    // All at once on this thread: each is polled until it is done.
    std::future::poll_fn(|context| {
        starts.retain_mut(|start| start.as_mut().poll(context).is_pending());
        if starts.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
