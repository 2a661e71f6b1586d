//! The container's root, as the container sees it: with its volumes and binds.
//!
//! While it runs, that is `/proc/PID/root`. Otherwise its file system is put together once more, in a mount namespace of
//! one thread: it ends with the thread, so nothing is left whatever happens to the daemon. The container's actor waits
//! meanwhile, because two mounts of one writable layer would destroy it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use archive::IdShift;
use base::error::Kind;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use spec::mounts::Mount;
use sys::SyscallError;
use sys::clone::CloneFlags;
use sys::mount::{Attributes, Change, Depth, Propagation, mount_setattr};
use sys::path::Root;
use tokio::sync::oneshot;

use crate::Engine;
use crate::container::actor::{Command, ask};
use crate::container::changes::{FilesError, id_shift};
use crate::container::record::Container;
use crate::container::view::{LookupError, Status};
use crate::container::{host_files, task};

/// What a worker sees of a container.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) root: Root,
    pub(super) ids: IdShift,
    /// Why nothing can be written in it, if the disk has no room for a writable one.
    pub(super) full: Option<SyscallError>,
}

/// Runs `work` with the container's root, on a thread of its own that makes files as the container's root user.
pub(super) async fn with<T: Send + 'static>(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    work: impl FnOnce(&Sight) -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let gone = || LookupError::NotFound {
        name: container.id.to_string(),
    };
    let mut hold = None;
    if !container.view().status.has_process() {
        let (release, held) = oneshot::channel::<()>();
        ask(engine, container, |granted| Command::Hold(granted, held))
            .await
            .ok_or_else(gone)?;
        hold = Some(release);
    }
    let view = container.view();
    let pid = match view.status {
        Status::Running | Status::Paused => {
            hold = None;
            Some(view.pid)
        }
        Status::Created | Status::Exited => None,
        Status::Restarting => {
            return Err(FilesError::State {
                text: format!(
                    "container {} is restarting, wait until the container is running",
                    container.id
                ),
            });
        }
        Status::Removing | Status::Dead => {
            return Err(FilesError::State {
                text: format!("container {} is marked for removal", container.id),
            });
        }
    };
    let (sender, receiver) = oneshot::channel();
    let (worker, target) = (Arc::clone(engine), Arc::clone(container));
    let spawned = std::thread::Builder::new()
        .name("copy".to_owned())
        .spawn(move || {
            let sight = match pid {
                Some(pid) => of_process(&target, pid),
                None => of_layers(&worker, &target),
            };
            let result = sight.and_then(|sight| work(&sight));
            drop(hold);
            drop(sender.send(result));
        });
    if let Err(error) = spawned {
        return Err(FilesError::step(
            "make a thread for",
            container,
            Kind::Internal,
            error,
        ));
    }
    receiver.await.unwrap_or_else(|_panicked| {
        Err(FilesError::Unsupported {
            text: "the daemon met a fault of its own; its log has more".to_owned(),
        })
    })
}

fn failed(doing: &'static str, container: &Container) -> impl FnOnce(SyscallError) -> FilesError {
    move |error| FilesError::step(doing, container, Kind::Internal, error)
}

/// Opens the root of a process of the container.
fn of_process(container: &Container, pid: i32) -> Result<Sight, FilesError> {
    let process = Root::open(format!("/proc/{pid}")).map_err(failed("find the process of", container))?;
    // The pid may be another process's by now. The descriptor stays with this one, and its cgroup says whose it is.
    let groups = process
        .read_file("cgroup", 1 << 20)
        .map_err(failed("look at the process of", container))?;
    if !String::from_utf8_lossy(&groups).contains(container.id.as_str()) {
        return Err(FilesError::State {
            text: format!("container {} is not running", container.id),
        });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(process.as_fd(), "root", flags, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("openat(/proc/{pid}, \"root\")"), errno))
        .map_err(failed("open the root of", container))?;
    act_as_root(container)?;
    Ok(Sight {
        root: Root::from_fd(root),
        ids: id_shift(&container.record()),
        full: None,
    })
}

/// Files that are made belong to the container's root; below an idmapped mount others could not be made at all.
fn act_as_root(container: &Container) -> Result<(), FilesError> {
    match container.record().ids() {
        None => Ok(()),
        Some(ids) => {
            let (user, group) = ids.root();
            sys::credentials::set_fs_ids(user, group).map_err(failed("act as the root of", container))
        }
    }
}

/// Puts the file system of a container that does not run together, in a mount namespace of this thread.
fn of_layers(engine: &Engine, container: &Container) -> Result<Sight, FilesError> {
    let record = container.record();
    sys::namespace::unshare(CloneFlags::NEWNS).map_err(failed("make a mount namespace for", container))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| SyscallError::new("mount(\"/\", MS_PRIVATE|MS_REC)", errno))
        .map_err(failed("make a mount namespace for", container))?;
    let users = match record.ids() {
        None => None,
        Some(ids) => {
            let text = |maps: &[crate::config::IdMap]| -> String {
                let line =
                    |map: &crate::config::IdMap| format!("{} {} {}\n", map.container, map.host, map.size);
                maps.iter().map(line).collect()
            };
            let made = sys::namespace::new_user_namespace(&text(&ids.users), &text(&ids.groups));
            Some(made.map_err(failed("make a user namespace for", container))?)
        }
    };
    let rootfs = match &record.host.rootfs {
        Some(rootfs) if !rootfs.overlay => oci::rootfs::Rootfs::Directory {
            path: rootfs.path.clone(),
            idmap: users.is_some(),
        },
        _ => engine.storage.rootfs(&container.id).map_err(|error| {
            FilesError::step(
                "find the layers of",
                container,
                base::error::Kinded::kind(&error),
                error,
            )
        })?,
    };
    let runtime::Looked { tree, full } = runtime::make_rootfs(&rootfs, users.as_ref().map(AsFd::as_fd))
        .map_err(|error| FilesError::step("mount the layers of", container, Kind::Internal, error))?;
    // On top of the thread's own root: the one place that exists everywhere.
    let place = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SyscallError::new("open(\"/\")", errno))
        .map_err(failed("mount the layers of", container))?;
    sys::mount::move_mount(&tree, &place).map_err(failed("mount the layers of", container))?;
    let root = Root::from_fd(tree);
    act_as_root(container)?;
    let files = host_files::directory(engine, &engine.layout.run(&container.id), &record);
    let mut mounts: Vec<Mount> = host_files::mounts(&files, &record)
        .into_iter()
        // They are made by the first start.
        .filter(|mount| matches!(mount, Mount::Bind { source, .. } if Path::new(source).exists()))
        .collect();
    for mount in &record.mounts {
        let mount = task::resolve_mount(mount).map_err(|error| {
            FilesError::step(
                "find a mount of",
                container,
                base::error::Kinded::kind(&error),
                error,
            )
        })?;
        mounts.push(mount);
    }
    mounts.sort_by_key(|mount| mount.target().len());
    for mount in &mounts {
        attach(&root, mount, users.as_ref())
            .map_err(|error| match &full {
                Some(cause) if error.errno() == Errno::ROFS => cause.clone(),
                _ => error,
            })
            .map_err(failed("mount a volume of", container))?;
    }
    Ok(Sight {
        root,
        ids: id_shift(&record),
        full,
    })
}

/// Puts a bind or volume in its place. Memory of a container that does not run holds nothing.
fn attach(root: &Root, mount: &Mount, users: Option<&OwnedFd>) -> Result<(), SyscallError> {
    let Mount::Bind {
        source,
        target,
        read_only,
        recursive,
        read_only_recursive,
        plain_ids,
        ..
    } = mount
    else {
        return Ok(());
    };
    let depth = if *recursive { Depth::Recursive } else { Depth::One };
    let tree = sys::mount::open_tree_clone_at(source, depth)?;
    if let (Some(users), false) = (users, *plain_ids) {
        let change = Change {
            idmap: Some(users.as_fd()),
            ..Change::default()
        };
        // As at a start: where ids cannot be shifted, files keep the host's owners.
        if mount_setattr(&tree, depth, change).is_err() && depth == Depth::Recursive {
            drop(mount_setattr(&tree, Depth::One, change));
        }
    }
    let private = Change {
        propagation: Some(Propagation::Private),
        ..Change::default()
    };
    mount_setattr(&tree, Depth::Recursive, private)?;
    if *read_only {
        let change = Change {
            set: Attributes::RDONLY,
            ..Change::default()
        };
        let reach = if *read_only_recursive {
            Depth::Recursive
        } else {
            Depth::One
        };
        mount_setattr(&tree, reach, change)?;
    }
    let stat =
        rustix::fs::fstat(&tree).map_err(|errno| SyscallError::new(format!("fstat({source:?})"), errno))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
    let place = match root.open_in_root(target, OFlags::PATH, Mode::empty()) {
        // The first start would make it as well.
        Err(error) if error.errno() == Errno::NOENT && is_directory => root.mkdir_all(target, 0o755)?,
        Err(error) if error.errno() == Errno::NOENT => {
            if let Some(parent) = Path::new(target).parent() {
                root.mkdir_all(parent, 0o755)?;
            }
            root.create_file(target, 0o644)?
        }
        other => other?,
    };
    sys::mount::move_mount(&tree, &place)
}
