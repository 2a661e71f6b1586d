//! `GET /containers/{id}/stats`: one sample, two, or one each second.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, SpentBudget, Stats,
    StorageStats, ThrottlingData,
};
use base::clock::Timestamp;
use bytes::Bytes;
use engine::Engine;
use engine::container::{BlockCount, Sample, View};
use engine::network::Spending;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

/// The time between two samples, as in Docker.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn stats(call: Call) -> Result<Reply, ApiError> {
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let sample = engine::container::stats(call.engine(), call.name()).await?;
    if !stream {
        if one_shot || !sample.view.status.has_process() {
            return Ok(reply::ok(&document(call.engine(), &sample, None)));
        }
        // Docker's clients compute the CPU share from two samples of one reply.
        tokio::time::sleep(INTERVAL).await;
        let next = engine::container::stats(call.engine(), call.name()).await?;
        return Ok(reply::ok(&document(call.engine(), &next, Some(&sample))));
    }
    let (sender, receiver) = reply::channel();
    tokio::spawn(async move {
        let mut previous: Option<Sample> = None;
        let mut current = sample;
        loop {
            let Ok(mut line) = serde_json::to_vec(&document(call.engine(), &current, previous.as_ref()))
            else {
                return;
            };
            line.push(b'\n');
            if sender.send(Ok(Bytes::from(line))).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = sender.closed() => return,
            }
            // The stream ends when the container is removed.
            let Ok(next) = engine::container::stats(call.engine(), current.view.id.as_str()).await else {
                return;
            };
            previous = Some(std::mem::replace(&mut current, next));
        }
    });
    Ok(reply::stream("application/json", receiver))
}

fn document(engine: &Engine, sample: &Sample, previous: Option<&Sample>) -> Stats {
    let [received, sent] = engine::network::spending(engine, &sample.view).map(|one| one.map(spent));
    Stats {
        name: format!("/{}", sample.view.name),
        id: sample.view.id.to_string(),
        read: sample.time.to_string(),
        preread: previous
            .map_or(Timestamp::NEVER, |previous| previous.time)
            .to_string(),
        pids_stats: PidsStats {
            current: sample.pids,
            limit: sample.pids_limit.unwrap_or(0),
        },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: entries(&sample.block_bytes),
            io_serviced_recursive: entries(&sample.block_operations),
            ..BlkioStats::default()
        },
        num_procs: 0,
        storage_stats: StorageStats::default(),
        cpu_stats: cpu(sample),
        precpu_stats: previous.map(cpu).unwrap_or_default(),
        memory_stats: MemoryStats {
            usage: sample.memory.usage,
            max_usage: sample.memory.max_usage,
            stats: sample.memory.counters.clone(),
            failcnt: sample.memory.fail_count,
            limit: sample.memory.limit,
        },
        networks: interfaces(&sample.view),
        berth_net_budget_in: received,
        berth_net_budget_out: sent,
    }
}

fn spent(spending: Spending) -> SpentBudget {
    SpentBudget {
        bytes: spending.budget.bytes,
        used: spending.used,
        seconds: spending.budget.seconds,
        until: spending.until.map(|until| until.to_string()).unwrap_or_default(),
    }
}

/// Returns what went through the interfaces of a container that has its own, as the container sees it.
fn interfaces(view: &View) -> BTreeMap<String, NetworkStats> {
    if view.endpoints.is_empty() || !view.status.has_process() {
        return BTreeMap::new();
    }
    // The counters of the process's network namespace.
    let table = std::fs::read_to_string(format!("/proc/{}/net/dev", view.pid)).unwrap_or_default();
    table.lines().filter_map(interface).collect()
}

/// Reads a line of `/proc/net/dev`: a name and sixteen counters, of which the first eight are received (proc(5)).
fn interface(line: &str) -> Option<(String, NetworkStats)> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = *counters.as_slice()
    else {
        return None;
    };
    let name = name.trim();
    let stats = NetworkStats {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    };
    (name != "lo").then(|| (name.to_owned(), stats))
}

fn cpu(sample: &Sample) -> CpuStats {
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: sample.cpu_total,
            percpu_usage: sample.cpu_each.clone(),
            usage_in_kernelmode: sample.cpu_kernel,
            usage_in_usermode: sample.cpu_user,
        },
        system_cpu_usage: sample.system_cpu,
        online_cpus: sample.online_cpus,
        throttling_data: ThrottlingData {
            periods: sample.periods,
            throttled_periods: sample.throttled_periods,
            throttled_time: sample.throttled_time,
        },
    }
}

fn entries(counts: &[BlockCount]) -> Option<Vec<BlkioEntry>> {
    let entries = counts.iter().map(|count| BlkioEntry {
        major: count.major.into(),
        minor: count.minor.into(),
        op: count.operation.clone(),
        value: count.value,
    });
    Some(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_from_proc() {
        let line = "  eth0:    1078      11    1    2    0     0          0         3     516       6    7    8    0     0       0          0";
        let (name, stats) = interface(line).unwrap();
        assert_eq!(name, "eth0");
        assert_eq!(
            (stats.rx_bytes, stats.rx_dropped, stats.tx_bytes, stats.tx_dropped),
            (1078, 2, 516, 8)
        );
        assert!(interface(" face |bytes    packets errs").is_none());
        assert!(interface("    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").is_none());
        assert!(interface("eth0: 1 2").is_none());
    }
}
