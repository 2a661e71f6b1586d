//! Create: resolve the image, reserve the name, record.
//!
//! The record is written last, in one commit: a daemon killed before it leaves a directory, a snapshot and perhaps
//! anonymous volumes without a record, which the next one sweeps; killed after it, the container is complete. One that is
//! started at once is recorded by its start, in the commit that says so.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Timestamp;
use base::error::{Kind, Kinded, chain};
use base::id::ContainerId;
use db::ContainerRow;
use image::Image;
use storage::{Base, Owners, SnapshotOptions};

use super::groups::Groups;
use super::mounts::{self, Plan};
use super::namespaces::{self, User};
use super::record::{Container, Record, StateRecord};
use super::view::{Exit, Status};
use crate::Engine;
use crate::config::{Config, HostConfig};
use crate::daemon::encode;
use crate::failpoint;
use crate::registry::{ReserveError, slot_base};

/// A container to create.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The name, with or without a leading slash; `None`: a random one.
    pub name: Option<String>,
    /// `os[/arch[/variant]]`; `None`: the image's.
    pub platform: Option<String>,
    /// What runs in it.
    pub config: Config,
    /// How this machine runs it.
    pub host: HostConfig,
    /// Whether it is started as soon as it is created: what that needs, and takes the kernel long, is begun already, and the
    /// start records both.
    pub starts: bool,
}

/// A container was created.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Creating failed; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The image is not here.
    #[error("No such image: {image}")]
    NoImage {
        /// The image as the caller wrote it.
        image: String,
    },
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        holder: ContainerId,
    },
    /// The request is wrong.
    #[error("{text}")]
    Invalid {
        /// What is wrong with it.
        text: String,
    },
    /// The policy forbids the image.
    #[error("{text}")]
    Denied {
        /// The rule, and why.
        text: String,
    },
    /// Something that was asked for is not done yet or cannot be done here.
    #[error("{text}")]
    Unsupported {
        /// What.
        text: String,
    },
    /// A step failed.
    #[error("{doing}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// What kind of failure it is.
        kind: Kind,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for CreateError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoImage { .. } => Kind::NotFound,
            Self::NameInUse { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Denied { .. } => Kind::Denied,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Step { kind, .. } => *kind,
        }
    }
}

/// Creates a container; it does not run yet.
pub async fn create(engine: &Arc<Engine>, request: CreateRequest) -> Result<Created, CreateError> {
    let CreateRequest {
        name,
        platform,
        mut config,
        mut host,
        starts,
    } = request;
    let mut warnings = Vec::new();
    let image = resolve_image(engine, &mut config, &host, platform.as_deref())?;
    refuse_unsupported(&config, &host)?;
    let user = namespaces::decide(engine, &host).map_err(invalid)?;
    let available = matches!(user, User::Host).then_some(&engine.host.capabilities);
    let checked = spec::check(&config, &host, &engine.host.limitable, available)
        .map_err(|error| invalid(error.to_string()))?;
    warnings.extend(checked.warnings);
    super::host_files::check(&host).map_err(invalid)?;
    crate::network::check(engine, &config, &host).map_err(invalid)?;
    if !host.ports.is_empty() {
        match crate::network::mode(engine, &config, &host) {
            "host" => {
                warnings.push("Published ports are discarded when using host network mode".to_owned());
            }
            "none" => warnings.push("Published ports are discarded: the container has no network".to_owned()),
            _ => {}
        }
    }
    if spec::command_line(&config).is_empty() {
        return Err(invalid("no command specified".to_owned()));
    }
    if !config.stop_signal.is_empty() && crate::signal::parse(&config.stop_signal).is_none() {
        return Err(invalid(format!(
            "Invalid signal: {}",
            config.stop_signal.escape_default()
        )));
    }
    complete_log(engine, &mut host)?;
    let layers = image.as_deref().map(Image::chain).unwrap_or_default();
    if let Some(image) = &image {
        crate::image::ensure_layers(engine, image)
            .await
            .map_err(|error| step("unpack the image", error))?;
    }

    let mut undo = Undo::new(engine);
    let name = reserve_name(engine, name, &undo.id).await?;
    undo.name = Some(name.clone());
    let (slot, user_base) = match &user {
        User::Host | User::Mapped => (None, None),
        User::Own => {
            let slot = engine
                .registry
                .take_slot()
                .map_err(|_full| CreateError::Unsupported {
                    text: "no range of host ids is free for another user namespace".to_owned(),
                })?;
            (Some(slot), Some(slot_base(slot)))
        }
        User::Of(target) => {
            let record = target.record();
            record.user_base.inspect(|&base| engine.registry.use_base(base));
            host.uid_maps.clone_from(&record.host.uid_maps);
            host.gid_maps.clone_from(&record.host.gid_maps);
            (None, record.user_base)
        }
    };
    undo.user_base = user_base;
    failpoint::reached("create.reserve");

    let directory = engine.layout.container(&undo.id);
    engine
        .spares
        .put(&directory)
        .map_err(|error| step("make the container's directory", error))?;
    undo.directory = true;
    if starts {
        undo.groups = Groups::begin_early(engine, &undo.id, &host);
    }
    failpoint::reached("create.directory");

    let plan = mounts::plan(engine, &config, &host).map_err(|(plan, text)| {
        undo.volumes = plan.made;
        invalid(text)
    })?;
    let Plan { mounts, made } = plan;
    undo.volumes = made;
    failpoint::reached("create.volumes");

    let record = Record {
        created: Timestamp::now(),
        image_id: image
            .as_deref()
            .map(|image| image.id.to_string())
            .unwrap_or_default(),
        layers,
        user_base,
        mounts,
        log_driver: host.log.driver.clone(),
        log_options: host.log.options.clone(),
        left_network: false,
        rollback: None,
        config: Arc::new(config),
        host: Arc::new(host),
    };
    create_snapshot(engine, &undo.id, &record).await?;
    undo.snapshot = true;
    failpoint::reached("create.snapshot");
    fill_volumes(engine, &record).await?;

    let state = StateRecord {
        status: Status::Created,
        started_at: Timestamp::NEVER,
        finished_at: Timestamp::NEVER,
        exit: Exit::default(),
        restart_count: 0,
        stopped: false,
        boot_id: engine.host.boot_id.clone(),
        endpoints: Vec::new(),
        publications: Vec::new(),
        is_answered: false,
    };
    let row = ContainerRow {
        id: undo.id.to_string(),
        name: name.clone(),
        slot,
        config: encode(&record),
        state: encode(&state),
    };
    let container = Arc::new(Container::new(undo.id.clone(), name, record, &state));
    *container.unrecorded() = Some(row);
    if starts {
        record_later(engine, &container);
    } else {
        engine
            .write_of(&container, |_nothing_more| Ok(()))
            .map_err(|error| step("record the container", error))?;
        failpoint::reached("create.record");
    }

    container.keep_groups(undo.groups.take());
    let id = undo.finish();
    engine.registry.insert(Arc::clone(&container));
    super::finish::tell(engine, &container, "create", &[]);
    Ok(Created { id, warnings })
}

/// Records a container whose start never came: who asked for both has gone in between.
fn record_later(engine: &Arc<Engine>, container: &Arc<Container>) {
    const LONGEST: Duration = Duration::from_secs(1);
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    drop(tokio::spawn(async move {
        tokio::time::sleep(LONGEST).await;
        record(&engine, &container);
    }));
}

/// Records a container, unless something of it was recorded.
pub(crate) fn record(engine: &Arc<Engine>, container: &Arc<Container>) {
    if container.unrecorded().is_some()
        && let Err(error) = engine.write_of(container, |_nothing_more| Ok(()))
    {
        tracing::error!(container = %container.id, error = %chain(&error), "a container was not recorded");
    }
}

/// What was done so far; undone when dropped before [`Undo::finish`]. Every undo is safe when its step never happened.
struct Undo {
    engine: Arc<Engine>,
    id: ContainerId,
    name: Option<String>,
    user_base: Option<u32>,
    directory: bool,
    groups: Option<Groups>,
    snapshot: bool,
    volumes: Vec<String>,
    armed: bool,
}

impl Undo {
    fn new(engine: &Arc<Engine>) -> Self {
        // The kernel has randomness since long before a daemon starts; an id of zeros would be refused as taken.
        let id = ContainerId::generate().or_else(|_first| ContainerId::generate());
        Self {
            engine: Arc::clone(engine),
            id: id.unwrap_or_else(|_none| "0".repeat(64).parse().expect("64 digits are an id")),
            name: None,
            user_base: None,
            directory: false,
            groups: None,
            snapshot: false,
            volumes: Vec::new(),
            armed: true,
        }
    }

    fn finish(mut self) -> ContainerId {
        self.armed = false;
        self.id.clone()
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let engine = &self.engine;
        for name in &self.volumes {
            log_failure("remove a volume", engine.volumes.remove(name));
        }
        if self.snapshot {
            log_failure("remove a snapshot", engine.storage.remove_snapshot(&self.id));
        }
        if let Some(groups) = self.groups.take() {
            groups.discard(engine);
        }
        if self.directory {
            log_failure(
                "remove a container's directory",
                crate::files::remove_tree(&engine.layout.container(&self.id)),
            );
        }
        if let Some(base) = self.user_base {
            engine.registry.leave_base(base);
        }
        if let Some(name) = &self.name {
            engine.registry.release_name(name, &self.id);
        }
    }
}

/// What cannot be undone now is swept by the next daemon.
fn log_failure<E: std::error::Error + 'static>(doing: &'static str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(error = %chain(&error), doing, "a failed creation left something behind");
    }
}

fn resolve_image(
    engine: &Engine,
    config: &mut Config,
    host: &HostConfig,
    platform: Option<&str>,
) -> Result<Option<Arc<Image>>, CreateError> {
    if host.rootfs.is_some() {
        return Ok(None);
    }
    if config.image.is_empty() {
        return Err(invalid("no image specified".to_owned()));
    }
    let image = engine
        .images
        .resolve(&config.image)
        .map_err(|error| match error.kind() {
            Kind::NotFound => CreateError::NoImage {
                image: crate::image::full_name(&config.image),
            },
            _ => invalid(chain(&error).to_string()),
        })?;
    if let Some(platform) = platform.filter(|platform| !platform.is_empty()) {
        let wanted: oci::platform::Platform = platform
            .parse()
            .map_err(|error: oci::platform::ParsePlatformError| invalid(error.to_string()))?;
        if !image.config.platform().runs_on(&wanted) && image.config.platform() != wanted {
            return Err(CreateError::NoImage {
                image: format!("{} with platform {platform}", config.image),
            });
        }
    }
    // Also of an image that has been here for long: the policy may have changed, and the name may have moved.
    crate::policy::check_use(engine, &image, &config.image).map_err(|refusal| CreateError::Denied {
        text: refusal.to_string(),
    })?;
    spec::merge(config, &image.config.config);
    Ok(Some(image))
}

/// Names what was asked for and is not part of this version; nothing is ignored.
fn refuse_unsupported(config: &Config, host: &HostConfig) -> Result<(), CreateError> {
    let refused = [
        (!host.storage_opt.is_empty(), "--storage-opt"),
        (!host.device_requests.is_empty(), "--gpus and CDI devices"),
        (
            config
                .healthcheck
                .as_ref()
                .is_some_and(|test| !test.is_empty() && test != &["NONE"]),
            "--health-cmd",
        ),
        (
            !matches!(
                host.runtime.as_str(),
                "" | "berth" | "runc" | "io.containerd.runc.v2"
            ),
            "--runtime with another runtime",
        ),
    ];
    match refused.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(CreateError::Unsupported {
            text: format!("{what} is not supported by this version of Berth"),
        }),
        None => Ok(()),
    }
}

/// Fills the log driver and its options from the daemon's and checks them.
fn complete_log(engine: &Engine, host: &mut HostConfig) -> Result<(), CreateError> {
    if host.log.driver.is_empty() {
        host.log.driver.clone_from(&engine.config.log_driver);
    }
    if host.log.driver == engine.config.log_driver {
        for (key, value) in &engine.config.log_options {
            host.log
                .options
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    logs::options::Options::parse(&host.log.driver, &host.log.options)
        .map_err(|error| invalid(error.to_string()))?;
    super::task::check_log_options(&host.log.options).map_err(|text| CreateError::Unsupported { text })
}

async fn reserve_name(
    engine: &Engine,
    wanted: Option<String>,
    id: &ContainerId,
) -> Result<String, CreateError> {
    if let Some(wanted) = wanted.filter(|name| !name.is_empty()) {
        let name = wanted.strip_prefix('/').unwrap_or(&wanted);
        check_name(name)?;
        return match engine.registry.reserve_name(name, id).await {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(taken(name, error)),
        };
    }
    for round in 0..10 {
        let name = crate::names::random(round).map_err(|error| CreateError::Step {
            doing: "draw a name",
            kind: Kind::Internal,
            source: Box::new(error),
        })?;
        if engine.registry.try_reserve_name(&name, id).is_ok() {
            return Ok(name);
        }
    }
    // Nobody has a million containers, but an id's start is free for certain.
    let name = id.short().to_owned();
    engine
        .registry
        .try_reserve_name(&name, id)
        .map(|()| name.clone())
        .map_err(|error| taken(&name, error))
}

/// Checks a name that was given.
pub(crate) fn check_name(name: &str) -> Result<(), CreateError> {
    if crate::names::is_valid(name) {
        return Ok(());
    }
    Err(invalid(format!(
        "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        name.chars()
            .take(256)
            .filter(|c| !c.is_control())
            .collect::<String>()
    )))
}

/// Returns the error for a name that is taken.
pub(crate) fn taken(name: &str, error: ReserveError) -> CreateError {
    match error {
        ReserveError::Name(holder) => CreateError::NameInUse {
            name: name.to_owned(),
            holder,
        },
        ReserveError::Slots => CreateError::Unsupported {
            text: "no range of host ids is free".to_owned(),
        },
    }
}

/// Returns how a container's file system is made.
pub(crate) fn snapshot_options(record: &Record) -> SnapshotOptions {
    SnapshotOptions {
        volatile: record.host.auto_remove,
        owners: record.ids().map(|ids| {
            let (uid, gid) = ids.root();
            Owners {
                uid,
                gid,
                count: ids.first_range(),
            }
        }),
        size: None,
    }
}

async fn create_snapshot(engine: &Arc<Engine>, id: &ContainerId, record: &Record) -> Result<(), CreateError> {
    let options = snapshot_options(record);
    let work = {
        let (engine, id, record) = (Arc::clone(engine), id.clone(), record.clone());
        move || match &record.host.rootfs {
            // The directory itself is the root file system: there is nothing to make.
            Some(rootfs) if !rootfs.overlay => check_directory(&rootfs.path),
            Some(rootfs) => {
                check_directory(&rootfs.path)?;
                let base = Base::Directory(&rootfs.path);
                let made = engine.storage.create_snapshot(&id, &base, &options);
                made.map_err(|error| step("make the container's file system", error))
            }
            None => {
                let base = Base::Layers(&record.layers);
                let made = engine.storage.create_snapshot(&id, &base, &options);
                made.map_err(|error| step("make the container's file system", error))
            }
        }
    };
    // Overlay makes three directories; vfs copies a tree.
    match engine.storage.kind() {
        storage::DriverKind::Overlay => work(),
        storage::DriverKind::Vfs => blocking(work).await,
    }
}

fn check_directory(path: &Path) -> Result<(), CreateError> {
    if path.is_absolute() && path.is_dir() {
        Ok(())
    } else {
        Err(invalid(format!(
            "root file system \"{}\" is not a directory with an absolute path",
            path.display()
        )))
    }
}

/// Gives empty volumes what the image has at their place. A volume that holds anything is never touched
/// (CVE-2020-1726).
async fn fill_volumes(engine: &Arc<Engine>, record: &Record) -> Result<(), CreateError> {
    let wanted = |mount: &&super::record::MountRecord| {
        mount.copy
            && mount.point.kind == "volume"
            && mount.subpath.is_empty()
            && !mount.point.source.is_empty()
    };
    let targets: Vec<(String, String)> = record
        .mounts
        .iter()
        .filter(wanted)
        .filter(|mount| is_empty(Path::new(&mount.point.source)))
        .map(|mount| (mount.point.source.clone(), mount.point.destination.clone()))
        .collect();
    if targets.is_empty() || record.layers.is_empty() {
        return Ok(());
    }
    let (engine, layers) = (Arc::clone(engine), record.layers.clone());
    blocking(move || {
        for (source, destination) in targets {
            let root = sys::path::Root::open(&source).map_err(|error| step("open a volume", error))?;
            let target = root.into_fd();
            engine
                .storage
                .copy_directory(&layers, Path::new(&destination), target.as_fd())
                .map_err(|error| step("copy the image's content into a volume", error))?;
        }
        Ok(())
    })
    .await
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CreateError> + Send + 'static,
) -> Result<T, CreateError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(CreateError::Step {
            doing: "wait for a worker",
            kind: Kind::Internal,
            source: Box::new(error),
        })
    })
}

fn invalid(text: String) -> CreateError {
    CreateError::Invalid { text }
}

fn step<E: std::error::Error + Send + Sync + 'static>(doing: &'static str, error: E) -> CreateError {
    CreateError::Step {
        doing,
        kind: kind_of(&error),
        source: Box::new(error),
    }
}

/// A step's failure is the daemon's unless its error says that the request was wrong.
fn kind_of<E: std::error::Error + 'static>(error: &E) -> Kind {
    let error: &dyn std::error::Error = error;
    match error.downcast_ref::<storage::StorageError>().map(Kinded::kind) {
        Some(kind @ (Kind::Invalid | Kind::Unsupported)) => kind,
        _ => Kind::Internal,
    }
}
