//! Update: limits and the restart policy of a container that exists.

use std::sync::Arc;

use base::error::Kinded;
use cgroup::Limits;

use super::actor::{Actor, Command, ask};
use super::finish;
use super::pause::open_cgroup;
use super::shm::{self, ResizeError};
use super::task;
use super::view::{ChangeError, LookupError};
use crate::Engine;
use crate::config::{NetBudget, Resources, RestartRequest};

/// What to change; zero and empty fields of the resources stay as they are.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// New limits.
    pub resources: Resources,
    /// A new restart policy.
    pub restart: Option<RestartRequest>,
    /// Another size of `/dev/shm`, in bytes.
    pub shm_size: Option<u64>,
    /// How much it may receive on each of its networks, in bits per second; 0: without limit.
    pub net_rate_in: Option<u64>,
    /// How much it may send.
    pub net_rate_out: Option<u64>,
    /// How many bytes it may receive in a time; `Some(None)`: as many as there are.
    pub net_budget_in: Option<Option<NetBudget>>,
    /// How many it may send.
    pub net_budget_out: Option<Option<NetBudget>>,
}

/// It was changed.
#[derive(Clone, Debug, Default)]
pub struct Updated {
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// A checked change, for the actor.
#[derive(Debug)]
pub(crate) struct Change {
    resources: Resources,
    restart: Option<RestartRequest>,
    shm_size: Option<u64>,
    net_rates: (Option<u64>, Option<u64>),
    net_budgets: [Option<Option<NetBudget>>; 2],
}

/// Changes a container's limits and restart policy, also while it runs.
pub async fn update(
    engine: &Arc<Engine>,
    name: &str,
    request: UpdateRequest,
) -> Result<Updated, ChangeError> {
    let container = engine.registry.find(name)?;
    let record = container.record();
    let resources = merge(&record.host.resources, &request.resources);
    let mut host = (*record.host).clone();
    host.resources = resources.clone();
    if let Some(restart) = &request.restart {
        host.restart = restart.clone();
    }
    if let Some(size) = request.shm_size {
        if shares_memory(&host.ipc_mode) {
            return Err(ChangeError::Invalid {
                text: ResizeError::NotItsOwn.to_string(),
            });
        }
        host.shm_size = Some(size);
    }
    let available = (!record.has_own_users()).then_some(&engine.host.capabilities);
    let checked = spec::check(&record.config, &host, &engine.host.limitable, available).map_err(|error| {
        ChangeError::Invalid {
            text: error.to_string(),
        }
    })?;
    let change = Box::new(Change {
        resources,
        restart: request.restart,
        shm_size: request.shm_size,
        net_rates: (request.net_rate_in, request.net_rate_out),
        net_budgets: [request.net_budget_in, request.net_budget_out],
    });
    match ask(engine, &container, |reply| Command::Update(change, reply)).await {
        Some(result) => result?,
        None => {
            return Err(LookupError::NotFound {
                name: name.to_owned(),
            }
            .into());
        }
    }
    finish::tell(engine, &container, "update", &[]);
    Ok(Updated {
        warnings: checked.warnings,
    })
}

/// Carries it out, in the actor: the running group first, then the record, so that a limit that the kernel refuses is
/// not recorded.
pub(crate) async fn apply(actor: &mut Actor, change: Change) -> Result<(), ChangeError> {
    let (engine, container) = (&actor.engine, &actor.container);
    let step = |source: Box<dyn std::error::Error + Send + Sync>| ChangeError::Step {
        doing: "update",
        id: container.id.to_string(),
        source,
    };
    let mut record = (*container.record()).clone();
    let mut host = (*record.host).clone();
    host.resources = change.resources;
    if let Some(restart) = change.restart {
        host.restart = restart;
    }
    host.shm_size = change.shm_size.or(host.shm_size);
    let rates = (host.net_rate_in, host.net_rate_out);
    host.net_rate_in = change.net_rates.0.unwrap_or(host.net_rate_in);
    host.net_rate_out = change.net_rates.1.unwrap_or(host.net_rate_out);
    let rates_change = rates != (host.net_rate_in, host.net_rate_out);
    let budgets = [host.net_budget_in, host.net_budget_out];
    host.net_budget_in = change.net_budgets[0].unwrap_or(host.net_budget_in);
    host.net_budget_out = change.net_budgets[1].unwrap_or(host.net_budget_out);
    let budgets_change = budgets != [host.net_budget_in, host.net_budget_out];
    record.host = Arc::new(host);
    let old = container.record();
    container.set_record(record.clone());
    let status = container.view().status;
    if status.is_running() {
        let applied = task::build(engine, container)
            .map_err(|error| match error.kind() {
                base::error::Kind::Invalid => ChangeError::Invalid {
                    text: base::error::chain(&error).to_string(),
                },
                _ => step(Box::new(error)),
            })
            .and_then(|task| {
                let resources = task
                    .spec
                    .linux()
                    .as_ref()
                    .and_then(|linux| linux.resources().clone());
                let mut limits = resources.as_ref().map(Limits::from).unwrap_or_default();
                // The device rules are those of the start.
                limits.devices = None;
                match open_cgroup(engine, container) {
                    Ok(group) => group.apply(&limits).map_err(|error| step(Box::new(error)))?,
                    Err(error) if status.has_process() => return Err(step(Box::new(error))),
                    // Between two runs there may be none; the next one is made with the new limits.
                    Err(_) => {}
                }
                if let Some(size) = change.shm_size.filter(|_| status.has_process()) {
                    shm::resize(container.view().pid, size).map_err(|error| match error {
                        ResizeError::NotItsOwn => ChangeError::Invalid {
                            text: error.to_string(),
                        },
                        error @ ResizeError::Kernel { .. } => step(Box::new(error)),
                    })?;
                }
                let mut view = (*container.view()).clone();
                view.host = Arc::clone(&record.host);
                let limited = match rates_change {
                    true => crate::network::apply_rates(engine, &view),
                    false => Ok(()),
                };
                let limited = limited.and_then(|()| match budgets_change {
                    true => crate::network::apply_budgets(engine, container, &view),
                    false => Ok(()),
                });
                limited.map_err(|error| step(Box::new(error)))?;
                // The shim reads it again for a restart.
                let bytes = serde_json::to_vec(&task).map_err(|error| step(Box::new(error)))?;
                base::file::write_atomic(&task.document, &bytes, 0o600, base::file::Durability::Crash)
                    .map_err(|error| step(Box::new(error)))
            });
        if let Err(error) = applied {
            container.set_record((*old).clone());
            return Err(error);
        }
    }
    if let Some(shim) = container.shim() {
        let policy = task::restart_policy(&record.host.restart);
        shim.set_restart_policy(policy)
            .await
            .map_err(|error| step(Box::new(error)))?;
    }
    let document = crate::daemon::encode(&record);
    engine
        .write_of(container, |batch| {
            batch.set_container_config(container.id.as_str(), &document)
        })
        .map_err(|error| step(Box::new(error)))?;
    super::record_file::update(&engine.layout, container, &record);
    if budgets_change && !status.is_running() {
        crate::network::forget_budgets(engine, container);
    }
    let host = Arc::clone(&record.host);
    container.publish(|view| view.host = host);
    Ok(())
}

/// Returns whether a container with this `--ipc` uses the host's `/dev/shm`, another container's, or none.
fn shares_memory(ipc_mode: &str) -> bool {
    ipc_mode == "host" || ipc_mode == "none" || ipc_mode.starts_with("container:")
}

/// Returns `old` with every field that `new` sets.
fn merge(old: &Resources, new: &Resources) -> Resources {
    let number = |old: i64, new: i64| if new == 0 { old } else { new };
    let text = |old: &String, new: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let list = |old: &Vec<crate::config::DeviceLimit>, new: &Vec<crate::config::DeviceLimit>| {
        if new.is_empty() { old.clone() } else { new.clone() }
    };
    // One way to say how much CPU replaces the other.
    let quota_set = new.cpu_quota != 0 || new.cpu_period != 0;
    let cpus_set = new.nano_cpus != 0;
    Resources {
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        nano_cpus: if quota_set {
            new.nano_cpus
        } else {
            number(old.nano_cpus, new.nano_cpus)
        },
        cpu_period: if cpus_set {
            new.cpu_period
        } else {
            number(old.cpu_period, new.cpu_period)
        },
        cpu_quota: if cpus_set {
            new.cpu_quota
        } else {
            number(old.cpu_quota, new.cpu_quota)
        },
        cpu_realtime_period: number(old.cpu_realtime_period, new.cpu_realtime_period),
        cpu_realtime_runtime: number(old.cpu_realtime_runtime, new.cpu_realtime_runtime),
        cpuset_cpus: text(&old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: text(&old.cpuset_mems, &new.cpuset_mems),
        memory: number(old.memory, new.memory),
        memory_reservation: number(old.memory_reservation, new.memory_reservation),
        memory_swap: number(old.memory_swap, new.memory_swap),
        memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
        kernel_memory: new.kernel_memory,
        oom_kill_disable: new.oom_kill_disable.or(old.oom_kill_disable),
        pids_limit: new.pids_limit.or(old.pids_limit),
        blkio_weight: if new.blkio_weight == 0 {
            old.blkio_weight
        } else {
            new.blkio_weight
        },
        blkio_weight_device: list(&old.blkio_weight_device, &new.blkio_weight_device),
        blkio_device_read_bps: list(&old.blkio_device_read_bps, &new.blkio_device_read_bps),
        blkio_device_write_bps: list(&old.blkio_device_write_bps, &new.blkio_device_write_bps),
        blkio_device_read_iops: list(&old.blkio_device_read_iops, &new.blkio_device_read_iops),
        blkio_device_write_iops: list(&old.blkio_device_write_iops, &new.blkio_device_write_iops),
    }
}
