//! Namespaces that are made before there is a container.

use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxNamespaceType;
use shim_api::task::Task;

use crate::host::{self, Host};

const KINDS: [&str; 4] = ["user", "net", "ipc", "uts"];

/// Returns the children of a process.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect()
}

fn namespace(pid: u32, kind: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

/// Waits until the spare shim waits with its sandbox; returns both processes.
async fn spare(host: &Host) -> (u32, u32) {
    let own = namespace(std::process::id(), "net");
    let mut found = None;
    until("a sandbox", || {
        found = children(host.zygote_pid()).into_iter().find_map(|shim| {
            let holder = *children(shim).first()?;
            (namespace(holder, "net") != own).then_some((shim, holder))
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns whether a process has ended, reaped or not.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
}

/// Returns the CPUs that a process may run on.
fn cpus(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed:"));
    line.unwrap().to_owned()
}

fn task(host: &Host, script: &str) -> Box<Task> {
    let mut task = host.task(script);
    host::own_user_namespace(host, &mut task);
    task
}

#[tokio::test]
async fn a_container_gets_the_namespaces_that_were_made_ahead() {
    let host = Host::new().await;
    let (shim, holder) = spare(&host).await;
    let ahead = KINDS.map(|kind| namespace(holder, kind).unwrap());
    let script = "id -u; cat /proc/self/uid_map /proc/sys/kernel/hostname /proc/self/cgroup; \
                  busybox ip link show lo; kill -0 1 && echo first; sleep 1000";
    let (mut client, attach) = host::client(host::all());
    let (connection, mut events, started) = host::start(&host, task(&host, script), vec![attach]).await;
    host::read_until(&mut client, "first").await;
    assert_eq!(connection.shim_pid().unwrap().unsigned_abs(), shim);
    let pid = started.pid.unsigned_abs();
    assert_eq!(KINDS.map(|kind| namespace(pid, kind).unwrap()), ahead);
    for kind in ["mnt", "pid", "cgroup"] {
        assert_ne!(
            namespace(pid, kind),
            namespace(std::process::id(), kind),
            "{kind}"
        );
    }
    // PID 1 is the shim's child and in the container's cgroup, and nobody holds the namespaces but the container.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_eq!(parent, shim.to_string());
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let controllers = cgroups.lines().filter(|line| !line.contains(":name="));
    for line in controllers {
        assert!(line.ends_with(&host.cgroup_path()), "{line}");
    }
    // Each was kept off a CPU when it was woken.
    for process in [pid, shim] {
        assert_eq!(cpus(process), cpus(host.zygote_pid()));
    }
    until("the holder's end", || has_ended(holder)).await;
    connection.signal(None, 9, true).await.unwrap();
    assert_eq!(host::exited(&mut events).await.code, 137);
    let logged = host.logged();
    let words: Vec<&str> = logged.split_whitespace().collect();
    assert_eq!(words[..5], ["0", "0", "700000", "65536", "test"], "{logged}");
    assert!(
        logged.contains("LOOPBACK,UP") && logged.ends_with("first\n"),
        "{logged}"
    );
    assert!(
        logged
            .lines()
            .filter(|line| line.contains(":/"))
            .all(|line| line.ends_with(":/")),
        "{logged}"
    );
}

#[tokio::test]
async fn what_does_not_fit_is_made_without_it() {
    let host = Host::new().await;
    let (_, holder) = spare(&host).await;
    let mut task = task(&host, "cat /proc/self/uid_map");
    let linux = task.spec.linux_mut().as_mut().unwrap();
    let namespaces = linux.namespaces_mut().as_mut().unwrap();
    namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Ipc);
    let (_connection, mut events, _) = host::start(&host, task, Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.code, 0);
    assert!(host.logged().contains("700000"), "{}", host.logged());
    until("the holder's end", || has_ended(holder)).await;
}

#[tokio::test]
async fn a_failed_start_in_a_sandbox_leaves_nothing() {
    let host = Host::new().await;
    let (shim, holder) = spare(&host).await;
    let mut task = task(&host, "");
    let process = task.spec.process_mut().as_mut().unwrap();
    process.set_args(Some(vec!["/bin/nothing".to_owned()]));
    let connection = host.new_shim().await;
    let error = connection.start(task, Vec::new(), None, 0).await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    connection.closed().await;
    until("the end of both", || has_ended(shim) && has_ended(holder)).await;
    let cgroup = format!("/sys/fs/cgroup/pids{}", host.cgroup_path());
    assert!(!Path::new(&cgroup).exists() && !host.socket().exists());
}

#[tokio::test]
async fn a_holder_ends_with_its_shim_and_with_the_zygote() {
    let mut host = Host::new().await;
    let (shim, holder) = spare(&host).await;
    let pid = rustix::process::Pid::from_raw(shim.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("the holder's end", || has_ended(holder)).await;
    // The next container has none, and is made all the same.
    let (_connection, mut events, _) = host::start(&host, task(&host, "exit 4"), Vec::new()).await;
    assert_eq!(host::exited(&mut events).await.code, 4);
    let (shim, holder) = spare(&host).await;
    host.stop_zygote();
    until("the end of both", || has_ended(shim) && has_ended(holder)).await;
}
