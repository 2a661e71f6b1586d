//! What a shim costs in memory and time.
#![expect(clippy::print_stdout, reason = "the figures are what these tests are for")]

use std::time::Instant;

use crate::host::{self, Host};

#[tokio::test]
async fn a_shim_costs_little() {
    let host = Host::new().await;
    let (shim, _events, _) = host::start(&host, host.task("echo x; sleep 1000"), Vec::new()).await;
    let pid = shim.shim_pid().unwrap();
    host::until("the shim has settled", || {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.contains(&host.id))
    })
    .await;
    // One more turn, so that what follows the title in the same turn is done.
    shim.state().await.unwrap();
    println!("private memory of a shim: {} KiB", host::private_memory(pid));
    for (size, mapping) in host::private_mappings(pid) {
        println!("{size:>6} KiB  {mapping}");
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name.trim(), "berth-shim");
    let executable = format!("/proc/{pid}/exe");
    assert!(std::fs::OpenOptions::new().write(true).open(executable).is_err());
}

#[tokio::test]
#[ignore = "prints figures, asserts nothing"]
async fn how_long_the_steps_take() {
    let host = Host::new().await;
    let mut steps = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..100 {
        let mut task = host.task("");
        let process = task.spec.process_mut().as_mut().unwrap();
        process.set_args(Some(vec!["/bin/true".to_owned()]));
        let mut times = vec![Instant::now()];
        let shim = host.new_shim().await;
        // Not started: it is refused, by a shim that is there.
        shim.state().await.unwrap_err();
        times.push(Instant::now());
        let mut events = shim.subscribe().await.unwrap();
        shim.start(task, Vec::new(), None, 0).await.unwrap();
        times.push(Instant::now());
        host::exited(&mut events).await;
        times.push(Instant::now());
        shim.release().await.unwrap();
        times.push(Instant::now());
        for (step, pair) in steps.iter_mut().zip(times.windows(2)) {
            step.push(pair[1] - pair[0]);
        }
    }
    for (name, step) in ["fork", "start", "exit", "release"].iter().zip(&mut steps) {
        step.sort();
        println!("{name}: median {:?}, best {:?}", step[50], step[0]);
    }
}
