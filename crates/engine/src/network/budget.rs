//! How many bytes containers may receive and send.
//!
//! While a container runs, the packet filter knows what it has spent, whoever else is there or not. When its run has ended,
//! that is written to a file beside its record, and from time to time while it runs: for the case that this machine is
//! started again, or that somebody empties the packet filter. The file goes with the container.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::clock::Timestamp;
use base::error::chain;
use base::file::Durability;
use base::id::ContainerId;
use network::budget::{Both, Budget, BudgetError, Holder, Spent};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::kernel::Kernel;
use super::record::NetworkRecord;
use super::{guard, open};
use crate::Engine;
use crate::config::{HostConfig, NetBudget};
use crate::container::{Container, View};

/// How often what is spent is written down.
const PAUSE: Duration = Duration::from_secs(60);
/// Largest file in bytes.
const MAX: u64 = 4096;

/// A budget, and what is spent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The budget.
    pub budget: NetBudget,
    /// How many bytes are spent.
    pub used: u64,
    /// When the time is over; `None` while none has begun, or of one that does not end.
    pub until: Option<Timestamp>,
}

/// Returns what a container has spent of its budgets, received and sent.
pub fn spending(engine: &Engine, view: &View) -> [Option<Spending>; 2] {
    let budgets = [view.host.net_budget_in, view.host.net_budget_out];
    if budgets == [None, None] {
        return [None, None];
    }
    let id = view.id.short();
    let counted = read_spent(&mut engine.networks.kernel());
    let spent = match counted.iter().flatten().find(|(own, _)| own == id) {
        Some((_, spent)) => *spent,
        // What is written down while it runs is old; without an element no time has begun.
        None if view.status.has_process() && counted.is_ok() => Both::default(),
        None => read(&engine.layout.spent(&view.id)),
    };
    let now = Timestamp::now();
    let one = |budget: Option<NetBudget>, spent: Option<Spent>| {
        let left = spent.and_then(|spent| spent.left);
        budget.map(|budget| Spending {
            budget,
            used: spent.map_or(0, |spent| spent.used),
            until: left.and_then(|left| after(now, left)),
        })
    };
    [one(budgets[0], spent.received), one(budgets[1], spent.sent)]
}

/// Returns whether a container has budgets at all.
pub(crate) fn has(host: &HostConfig) -> bool {
    host.net_budget_in.is_some() || host.net_budget_out.is_some()
}

/// Gives a container that runs, or is about to, the budgets that it is asked to have now, at the cables that it has now.
pub(crate) fn apply(engine: &Arc<Engine>, container: &Container, view: &View) -> Result<(), NetworkError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "count what passes on the networks of",
        name: view.name.clone(),
        source: error,
    };
    let mut kernel = engine.networks.kernel();
    if !has(&view.host) {
        // A statement of its own: the table is locked until its end.
        let had = engine.networks.table().budgets.remove(container.id.as_str());
        if had.is_some() {
            forget(engine, container);
            replace(engine, &mut kernel).map_err(|error| failed(Box::new(error)))?;
        }
        return Ok(());
    }
    if let Some(endpoint) = view.endpoints.iter().find(|endpoint| endpoint.port().is_none()) {
        return Err(super::shaping::no_bridge(endpoint));
    }
    open::remember(engine).map_err(|error| failed(Box::new(error)))?;
    let holder = holder(engine, container, &view.host, &view.endpoints);
    engine
        .networks
        .table()
        .budgets
        .insert(container.id.to_string(), holder.clone());
    let budgets = kernel.budgets.clone();
    let set = match kernel.filter() {
        Ok(socket) => budgets.set(socket, &holder),
        Err(error) => return Err(failed(Box::new(error))),
    };
    if let Err(error) = set {
        tracing::warn!(error = %chain(&error), "the table of budgets is not as it was left and is made again");
        replace(engine, &mut kernel).map_err(|error| failed(Box::new(error)))?;
    }
    guard::watch(engine, &mut kernel);
    drop(kernel);
    count(engine);
    Ok(())
}

/// Forgets what a container that does not run has spent, which has no budget any more.
pub(crate) fn forget(engine: &Engine, container: &Container) {
    if !has(&container.record().host) {
        drop(std::fs::remove_file(engine.layout.spent(&container.id)));
    }
}

/// Takes the ports that a container has on a network off its budgets; it goes on running. `endpoints` has those of the network.
pub(crate) fn unplug(
    engine: &Engine,
    kernel: &mut Kernel,
    container: &Container,
    network: &NetworkRecord,
    endpoints: &[Endpoint],
) {
    let mut table = engine.networks.table();
    let Some(holder) = table.budgets.get_mut(container.id.as_str()) else {
        return;
    };
    let ports: Vec<String> = endpoints
        .iter()
        .filter(|endpoint| endpoint.network == network.id)
        .filter_map(Endpoint::port)
        .filter(|port| holder.ports.iter().any(|own| own == port))
        .map(str::to_owned)
        .collect();
    holder.ports.retain(|port| !ports.contains(port));
    let holder = holder.clone();
    drop(table);
    let budgets = kernel.budgets.clone();
    let removed = kernel
        .filter()
        .map_err(|error| chain(&error).to_string())
        .and_then(|socket| {
            budgets
                .remove_ports(socket, &holder, &ports)
                .map_err(|error| chain(&error).to_string())
        });
    if let Err(error) = removed {
        tracing::warn!(container = %container.id, error, "a budget still knows a network that was left");
    }
}

/// Writes down what a container whose run has ended has spent, and lets the packet filter forget it. One that has been
/// started again meanwhile only loses the ports of that run.
pub(crate) fn settle(engine: &Engine, kernel: &mut Kernel, container: &ContainerId, holder: &Holder) {
    let warn = |error: &BudgetError| {
        tracing::warn!(%container, error = %chain(error), "the table of budgets still knows a container that has ended");
    };
    let budgets = kernel.budgets.clone();
    let runs_again = engine.networks.table().budgets.contains_key(container.as_str());
    if !runs_again
        && let Ok(all) = read_spent(kernel)
        && let Some((_, spent)) = all.iter().find(|(id, _)| *id == holder.id)
    {
        write(&engine.layout.spent(container), *spent);
    }
    let Ok(socket) = kernel.filter() else { return };
    let removed = if runs_again {
        budgets.remove_ports(socket, holder, &holder.ports)
    } else if engine.networks.table().budgets.is_empty() {
        budgets.replace(socket, &[])
    } else {
        budgets.remove(socket, holder)
    };
    if removed.is_err()
        && let Err(error) = replace(engine, kernel)
    {
        warn(&error);
    }
}

/// Goes on with containers that run, when a daemon starts. What others have spent, who have ended meanwhile, is written down.
pub(crate) fn go_on(engine: &Arc<Engine>, kernel: &mut Kernel) {
    let running: Vec<Arc<Container>> = {
        let table = engine.networks.table();
        let of = |id: &str| engine.registry.get(id);
        let members = table.all().flat_map(|network| network.members().keys());
        let mut running: Vec<Arc<Container>> = members.filter_map(|id| of(id)).collect();
        running.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        running.dedup_by(|one, other| one.id == other.id);
        running.retain(|container| has(&container.record().host));
        running
    };
    if let Ok(all) = read_spent(kernel) {
        for (id, spent) in all {
            let runs = running.iter().any(|container| container.id.short() == id);
            if !runs && let Ok(container) = engine.registry.find(&id) {
                write(&engine.layout.spent(&container.id), spent);
            }
        }
    }
    for container in &running {
        let endpoints: Vec<Endpoint> = {
            let table = engine.networks.table();
            let own = table
                .all()
                .filter_map(|network| network.members().get(container.id.as_str()));
            own.cloned().collect()
        };
        let holder = holder(engine, container, &container.record().host, &endpoints);
        engine
            .networks
            .table()
            .budgets
            .insert(container.id.to_string(), holder);
    }
    if let Err(error) = replace(engine, kernel) {
        tracing::error!(error = %chain(&error), "the budgets of containers could not be put in place");
    }
    if !running.is_empty() {
        count(engine);
    }
}

/// Puts the table of budgets in place as the containers that run have them, with what was written down of what it does not
/// know.
pub(crate) fn replace(engine: &Engine, kernel: &mut Kernel) -> Result<(), BudgetError> {
    let holders: Vec<Holder> = {
        let mut table = engine.networks.table();
        for (id, holder) in &mut table.budgets {
            if let Ok(id) = id.parse::<ContainerId>() {
                holder.spent = read(&engine.layout.spent(&id));
            }
        }
        table.budgets.values().cloned().collect()
    };
    let budgets = kernel.budgets.clone();
    match kernel.filter() {
        Ok(socket) => budgets.replace(socket, &holders),
        Err(source) => Err(BudgetError::Change {
            table: budgets.table_name().to_owned(),
            source,
        }),
    }
}

/// What is spent of one budget, as the file has it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Written {
    used: u64,
    /// When the time is over.
    until: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SpentFile {
    #[serde(default)]
    received: Option<Written>,
    #[serde(default)]
    sent: Option<Written>,
}

fn holder(engine: &Engine, container: &Container, host: &HostConfig, endpoints: &[Endpoint]) -> Holder {
    let budget = |one: Option<NetBudget>| {
        one.map(|one| Budget {
            bytes: one.bytes,
            period: (one.seconds > 0).then(|| Duration::from_secs(one.seconds)),
        })
    };
    Holder {
        id: container.id.short().to_owned(),
        ports: endpoints
            .iter()
            .filter_map(Endpoint::port)
            .map(str::to_owned)
            .collect(),
        budgets: Both {
            received: budget(host.net_budget_in),
            sent: budget(host.net_budget_out),
        },
        spent: read(&engine.layout.spent(&container.id)),
    }
}

fn read_spent(kernel: &mut Kernel) -> Result<Vec<network::budget::SpentBy>, BudgetError> {
    let budgets = kernel.budgets.clone();
    match kernel.filter() {
        Ok(socket) => budgets.spent(socket),
        Err(source) => Err(BudgetError::Read {
            table: budgets.table_name().to_owned(),
            source,
        }),
    }
}

/// Reads what was written down. A time that is over counts no more, and neither does a file that cannot be read.
fn read(path: &Path) -> Both<Option<Spent>> {
    let text = base::file::read_optional(path, MAX).ok().flatten();
    let file: SpentFile = text
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let now = Timestamp::now();
    let one = |written: Option<Written>| {
        written
            .filter(|written| written.until.is_none_or(|until| until > now))
            .map(|written| Spent {
                used: written.used,
                left: written.until.map(|until| until.since(now)),
            })
    };
    Both {
        received: one(file.received),
        sent: one(file.sent),
    }
}

/// Writes it down. A container that is being removed has no directory any more.
fn write(path: &Path, spent: Both<Option<Spent>>) {
    let now = Timestamp::now();
    let one = |spent: Option<Spent>| {
        spent.map(|spent| Written {
            used: spent.used,
            until: spent.left.and_then(|left| after(now, left)),
        })
    };
    let file = SpentFile {
        received: one(spent.received),
        sent: one(spent.sent),
    };
    let text = crate::daemon::encode(&file);
    if path.parent().is_some_and(Path::exists)
        && let Err(error) = base::file::write_atomic(path, text.as_bytes(), 0o600, Durability::Crash)
    {
        tracing::warn!(error = %chain(&error), "what a container has spent was not written down");
    }
}

fn after(now: Timestamp, left: Duration) -> Option<Timestamp> {
    let seconds = now
        .unix_seconds()
        .checked_add(i64::try_from(left.as_secs()).ok()?)?;
    Some(Timestamp::from_unix(seconds, left.subsec_nanos()))
}

/// Writes down what is spent from time to time, as long as somebody has a budget. Does nothing the second time.
fn count(engine: &Arc<Engine>) {
    if engine.networks.is_counted.swap(true, Ordering::Relaxed) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else {
        engine.networks.is_counted.store(false, Ordering::Relaxed);
        return;
    };
    drop(runtime.spawn(keep_counting(Arc::downgrade(engine))));
}

async fn keep_counting(engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(engine) = engine.upgrade() else { return };
        let work = move || {
            let holders = engine.networks.table().budgets.clone();
            if holders.is_empty() {
                engine.networks.is_counted.store(false, Ordering::Relaxed);
                return false;
            }
            let all = read_spent(&mut engine.networks.kernel()).unwrap_or_default();
            for (id, holder) in holders {
                if let (Ok(id), Some((_, spent))) = (
                    id.parse::<ContainerId>(),
                    all.iter().find(|(own, _)| *own == holder.id),
                ) {
                    write(&engine.layout.spent(&id), *spent);
                }
            }
            true
        };
        if !tokio::task::spawn_blocking(work).await.unwrap_or(false) {
            return;
        }
    }
}
