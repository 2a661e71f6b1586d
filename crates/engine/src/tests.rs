//! The engine over plain directories, with shims that only speak the protocol.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use base::file::{Durability, write_atomic};
use shim_api::frame::{self, Decoder};
use shim_api::message::{Event, Reply, Request};
use shim_api::task::ExitRecord;

use crate::config::{Config, HostConfig, RootfsRequest};
use crate::container::{
    AttachRequest, Condition, CreateError, CreateRequest, ListRequest, RemoveRequest, StopRequest, attach,
    create, inspect, list, remove, rename, start, stop, wait,
};
use crate::{Engine, EngineConfig, UserNamespaceDefault};

/// Roots of a test's own; removed at its end.
pub(crate) struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("berth-engine-{}-{name}", std::process::id()));
        std::fs::create_dir_all(directory.join("rootfs")).unwrap();
        Self { directory }
    }

    async fn open(&self) -> Arc<Engine> {
        let without = crate::NetworkConfig {
            bridge: "none".to_owned(),
            ..crate::NetworkConfig::default()
        };
        self.open_with(without).await
    }

    pub(crate) async fn open_with(&self, network: crate::NetworkConfig) -> Arc<Engine> {
        // No program that knows how to be a zygote: every start fails, which is what these tests want.
        Engine::open(EngineConfig {
            data_root: self.directory.join("data"),
            exec_root: self.directory.join("exec"),
            storage_driver: None,
            cgroup_parent: format!("/berth-test-{}", std::process::id()),
            user_namespace: UserNamespaceDefault::Private,
            seccomp_profile: None,
            log_driver: "json-file".to_owned(),
            kept_logs: crate::container::KeptLogLimits::DEFAULT,
            log_options: Default::default(),
            default_ulimits: Vec::new(),
            default_shm_size: 64 << 20,
            default_pids_limit: 2048,
            init: false,
            no_new_privileges: false,
            shim_executable: "/bin/true".into(),
            shim_arguments: Vec::new(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            max_concurrent_downloads: 3,
            policy: None,
            network,
            labels: Vec::new(),
            debug: false,
        })
        .await
        .unwrap()
    }

    pub(crate) fn request(&self, name: &str) -> CreateRequest {
        CreateRequest {
            name: Some(name.to_owned()),
            platform: None,
            config: Config {
                cmd: Some(vec!["true".to_owned()]),
                ..Config::default()
            },
            host: HostConfig {
                rootfs: Some(RootfsRequest {
                    path: self.directory.join("rootfs"),
                    overlay: true,
                }),
                ..HostConfig::default()
            },
            starts: false,
        }
    }

    fn container_directory(&self, id: &str) -> PathBuf {
        self.directory.join("data/containers").join(id)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.join("data").join(directory)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let begun = Instant::now();
        // What is deferred may still be under way.
        while let Err(error) = crate::files::remove_tree(&self.directory) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Writes a state as a daemon that was killed would have left it.
fn forge(engine: &Arc<Engine>, id: &str, change: impl Fn(&mut crate::container::StateRecord)) {
    let container = engine.registry.get(id).unwrap();
    let mut state = container.state_record(&engine.host.boot_id);
    change(&mut state);
    let state = crate::daemon::encode(&state);
    engine
        .write(|batch| batch.set_container_state(id, &state))
        .unwrap();
}

fn running(state: &mut crate::container::StateRecord) {
    state.status = crate::container::Status::Running;
    state.started_at = Timestamp::now();
}

fn exit_record(code: u8) -> ExitRecord {
    ExitRecord {
        code,
        signal: None,
        oom_killed: false,
        started_at: Timestamp::now(),
        finished_at: Timestamp::now(),
        restart_count: 0,
        error: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_create_to_remove() {
    let sandbox = Sandbox::new("life");
    let engine = sandbox.open().await;
    let created = create(&engine, sandbox.request("one")).await.unwrap();
    let id = created.id.as_str();
    let taken = create(&engine, sandbox.request("/one")).await.unwrap_err();
    assert!(matches!(&taken, CreateError::NameInUse { holder, .. } if *holder == created.id));
    assert!(
        taken
            .to_string()
            .starts_with("Conflict. The container name \"/one\" is already in use by container")
    );
    rename(&engine, "one", "two").await.unwrap();
    assert_eq!(
        inspect(&engine, "one", false).await.unwrap_err().to_string(),
        "No such container: one"
    );
    for name in ["two", "/two", id, &id[..10]] {
        assert_eq!(inspect(&engine, name, false).await.unwrap().view.id, created.id);
    }
    assert_eq!(list(&engine, ListRequest::default()).await.unwrap().len(), 0);
    let all = ListRequest {
        all: true,
        ..ListRequest::default()
    };
    assert_eq!(list(&engine, all).await.unwrap()[0].status_text, "Created");
    // What is deferred counts as work.
    engine.close().await;
    assert!(engine.is_idle());
    let waiter = wait(&engine, "two", Condition::Removed).unwrap();
    remove(&engine, "two", RemoveRequest::default()).await.unwrap();
    assert_eq!(waiter.ended().await.code, 0);
    engine.close().await;
    assert!(!sandbox.container_directory(id).exists());
    assert!(engine.storage.snapshots().unwrap().is_empty());
    assert_eq!(engine.store.containers().unwrap().0, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_started_at_once_is_recorded_without_a_start_too() {
    let sandbox = Sandbox::new("late");
    let engine = sandbox.open().await;
    let request = CreateRequest {
        starts: true,
        ..sandbox.request("late")
    };
    let id = create(&engine, request).await.unwrap().id;
    assert_eq!(engine.store.containers().unwrap().0, [], "its start records it");
    let path = engine.cgroup_path("", id.as_str());
    let begun = Instant::now();
    while engine.store.containers().unwrap().0.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cgroup::Cgroup::open(&engine.host.cgroups, &path).expect("its groups are made");
    // Another one does not wait that long: whatever changes is recorded with it.
    let request = CreateRequest {
        starts: true,
        ..sandbox.request("other")
    };
    create(&engine, request).await.unwrap();
    rename(&engine, "other", "named").await.unwrap();
    let names = engine.store.containers().unwrap().0;
    assert!(names.iter().any(|row| row.name == "named"));
    // Nor does the end of the daemon.
    let request = CreateRequest {
        starts: true,
        ..sandbox.request("last")
    };
    create(&engine, request).await.unwrap();
    engine.close().await;
    assert_eq!(engine.store.containers().unwrap().0.len(), 3);
    for name in ["late", "named", "last"] {
        remove(&engine, name, RemoveRequest::default()).await.unwrap();
    }
    engine.close().await;
    while cgroup::Cgroup::open(&engine.host.cgroups, &path).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "a group stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_waited_for_when_its_container_is_gone_but_for_its_record() {
    let sandbox = Sandbox::new("leaving");
    let engine = sandbox.open().await;
    let first = create(&engine, sandbox.request("one")).await.unwrap().id;
    let container = engine.registry.get(first.as_str()).unwrap();
    engine.registry.hide(&container);
    assert!(engine.registry.find("one").is_err());
    let (worker, request) = (Arc::clone(&engine), sandbox.request("one"));
    let second = tokio::spawn(async move { create(&worker, request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    engine
        .write_of(&container, |batch| batch.remove_container(first.as_str()))
        .unwrap();
    engine.registry.forget(&container);
    let second = second.await.unwrap().unwrap().id;
    assert_eq!(engine.registry.find("one").unwrap().id, second);
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_leave_nothing() {
    let sandbox = Sandbox::new("wrong");
    let engine = sandbox.open().await;
    let mut requests = Vec::new();
    for change in [
        |request: &mut CreateRequest| request.host.resources.memory = 1,
        |request: &mut CreateRequest| request.host.binds = vec!["made:/x".to_owned(), "x:/x".to_owned()],
        |request: &mut CreateRequest| request.host.log.driver = "syslog".to_owned(),
        |request: &mut CreateRequest| request.name = Some("a b".to_owned()),
        |request: &mut CreateRequest| request.config.cmd = None,
        |request: &mut CreateRequest| request.host.pid_mode = "container:nobody".to_owned(),
        |request: &mut CreateRequest| request.host.extra_hosts = vec!["x:y".to_owned()],
    ] {
        let mut request = sandbox.request("wrong");
        change(&mut request);
        requests.push(request);
    }
    for request in requests {
        let error = create(&engine, request).await.unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Invalid | Kind::Unsupported),
            "{error}"
        );
    }
    assert!(sandbox.names("containers").is_empty());
    assert!(engine.volumes.list().is_empty());
    assert!(engine.storage.snapshots().unwrap().is_empty());
    create(&engine, sandbox.request("wrong")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_a_shim_fails_and_can_be_removed() {
    let sandbox = Sandbox::new("start");
    let engine = sandbox.open().await;
    create(&engine, sandbox.request("one")).await.unwrap();
    let error = start(&engine, "one").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    let view = inspect(&engine, "one", false).await.unwrap().view;
    assert_eq!((view.status.as_str(), view.exit.code), ("created", 128));
    let container = engine.registry.find("one").unwrap();
    let task = crate::container::task::build(&engine, &container).unwrap();
    assert_eq!(
        task.spec.process().as_ref().unwrap().args().as_ref().unwrap(),
        &["true"]
    );
    assert!(task.seccomp_filter.is_some_and(|path| path.exists()));
    let mappings = task
        .spec
        .linux()
        .as_ref()
        .unwrap()
        .uid_mappings()
        .clone()
        .unwrap();
    assert_eq!((mappings[0].host_id(), mappings[0].size()), (0x1000_0000, 65_536));
    engine.close().await;
    assert!(engine.is_idle());
    remove(&engine, "one", RemoveRequest::default()).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_brings_everything_to_the_records() {
    let sandbox = Sandbox::new("recovery");
    let engine = sandbox.open().await;
    let mut ids = Vec::new();
    for name in ["ended", "lost", "gone", "idle", "damaged"] {
        let mut request = sandbox.request(name);
        request.host.auto_remove = name == "gone";
        ids.push(create(&engine, request).await.unwrap().id.to_string());
    }
    for id in &ids[..3] {
        forge(&engine, id, running);
    }
    // What a shim wrote while no daemon ran.
    for index in [0, 2] {
        let record = serde_json::to_vec(&exit_record(7)).unwrap();
        let path = engine
            .layout
            .exit_record(&ids[index].parse().unwrap(), index == 2);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_atomic(&path, &record, 0o600, Durability::Crash).unwrap();
    }
    engine
        .write(|batch| batch.set_container_config(&ids[4], "{"))
        .unwrap();
    let orphan = sandbox.container_directory(&"a".repeat(64));
    std::fs::create_dir(&orphan).unwrap();
    engine.close().await;
    drop(engine);

    let engine = sandbox.open().await;
    let state = |name: &str| {
        let view = engine.registry.find(name).unwrap().view();
        (view.status.as_str(), view.exit.code)
    };
    assert_eq!(state("ended"), ("exited", 7));
    assert_eq!(state("lost"), ("exited", 137));
    assert_eq!(state("idle"), ("created", 0));
    assert!(engine.registry.find("gone").is_err());
    assert!(engine.registry.find("damaged").is_err());
    engine.close().await;
    assert!(!orphan.exists());
    assert!(!sandbox.container_directory(&ids[2]).exists());
    assert!(
        sandbox.container_directory(&ids[4]).exists(),
        "a damaged container keeps its data"
    );
    assert!(engine.is_idle());
}

/// Serves one connection as a shim does: says that it runs; SIGTERM ends it with code 3.
fn fake_shim(socket: &Path) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut decoder = Decoder::default();
        let pid = i32::try_from(std::process::id()).unwrap();
        while let Ok(Some(request)) = decoder.wait_for::<Request>(stream.as_fd()) {
            match request {
                Request::Subscribe => {
                    let event = Event::Running {
                        pid,
                        started_at: Timestamp::now(),
                        restart_count: 2,
                    };
                    frame::send(stream.as_fd(), &event, &[]).unwrap();
                }
                Request::Release => {
                    frame::send(stream.as_fd(), &Reply::Done, &[]).unwrap();
                    return;
                }
                Request::Signal { signal, .. } => {
                    frame::send(stream.as_fd(), &Reply::Done, &[]).unwrap();
                    if signal == 15 {
                        let record = exit_record(3);
                        frame::send(stream.as_fd(), &Event::Exited { record }, &[]).unwrap();
                    }
                }
                _ => frame::send(stream.as_fd(), &Reply::Done, &[]).unwrap(),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_shim_is_found_and_stopped() {
    let sandbox = Sandbox::new("adopt");
    let engine = sandbox.open().await;
    let id = create(&engine, sandbox.request("one")).await.unwrap().id;
    forge(&engine, id.as_str(), running);
    let socket = engine.layout.shim(&id);
    engine.close().await;
    drop(engine);
    let shim = fake_shim(&socket);
    let engine = sandbox.open().await;
    let view = inspect(&engine, "one", false).await.unwrap().view;
    assert_eq!((view.status.as_str(), view.restart_count), ("running", 2));
    assert!(!engine.is_idle());
    let error = remove(&engine, "one", RemoveRequest::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("container is running: stop the container before removing or force remove")
    );
    let waiter = wait(&engine, "one", Condition::NextExit).unwrap();
    stop(&engine, "one", StopRequest::default()).await.unwrap();
    assert_eq!(waiter.ended().await.code, 3);
    shim.join().unwrap();
    remove(&engine, "one", RemoveRequest::default()).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_data_root_one_daemon() {
    let sandbox = Sandbox::new("lock");
    let engine = sandbox.open().await;
    let config = engine.config.clone();
    let error = Engine::open(config).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
}

/// Starting fails here, for want of a zygote, with code 128: that tells which ones were tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_starts_what_docker_would() {
    type Change = fn(&mut crate::container::StateRecord);
    let stopped: Change = |state| {
        state.status = crate::container::Status::Exited;
        state.exit.code = 5;
        state.stopped = true;
    };
    let ended: Change = |state| {
        state.status = crate::container::Status::Exited;
        state.exit.code = 5;
    };
    let rebooted: Change = |state| {
        running(state);
        state.boot_id = "another".to_owned();
    };
    let cases: [(&str, &str, Change, i64); 9] = [
        ("always-stopped", "always", stopped, 128),
        ("always-ended", "always", ended, 128),
        ("always-rebooted", "always", rebooted, 128),
        ("unless-stopped-stopped", "unless-stopped", stopped, 5),
        ("unless-stopped-ended", "unless-stopped", ended, 128),
        ("unless-stopped-rebooted", "unless-stopped", rebooted, 128),
        ("on-failure-ended", "on-failure", ended, 5),
        ("on-failure-rebooted", "on-failure", rebooted, 137),
        ("no-rebooted", "no", rebooted, 137),
    ];
    let sandbox = Sandbox::new("boot");
    let engine = sandbox.open().await;
    for (name, policy, change, _) in cases {
        let mut request = sandbox.request(name);
        request.host.restart.name = policy.to_owned();
        let id = create(&engine, request).await.unwrap().id;
        forge(&engine, id.as_str(), change);
    }
    let mut request = sandbox.request("never-started");
    request.host.restart.name = "always".to_owned();
    create(&engine, request).await.unwrap();
    engine.close().await;
    drop(engine);

    let engine = sandbox.open().await;
    for (name, _, _, code) in cases {
        let mut view = engine.registry.find(name).unwrap().view.subscribe();
        let seen = view.wait_for(|view| view.exit.code == code && !view.status.is_running());
        let seen = tokio::time::timeout(Duration::from_secs(10), seen).await;
        assert!(seen.is_ok(), "{name}");
    }
    let view = engine.registry.find("never-started").unwrap().view();
    assert_eq!((view.status.as_str(), view.exit.code), ("created", 0));
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_left_keeps_nobody_awake() {
    let sandbox = Sandbox::new("left");
    let engine = sandbox.open().await;
    create(&engine, sandbox.request("one")).await.unwrap();
    engine.close().await;
    let request = AttachRequest {
        logs: false,
        stream: true,
        stdin: true,
        stdout: true,
        stderr: true,
        detach_keys: None,
    };
    let attached = attach(&engine, "one", request).await.unwrap();
    assert!(!engine.is_idle());
    drop(attached);
    assert!(engine.is_idle());
    // The next daemon would start this one, so the present one has to stay.
    let mut request = sandbox.request("two");
    request.host.restart.name = "always".to_owned();
    let id = create(&engine, request).await.unwrap().id;
    engine.close().await;
    assert!(engine.is_idle());
    let container = engine.registry.get(id.as_str()).unwrap();
    container.publish(|view| view.status = crate::container::Status::Exited);
    assert!(!engine.is_idle());
}
