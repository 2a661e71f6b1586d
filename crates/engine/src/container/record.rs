//! One container: what is durable of it, and what the engine holds of it in memory.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base::clock::Timestamp;
use base::id::ContainerId;
use db::ContainerRow;
use oci::ChainId;
use serde::{Deserialize, Serialize};
use shim_api::client::{Attach, ShimConnection};
use spec::Ids;
use spec::mounts::Mount;
use tokio::sync::{mpsc, watch};

use super::actor::Command;
use super::groups::Groups;
use super::inspect::MountPoint;
use super::view::{Exit, Status, View};
use crate::config::{Config, HostConfig};
use crate::network::{Endpoint, Publication};
use crate::registry::SLOT_SIZE;

/// What a container is: recorded at its creation, changed by `update` only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it was created.
    pub(crate) created: Timestamp,
    /// What runs in it, with the image's defaults filled in.
    pub(crate) config: Arc<Config>,
    /// How this machine runs it.
    pub(crate) host: Arc<HostConfig>,
    /// The image's id, or empty.
    pub(crate) image_id: String,
    /// The image's layers, lowest first.
    pub(crate) layers: Vec<ChainId>,
    /// The first of the ids that were given out for it; `None` in the host's user namespace, or with ids that were asked
    /// for.
    pub(crate) user_base: Option<u32>,
    /// Its mounts.
    pub(crate) mounts: Vec<MountRecord>,
    /// The log driver.
    pub(crate) log_driver: String,
    /// The log driver's options.
    #[serde(default)]
    pub(crate) log_options: std::collections::BTreeMap<String, String>,
    /// Whether it was disconnected from the network of its network mode.
    #[serde(default)]
    pub(crate) left_network: bool,
    /// The last rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rollback: Option<RollbackRecord>,
}

/// A rollback of a container's files.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RollbackRecord {
    /// When it was.
    pub(crate) at: Timestamp,
    /// Whether the file system is still being made anew on the container's layers.
    pub(crate) is_under_way: bool,
}

impl Record {
    /// Returns its ids; `None` in the host's user namespace.
    pub(crate) fn ids(&self) -> Option<Ids> {
        match self.user_base {
            Some(base) => Some(Ids::range(base, SLOT_SIZE)),
            None => Ids::requested(&self.host),
        }
    }

    /// Returns whether its user namespace is not the host's.
    pub(crate) fn has_own_users(&self) -> bool {
        self.user_base.is_some() || Ids::requested(&self.host).is_some()
    }
}

/// A mount that was resolved at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// As docker shows it.
    pub(crate) point: MountPoint,
    /// Whether its volume was made for this container alone.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Whether a volume's first content comes from the image.
    #[serde(default)]
    pub(crate) copy: bool,
    /// A directory inside the volume.
    #[serde(default)]
    pub(crate) subpath: String,
    /// Whether a bind leaves out what is mounted below.
    #[serde(default)]
    pub(crate) non_recursive: bool,
    /// Whether a read-only bind makes what is mounted below read-only.
    #[serde(default)]
    pub(crate) read_only_recursive: bool,
    /// Options of a tmpfs.
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

impl MountRecord {
    /// Returns what the OCI document needs.
    pub(crate) fn mount(&self) -> Mount {
        let target = self.point.destination.clone();
        if self.point.kind == "tmpfs" || (self.point.kind == "volume" && self.point.source.is_empty()) {
            return Mount::Tmpfs {
                target,
                options: self.options.clone(),
                read_only: !self.point.rw,
            };
        }
        Mount::Bind {
            source: self.point.source.clone(),
            target,
            read_only: !self.point.rw,
            recursive: !self.non_recursive,
            read_only_recursive: self.read_only_recursive,
            propagation: self.point.propagation.clone(),
            plain_ids: false,
        }
    }
}

/// Where a container is in its life: recorded with each change that a crash must not lose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    /// The state. `running` is written before the shim is asked for, so that no crash forgets one.
    pub(crate) status: Status,
    /// When PID 1 was started last.
    pub(crate) started_at: Timestamp,
    /// When it ended last.
    pub(crate) finished_at: Timestamp,
    /// How it ended last.
    pub(crate) exit: Exit,
    /// How often its policy has restarted it.
    pub(crate) restart_count: u32,
    /// Whether a person stopped it.
    pub(crate) stopped: bool,
    /// The boot in which this was written.
    pub(crate) boot_id: String,
    /// Where it is on networks, while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Its published ports, while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) publications: Vec<Publication>,
    /// Whether Berth answers its questions for names, while it runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_answered: bool,
}

/// Streams of clients.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Attached before the start.
    pub(crate) pending: Vec<Attach>,
    /// The shim, while PID 1 runs or waits for its restart.
    pub(crate) shim: Option<ShimConnection>,
}

/// A container in memory.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its id.
    pub(crate) id: ContainerId,
    /// The published snapshot; written by its actor only.
    pub(crate) view: watch::Sender<Arc<View>>,
    record: Mutex<Arc<Record>>,
    streams: Mutex<Streams>,
    groups: Mutex<Option<Groups>>,
    /// What the store does not know yet: of a container that is started at once, until the first change is recorded.
    unrecorded: Mutex<Option<ContainerRow>>,
    /// The actor's queue; made with the first request.
    pub(crate) queue: OnceLock<mpsc::UnboundedSender<Command>>,
    /// Whether a person stopped it; kept with the state.
    pub(crate) stopped: std::sync::atomic::AtomicBool,
}

impl Container {
    pub(crate) fn new(id: ContainerId, name: String, record: Record, state: &StateRecord) -> Self {
        let view = View {
            id: id.clone(),
            name,
            created: record.created,
            config: Arc::clone(&record.config),
            host: Arc::clone(&record.host),
            image_id: record.image_id.clone(),
            status: state.status,
            pid: 0,
            started_at: state.started_at,
            finished_at: state.finished_at,
            exit: state.exit.clone(),
            restart_count: state.restart_count,
            endpoints: Arc::default(),
            publications: Arc::default(),
            is_answered: false,
            exits: 0,
            gone: false,
            removal_error: None,
        };
        Self {
            id,
            view: watch::Sender::new(Arc::new(view)),
            record: Mutex::new(Arc::new(record)),
            streams: Mutex::default(),
            groups: Mutex::default(),
            unrecorded: Mutex::default(),
            queue: OnceLock::new(),
            stopped: std::sync::atomic::AtomicBool::new(state.stopped),
        }
    }

    /// Returns the present snapshot.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Returns what it is.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&lock(&self.record))
    }

    /// Replaces what it is, in memory.
    pub(crate) fn set_record(&self, record: Record) {
        *lock(&self.record) = Arc::new(record);
    }

    /// Returns its streams, locked; never held across an await.
    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.streams)
    }

    /// Returns what the store does not know yet, locked; never held across an await.
    pub(crate) fn unrecorded(&self) -> MutexGuard<'_, Option<ContainerRow>> {
        lock(&self.unrecorded)
    }

    /// Keeps cgroups that were made ahead of the start.
    pub(crate) fn keep_groups(&self, groups: Option<Groups>) {
        *lock(&self.groups) = groups;
    }

    /// Takes the cgroups that were made ahead of the start, if there are any.
    pub(crate) fn take_groups(&self) -> Option<Groups> {
        lock(&self.groups).take()
    }

    /// Returns the connection to its shim.
    pub(crate) fn shim(&self) -> Option<ShimConnection> {
        self.streams().shim.clone()
    }

    /// Returns whether a client is attached and waits for the start; those that have left are forgotten.
    pub(crate) fn is_awaited(&self) -> bool {
        let mut streams = self.streams();
        streams
            .pending
            .retain(|attach| !sys::socket::is_hung_up(&attach.stream));
        !streams.pending.is_empty()
    }

    /// Publishes a changed snapshot.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) -> Arc<View> {
        self.view.send_modify(|view| change(Arc::make_mut(view)));
        self.view()
    }

    /// Returns what is to be recorded of its state.
    pub(crate) fn state_record(&self, boot_id: &str) -> StateRecord {
        let view = self.view();
        StateRecord {
            status: view.status,
            started_at: view.started_at,
            finished_at: view.finished_at,
            exit: view.exit.clone(),
            restart_count: view.restart_count,
            stopped: self.stopped.load(std::sync::atomic::Ordering::Relaxed),
            boot_id: boot_id.to_owned(),
            endpoints: view.endpoints.to_vec(),
            publications: view.publications.to_vec(),
            is_answered: view.is_answered,
        }
    }
}

/// Locks; a panic of another holder cannot leave these half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
