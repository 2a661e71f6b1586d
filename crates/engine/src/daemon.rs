//! The engine's state and how it is opened.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::error::{Kind, Kinded};
use base::file::Durability;
use db::{Batch, Store, StoreError};
use ipnet::IpNet;
use shim_api::client::{ShimConnection, Zygote, ZygoteError, ZygoteOptions};
use tokio::sync::{Notify, watch};

use crate::config::Ulimit;
use crate::container::{Container, Exec};
use crate::files::{self, Layout};
use crate::host::Host;
use crate::image::{Pins, Unpacker};
use crate::registries::Registries;
use crate::registry::Registry;
use crate::seccomp_cache::FilterCache;
use crate::system::EventHub;

/// How the daemon was configured.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Durable data, `/var/lib/berth`.
    pub data_root: PathBuf,
    /// Sockets and run-time facts, `/run/berth`.
    pub exec_root: PathBuf,
    /// `overlay` or `vfs`; `None`: what the data root already has, else the best that works.
    pub storage_driver: Option<String>,
    /// The cgroup below which containers get theirs, `/berth`.
    pub cgroup_parent: String,
    /// Whether containers get a user namespace of their own unless they say otherwise.
    pub user_namespace: UserNamespaceDefault,
    /// A seccomp profile instead of the built-in one: `unconfined`, or a file.
    pub seccomp_profile: Option<String>,
    /// `json-file`, `local` or `none`.
    pub log_driver: String,
    /// Options of the default log driver.
    pub log_options: BTreeMap<String, String>,
    /// How much of the logs of removed containers is kept.
    pub kept_logs: crate::container::KeptLogLimits,
    /// Limits of containers that name no other.
    pub default_ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`, 64 MiB.
    pub default_shm_size: u64,
    /// The most processes of a container that names no other, 2048; 0 or -1: without limit.
    pub default_pids_limit: i64,
    /// Whether containers get Berth's init unless they say otherwise.
    pub init: bool,
    /// Whether `no_new_privs` is set unless a container says otherwise.
    pub no_new_privileges: bool,
    /// The program that is the zygote of the shims: this very binary.
    pub shim_executable: PathBuf,
    /// Arguments that make it the zygote; the zygote's protocol fixes them, so this is for messages only.
    pub shim_arguments: Vec<String>,
    /// Registries (`host[:port]` or networks) that are spoken to without TLS, or without checking it.
    pub insecure_registries: Vec<String>,
    /// URLs of registries that are asked before Docker Hub.
    pub registry_mirrors: Vec<String>,
    /// How many layers are fetched at a time, by all pulls together.
    pub max_concurrent_downloads: usize,
    /// The policy that says which images may be used; `None`: `/etc/berth/policy.json`, if it is there.
    pub policy: Option<PathBuf>,
    /// How networks are made.
    pub network: NetworkConfig,
    /// Labels of the daemon, shown by info.
    pub labels: Vec<String>,
    /// Whether this is a debugging daemon, shown by info.
    pub debug: bool,
}

/// How networks are made.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The name of the default network's bridge, `berth0`; `none`: there is no default network.
    pub bridge: String,
    /// The default bridge's address, with the length of its network's prefix.
    pub bridge_address: Option<IpNet>,
    /// The part of the default network that containers get their addresses from.
    pub fixed_range: Option<IpNet>,
    /// The default gateway of the default network instead of the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub default_gateway6: Option<Ipv6Addr>,
    /// Whether the default network has IPv6.
    pub ipv6: bool,
    /// Its IPv6 network; `None`: one of the pools.
    pub ipv6_subnet: Option<IpNet>,
    /// Address space that subnets are cut from: each a network, and the prefix length of the pieces; empty: docker's.
    pub address_pools: Vec<(IpNet, u8)>,
    /// The largest packet in bytes of the default network; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// Whether containers of the default network talk to each other (`--icc`).
    pub talking: bool,
    /// Whether what leaves networks has the machine's address (`--ip-masq`).
    pub masquerade: bool,
    /// The host's address on which ports are published that name none (`--ip`).
    pub host_address: Option<IpAddr>,
    /// Nameservers of containers that name none.
    pub dns: Vec<String>,
    /// Their resolver's options.
    pub dns_options: Vec<String>,
    /// Their search domains.
    pub dns_search: Vec<String>,
    /// The name of the tables in the packet filter.
    pub firewall: String,
    /// How many ports a Linux bridge has, at least 2: the kernel gives it 1,023.
    pub ports_per_bridge: u16,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge: "berth0".to_owned(),
            bridge_address: None,
            fixed_range: None,
            default_gateway: None,
            default_gateway6: None,
            ipv6: false,
            ipv6_subnet: None,
            address_pools: Vec::new(),
            mtu: None,
            talking: true,
            masquerade: true,
            host_address: None,
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            firewall: "berth".to_owned(),
            ports_per_bridge: 1023,
        }
    }
}

/// Whether containers get a user namespace of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespaceDefault {
    /// Each has its own, with 65,536 ids.
    Private,
    /// They use the host's (`"userns": "host"`).
    Host,
}

/// Opening the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses the data root.
    #[error("data root \"{path}\" is in use by another daemon")]
    InUse {
        /// The data root.
        path: String,
    },
    /// A part could not be opened.
    #[error("open {part}")]
    Part {
        /// What was being opened.
        part: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for OpenError {
    fn kind(&self) -> Kind {
        match self {
            Self::InUse { .. } => Kind::Conflict,
            Self::Part { .. } => Kind::Internal,
        }
    }
}

/// The engine: one for each data root.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) layout: Layout,
    pub(crate) host: Host,
    pub(crate) id: String,
    pub(crate) store: Arc<Store>,
    /// Room for removals on a full disk.
    pub(crate) reserve: crate::reserve::Reserve,
    /// Directories for containers to be.
    pub(crate) spares: crate::spare::Spares,
    pub(crate) storage: Arc<dyn storage::Driver>,
    pub(crate) images: Arc<image::Store>,
    /// Images that come from registries.
    pub(crate) puller: Arc<image::pull::Puller>,
    /// Where layers of images that come are unpacked.
    pub(crate) unpacker: Arc<Unpacker>,
    /// Layers that somebody is about to need.
    pub(crate) pins: Arc<Pins>,
    pub(crate) volumes: volume::Volumes,
    pub(crate) networks: crate::network::Networks,
    /// Names, and ports of the host.
    pub(crate) netd: crate::network::Netd,
    pub(crate) policy: image::policy::PolicyFile,
    /// One check at a time.
    pub(crate) checking: tokio::sync::Mutex<()>,
    /// Damage that was dealt with when the daemon started.
    pub(crate) found_at_start: Mutex<Vec<crate::check::Damage>>,
    pub(crate) registry: Registry,
    /// Logs of containers that were removed.
    pub(crate) kept_logs: crate::container::KeptLogs,
    /// How image registries are spoken to.
    pub(crate) registries: Registries,
    pub(crate) filters: FilterCache,
    pub(crate) events: EventHub,
    pub(crate) execs: Mutex<HashMap<String, Arc<Exec>>>,
    zygote: tokio::sync::Mutex<Option<Zygote>>,
    /// Work that nobody waits for: how much is under way.
    deferred: watch::Sender<usize>,
    /// Commits since the last checkpoint.
    commits: std::sync::atomic::AtomicI64,
    idle: Notify,
    /// Locked as long as the engine lives.
    _lock: File,
}

impl Engine {
    /// Opens the data root: loads what is recorded, finds the shims that live, applies what happened while no daemon
    /// ran, undoes what a crash left half done, and starts the zygote.
    ///
    /// Must be called within a tokio runtime.
    pub async fn open(config: EngineConfig) -> Result<Arc<Self>, OpenError> {
        let layout = Layout::new(&config.data_root, &config.exec_root);
        files::make_directory(&config.data_root, 0o700).map_err(part("the data root"))?;
        files::make_directory(&config.exec_root, 0o711).map_err(part("the exec root"))?;
        files::make_directory(&layout.containers(), 0o700).map_err(part("the containers' directory"))?;
        files::make_directory(&layout.networks(), 0o700).map_err(part("the networks' directory"))?;
        files::make_directory(&layout.shims(), 0o700).map_err(part("the shims' directory"))?;
        files::make_directory(&layout.runs(), 0o700).map_err(part("the run directory"))?;
        let lock = lock_data_root(&layout, &config)?;
        let host = Host::read().map_err(|source| OpenError::Part {
            part: "the facts of the host",
            source,
        })?;
        let (store, store_damage) =
            crate::store_repair::open(&layout, &host.boot_id).map_err(part("the store"))?;
        let store = Arc::new(store);
        let storage = crate::storage_choice::open(&config).map_err(part("the storage driver"))?;
        let (images, problems) = image::Store::open(&layout.content()).map_err(part("the image store"))?;
        let mut found_at_start = Vec::from_iter(store_damage);
        // A damaged image may be healed, and has its layers then.
        let all_images_are_known = problems.is_empty();
        for problem in problems {
            if problem.manifest.is_none() {
                found_at_start.push(crate::check::Damage {
                    kind: "store",
                    object: problem.name.clone().unwrap_or_default(),
                    problems: vec![problem.problem.clone()],
                    images: Vec::new(),
                    containers: Vec::new(),
                    outcome: crate::check::Outcome::Repaired,
                });
            }
            tracing::warn!(image = ?problem.manifest, name = ?problem.name, problem = %problem.problem, "damage in the image store");
        }
        let images = Arc::new(images);
        let pins = Arc::<Pins>::default();
        let unpacker = Arc::new(Unpacker::new(Arc::clone(&storage), Arc::clone(&pins)));
        let puller = Arc::new(image::pull::Puller::new(
            Arc::clone(&images),
            Arc::<Unpacker>::clone(&unpacker),
            config.max_concurrent_downloads,
        ));
        let (volumes, damaged) =
            volume::Volumes::open(&layout.volumes(), Arc::clone(&store)).map_err(part("the volumes"))?;
        for damage in damaged {
            tracing::warn!(volume = %damage.key, problem = %damage.problem, "a damaged volume was left out");
        }
        let networks =
            crate::network::open(&store, &layout, &config.network).map_err(part("the networks"))?;
        let profile = config
            .seccomp_profile
            .as_deref()
            .filter(|name| !matches!(*name, "unconfined" | "builtin"));
        let filters = FilterCache::open(
            &config.data_root,
            &host.facts.kernel_version,
            profile.map(std::path::Path::new),
        )
        .map_err(part("the seccomp profile"))?;
        let id = stable_id(&store).map_err(part("the store"))?;
        let zygote = Zygote::spawn(&zygote_options(&config, &layout))
            .await
            .map_err(part("the zygote"))?;
        let engine = Arc::new(Self {
            reserve: crate::reserve::Reserve::new(layout.reserve()),
            spares: crate::spare::Spares::new(layout.spares()),
            kept_logs: crate::container::KeptLogs::new(layout.clone(), config.kept_logs),
            layout,
            host,
            id,
            store,
            storage,
            images,
            puller,
            unpacker,
            pins,
            volumes,
            networks,
            netd: crate::network::Netd::default(),
            policy: crate::policy::open(&config),
            checking: tokio::sync::Mutex::default(),
            found_at_start: Mutex::new(found_at_start),
            registry: Registry::default(),
            registries: Registries::new(&config),
            filters,
            events: EventHub::new(),
            execs: Mutex::default(),
            zygote: tokio::sync::Mutex::new(Some(zygote)),
            deferred: watch::Sender::new(0),
            commits: std::sync::atomic::AtomicI64::new(0),
            idle: Notify::new(),
            config,
            _lock: lock,
        });
        crate::image::restore_lost_layers(&engine).await;
        crate::recover::recover(&engine)
            .await
            .map_err(part("the containers"))?;
        if all_images_are_known {
            crate::image::remove_left_layers(&engine);
        }
        let worker = Arc::clone(&engine);
        engine.defer(move || {
            worker.reserve.fill();
            worker.spares.begin_anew();
        });
        Ok(engine)
    }

    /// Returns whether nothing needs this daemon: no container runs, restarts or is paused, no stream is attached, and
    /// the next daemon would start none that is stopped now.
    pub fn is_idle(&self) -> bool {
        *self.deferred.borrow() == 0
            && self.registry.all().iter().all(|container| {
                !container.view.borrow().status.is_running()
                    && !crate::recover::starts_with_daemon(container)
                    && !container.is_awaited()
            })
    }

    /// Resolves when the engine may have become idle or stopped being so; for the daemon's idle timer.
    pub async fn idle_changed(&self) {
        self.idle.notified().await;
    }

    /// Finishes deferred work and closes the store. Containers go on.
    pub async fn close(self: &Arc<Self>) {
        for container in self.registry.all() {
            crate::container::record(self, &container);
        }
        let mut deferred = self.deferred.subscribe();
        // The sender lives in `self`.
        drop(deferred.wait_for(|&count| count == 0).await);
        crate::network::rest(self).await;
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(error = %base::error::chain(&error), "the store could not be checkpointed");
        }
        drop(self.zygote.lock().await.take());
    }

    /// Tells the idle timer that something changed.
    pub(crate) fn touch(&self) {
        self.idle.notify_waiters();
    }

    /// Returns a new shim's connection; starts another zygote if the last one died.
    pub(crate) async fn new_shim(&self) -> Result<ShimConnection, ZygoteError> {
        let mut zygote = self.zygote.lock().await;
        if let Some(living) = zygote.as_ref() {
            match living.new_shim().await {
                Err(ZygoteError::Gone) => tracing::warn!("the zygote died and is started again"),
                result => return result,
            }
        }
        let fresh = Zygote::spawn(&zygote_options(&self.config, &self.layout)).await?;
        let shim = fresh.new_shim().await;
        *zygote = Some(fresh);
        shim
    }

    /// Writes to the store; survives `kill -9`.
    pub(crate) fn write<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.store.write(Durability::Crash, change);
        let commits = self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // A commit writes a few pages; the log is moved into the file before it grows large, where nobody waits.
        if commits >= Store::checkpoint_pages() / 4 {
            self.commits.store(0, std::sync::atomic::Ordering::Relaxed);
            let store = Arc::clone(&self.store);
            self.defer(move || {
                if let Err(error) = store.checkpoint() {
                    tracing::warn!(error = %base::error::chain(&error), "the store could not be checkpointed");
                }
            });
        }
        result
    }

    /// Writes what changes of a container; one that is not recorded yet is recorded with it, in one commit.
    pub(crate) fn write_of(
        self: &Arc<Self>,
        container: &Arc<Container>,
        change: impl FnOnce(&mut Batch<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut unrecorded = container.unrecorded();
        self.write(|batch| {
            if let Some(row) = &*unrecorded {
                batch.insert_container(row)?;
            }
            change(batch)
        })?;
        if unrecorded.take().is_some() {
            crate::container::record_file::write_later(self, container);
        }
        Ok(())
    }

    /// Records a container's present state.
    pub(crate) fn write_state(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), StoreError> {
        let state = encode(&container.state_record(&self.host.boot_id));
        self.write_of(container, |batch| {
            batch.set_container_state(container.id.as_str(), &state)
        })
    }

    /// Does blocking work after the reply; the next daemon does it if this one dies before.
    pub(crate) fn defer(self: &Arc<Self>, work: impl FnOnce() + Send + 'static) {
        /// In which a reply goes out, and its receiver uses the processor.
        const MOMENT: Duration = Duration::from_millis(1);
        self.defer_by(MOMENT, || true, work);
    }

    /// As [`Engine::defer`], after `delay`, and if it `is_wanted` still.
    pub(crate) fn defer_by(
        self: &Arc<Self>,
        delay: Duration,
        is_wanted: impl FnOnce() -> bool + Send + 'static,
        work: impl FnOnce() + Send + 'static,
    ) {
        self.deferred.send_modify(|count| *count += 1);
        let engine = Arc::clone(self);
        drop(tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let done = move || {
                engine.deferred.send_modify(|count| *count -= 1);
                engine.touch();
            };
            if !is_wanted() {
                return done();
            }
            drop(tokio::task::spawn_blocking(move || {
                work();
                done();
            }));
        }));
    }

    /// Brings unpacked layers to the disk, when nobody waits for it.
    pub(crate) fn sync_layers_later(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        self.defer(move || {
            if let Err(error) = engine.storage.sync_layers() {
                // They count for this boot only, and their blobs are on the disk.
                tracing::warn!(error = %base::error::chain(&error), "layers could not be synced");
            }
        });
    }

    /// Returns the execs, locked; never held across an await.
    pub(crate) fn execs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cgroup of a container.
    pub(crate) fn cgroup_path(&self, parent: &str, id: &str) -> String {
        let parent = if parent.is_empty() {
            &self.config.cgroup_parent
        } else {
            parent
        };
        format!("/{}/{id}", parent.trim_matches('/'))
    }
}

/// Returns a document for the store. Everything that is recorded is made of strings, numbers and lists.
pub(crate) fn encode<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn zygote_options(config: &EngineConfig, layout: &Layout) -> ZygoteOptions {
    ZygoteOptions {
        executable: config.shim_executable.clone(),
        socket_directory: layout.shims(),
    }
}

fn part<E: std::error::Error + Send + Sync + 'static>(part: &'static str) -> impl FnOnce(E) -> OpenError {
    move |source| OpenError::Part {
        part,
        source: Box::new(source),
    }
}

/// Two daemons on one data root would each undo what the other does.
fn lock_data_root(layout: &Layout, config: &EngineConfig) -> Result<File, OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(layout.lock())
        .map_err(part("the lock of the data root"))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse {
            path: config.data_root.display().to_string(),
        }),
        Err(errno) => Err(part("the lock of the data root")(std::io::Error::from(errno))),
    }
}

/// The id that info shows: drawn once for each data root.
fn stable_id(store: &Store) -> Result<String, StoreError> {
    if let Some(id) = store.meta("id")? {
        return Ok(id);
    }
    let hex = base::id::random_hex::<16>().unwrap_or_else(|_no_randomness| "0".repeat(32));
    let id = format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    );
    store.write(Durability::Power, |batch| batch.set_meta("id", &id))?;
    Ok(id)
}
