//! How long creating, running and reaping a container takes: `timing ROUNDS BUNDLE [cgroup]`, where BUNDLE has a
//! `config.json` and, for an overlay, `lower`, `upper` and `work`.
#![expect(clippy::print_stdout, reason = "a measuring program")]

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oci::rootfs::Rootfs;
use oci_spec::runtime::Spec;
use runtime::{BindIds, CreateRequest, Gate, MissingCapabilities, Stdio, create};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments
        .next()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(100);
    let bundle = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let with_cgroup = arguments.next().is_some();
    let document = std::fs::read(bundle.join("config.json")).expect("config.json");
    let spec: Spec = serde_json::from_slice(&document).expect("an OCI document");
    let idmap = spec
        .linux()
        .as_ref()
        .is_some_and(|linux| linux.uid_mappings().is_some());
    let rootfs = Rootfs::Overlay {
        lowers: vec![bundle.join("lower")],
        upper: bundle.join("upper"),
        work: bundle.join("work"),
        idmap,
        volatile: false,
    };
    let layout = cgroup::Layout::detect().expect("cgroups");
    let (mut starts, mut totals, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let began = Instant::now();
        let path = format!("/berth-test-{}/{round}", std::process::id());
        let group = with_cgroup.then(|| cgroup::Cgroup::create(&layout, &path).expect("a cgroup"));
        groups.push(began.elapsed());
        let created = create(CreateRequest {
            id: "timing",
            spec: &spec,
            rootfs: &rootfs,
            user: Some(""),
            groups: &[],
            seccomp_filter: None,
            init: false,
            stdio: Stdio::Inherit,
            gate: Gate::Immediately,
            cgroup: group.as_ref(),
            bundle: &bundle,
            preserve_fds: 0,
            parent_death_signal: Some(9),
            missing_capabilities: MissingCapabilities::Drop,
            bind_ids: BindIds::Idmapped,
            plug: None,
            pins: &[],
        })
        .expect("a container");
        starts.push(began.elapsed());
        sys::process::wait_pidfd(created.pidfd.as_fd()).expect("its end");
        totals.push(began.elapsed());
        if let Some(group) = group {
            group.remove(Duration::from_secs(1)).expect("an empty cgroup");
        }
    }
    if with_cgroup {
        let parent = format!("/berth-test-{}", std::process::id());
        cgroup::Cgroup::remove_path(&layout, &parent, Duration::from_secs(1)).expect("an empty cgroup");
    }
    println!("cgroup: {:?}", median(&mut groups));
    println!("until the program runs: {:?}", median(&mut starts));
    println!("until it has ended: {:?}", median(&mut totals));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
