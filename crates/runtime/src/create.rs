//! Making a container: the parent's side.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{ContainerState, LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sys::clone::{CloneFlags, Cloned};
use sys::mount::Depth;

use crate::capability;
use crate::channel::{Channel, Message};
use crate::child::{self, Plan, give_pipe};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::hook::{HookKind, run_hooks};
use crate::mount::{self, Kind, Maker};
use crate::namespace::{Namespaces, clone_child};
use crate::process::{ProcessContext, ProcessPlan};
use crate::request::{CreateRequest, Created, Stdio};
use crate::sandbox::Sandbox;
use crate::{rootfs, sysctl};

/// Makes a container and, unless it is held, runs its program: when this returns, `execve` has succeeded.
///
/// The caller must be the only thread of its process and is the container's parent. After an error nothing is left
/// but what the caller made itself (cgroup, directories).
pub fn create(request: CreateRequest<'_>) -> Result<Created> {
    refuse_unsupported(request.spec)?;
    let mut warnings = Vec::new();
    let plan = make_plan(&request, &mut warnings)?;
    // Modes of nodes and mount points are meant as they are written; the child sets its own mask before the program.
    let umask = rustix::process::umask(Mode::empty());
    let result = clone_and_serve(plan, request, warnings);
    rustix::process::umask(umask);
    result
}

/// As [`create`], with the namespaces of a sandbox, which must fit ([`Sandbox::fits`]), whose ids are mapped
/// ([`Sandbox::map_ids`]), and which is used up.
pub fn create_in(request: CreateRequest<'_>, sandbox: &mut Sandbox) -> Result<Created> {
    refuse_unsupported(request.spec)?;
    let mut warnings = Vec::new();
    let plan = make_plan(&request, &mut warnings)?.in_sandbox();
    let umask = rustix::process::umask(Mode::empty());
    let result = clone_in(&plan, request, sandbox, warnings);
    rustix::process::umask(umask);
    result
}

/// Checks all of `request` that [`create`] checks before it makes anything, and makes nothing.
pub fn check(request: &CreateRequest<'_>) -> Result<()> {
    refuse_unsupported(request.spec)?;
    make_plan(request, &mut Vec::new()).map(drop)
}

pub(crate) fn make_plan<'a>(request: &CreateRequest<'a>, warnings: &mut Vec<String>) -> Result<Plan<'a>> {
    let spec = request.spec;
    let mut namespaces = Namespaces::from_spec(spec)?;
    // What is to be held must be there when we look.
    namespaces.makes_network &= request.pins.is_empty();
    let mounts = mount::plan(spec, &namespaces, request.cgroup)?;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| CreateError::spec("there is no process"))?;
    let context = ProcessContext {
        spec,
        user: request.user,
        groups: request.groups,
        filter: request.seccomp_filter,
        parent_death_signal: request.parent_death_signal,
        preserve_fds: request.preserve_fds,
    };
    let mut process = ProcessPlan::new(process, &context)?;
    // A new user namespace comes with every capability; in the host's there are only the caller's.
    if !namespaces.has_user() {
        let available = capability::bounding_set();
        process
            .capabilities
            .limit(available, request.missing_capabilities, warnings)?;
    }
    let entry = request.cgroup.map(cgroup::Cgroup::entry).transpose();
    let entry =
        entry.map_err(|error| CreateError::new(Step::Cgroup, 0, base::error::chain(&error).to_string()))?;
    let masks = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.masked_paths().as_ref());
    let sends_null = masks.is_some_and(|masks| !masks.is_empty())
        && !mounts.iter().any(|mount| matches!(mount.kind, Kind::Dev));
    Ok(Plan {
        id: request.id,
        bundle: request.bundle,
        spec,
        sysctls: sysctl::plan(spec, &namespaces)?,
        namespaces,
        mounts,
        process,
        entry,
        init: request.init,
        sends_null,
        is_plugged: request.plug.is_some(),
    })
}

fn refuse_unsupported(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else {
        return Err(CreateError::spec("there is no \"linux\" section"));
    };
    let named = [
        (
            "linux.netDevices",
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        (
            "linux.mountLabel",
            linux
                .mount_label()
                .as_deref()
                .is_some_and(|label| !label.is_empty()),
        ),
    ];
    match named.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(CreateError::unsupported(name)),
        None => Ok(()),
    }
}

fn clone_and_serve(plan: Plan<'_>, request: CreateRequest<'_>, warnings: Vec<String>) -> Result<Created> {
    if plan.namespaces.has_user() {
        give_streams(&request.stdio, plan.namespaces.host_root());
    }
    let (channel, childs) = Channel::pair()?;
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    let (pid, pidfd) = match clone_child(&plan.namespaces, into, &channel, &childs)? {
        Cloned::Child => {
            drop(channel);
            child::run(&plan, childs, request.stdio, request.gate)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(childs);
    let child = Child {
        pid,
        pidfd: pidfd.as_fd(),
        sandbox: None,
    };
    finish(serve(&plan, &request, &channel, child, warnings), pid, pidfd)
}

fn clone_in(
    plan: &Plan<'_>,
    request: CreateRequest<'_>,
    sandbox: &mut Sandbox,
    warnings: Vec<String>,
) -> Result<Created> {
    give_streams(&request.stdio, plan.namespaces.host_root());
    let (channel, childs) = Channel::pair()?;
    channel.send_mapped()?;
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    // The child has a copy, of which it takes what it needs.
    let mut given = Some((childs, request));
    let (pid, pidfd) =
        sandbox.clone_first(plan.namespaces.clone_flags(), into, &mut || match given.take() {
            Some((childs, request)) => child::run(plan, childs, request.stdio, request.gate),
            None => sys::process::exit_now(1),
        })?;
    let (childs, request) = given.ok_or_else(|| CreateError::new(Step::Sync, 0, "there is no request"))?;
    drop(childs);
    let child = Child {
        pid,
        pidfd: pidfd.as_fd(),
        sandbox: Some(sandbox),
    };
    finish(serve(plan, &request, &channel, child, warnings), pid, pidfd)
}

/// Returns what was made, or ends the first process of what was not.
fn finish(served: Result<Served>, pid: Pid, pidfd: OwnedFd) -> Result<Created> {
    match served {
        Ok(served) => Ok(Created {
            pid,
            pidfd,
            console: served.console,
            mounts: served.mounts,
            warnings: served.warnings,
            leftovers: served.leftovers,
        }),
        Err(error) => {
            kill_and_reap(pidfd.as_fd());
            Err(error)
        }
    }
}

/// Gives the container's root the pipes that are its standard streams, so that `/dev/stdout` can be opened.
fn give_streams(stdio: &Stdio, root: (u32, u32)) {
    match stdio {
        Stdio::Fds {
            stdin,
            stdout,
            stderr,
        } => {
            for stream in [stdin, stdout, stderr] {
                give_pipe(stream.as_fd(), root.0, root.1);
            }
        }
        Stdio::Inherit => {
            for stream in (0..=2).filter_map(|raw| sys::fd::borrow(raw).ok()) {
                give_pipe(stream, root.0, root.1);
            }
        }
        Stdio::Terminal { .. } => {}
    }
}

/// The container's first process, not reaped yet.
#[derive(Clone, Copy, Debug)]
struct Child<'a> {
    pid: Pid,
    pidfd: BorrowedFd<'a>,
    /// Whose namespaces it is in.
    sandbox: Option<&'a Sandbox>,
}

struct Served {
    console: Option<OwnedFd>,
    mounts: Option<OwnedFd>,
    warnings: Vec<String>,
    leftovers: Vec<OwnedFd>,
}

/// Does the parent's part while the child does its own, and waits until the program runs.
fn serve(
    plan: &Plan<'_>,
    request: &CreateRequest<'_>,
    channel: &Channel,
    child: Child<'_>,
    warnings: Vec<String>,
) -> Result<Served> {
    let namespaces = &plan.namespaces;
    if child.sandbox.is_none() && namespaces.is_new(CloneFlags::NEWUSER) {
        let open = |file: &str| open_proc(child.pid, file, OFlags::WRONLY);
        write_map(&open("uid_map")?, "uid_map", &namespaces.uid_map)?;
        write_map(&open("gid_map")?, "gid_map", &namespaces.gid_map)?;
        tell(channel, channel.send_mapped())?;
    }
    adjust(&plan.process, child.pid)?;
    for (kind, place) in request.pins {
        pin(child.pid, *kind, place)?;
    }
    let made;
    let user_namespace = match (&namespaces.joined_user, child.sandbox) {
        (Some(joined), _) => Some(joined.as_fd()),
        (None, Some(sandbox)) => Some(sandbox.user.as_fd()),
        (None, None) if namespaces.is_new(CloneFlags::NEWUSER) => {
            made = open_proc(child.pid, "ns/user", OFlags::RDONLY)?;
            Some(made.as_fd())
        }
        (None, None) => None,
    };
    let mut maker = Maker {
        namespaces,
        user_namespace,
        cgroup: request.cgroup,
        bind_ids: request.bind_ids,
        warnings,
    };
    let made_root = rootfs::make(request.rootfs, user_namespace, !rootfs::is_read_only(plan.spec))?;
    let mut trees = vec![made_root.tree];
    for planned in plan.mounts.iter().filter(|planned| planned.kind.is_parents()) {
        trees.extend(maker.make(planned, plan.spec)?);
    }
    if plan.sends_null {
        trees.push(sys::mount::open_tree_clone_at("/dev/null", Depth::One).at(Step::Mask)?);
    }
    let hooks = plan.spec.hooks().as_ref();
    if hooks.is_some() {
        // They find the networks in place. Without hooks the child goes on with the mounts meanwhile.
        plug(request, channel, child)?;
        let state = plan.state(ContainerState::Creating, child.pid.as_raw_nonzero().get());
        run_hooks(HookKind::Prestart, hooks, &state)?;
        run_hooks(HookKind::CreateRuntime, hooks, &state)?;
    }
    let fds: Vec<BorrowedFd<'_>> = trees.iter().map(AsFd::as_fd).collect();
    tell(channel, channel.send_mounts(&fds))?;
    drop(trees);
    if hooks.is_none() {
        plug(request, channel, child)?;
    }
    if request.plug.is_some() {
        tell(channel, channel.send_plugged())?;
    }
    // Before the program runs: it may be over at once.
    let mounts = open_proc(child.pid, "ns/mnt", OFlags::RDONLY).ok();
    let held = matches!(request.gate, crate::request::Gate::Held(_));
    let console = wait_until_running(channel, held)?;
    Ok(Served {
        console,
        mounts,
        warnings: maker.warnings,
        leftovers: made_root.leftovers,
    })
}

/// When the child cannot be told something, it has ended; why is in what it said before.
fn tell(channel: &Channel, sent: Result<()>) -> Result<()> {
    let Err(error) = sent else { return Ok(()) };
    loop {
        match channel.receive()? {
            Message::Failed(why) => return Err(why),
            // They were not waited for yet.
            Message::Network | Message::Ready(_) => {}
            _ => return Err(error),
        }
    }
}

/// Has the container plugged into its networks when its first process says that it is time.
fn plug(request: &CreateRequest<'_>, channel: &Channel, child: Child<'_>) -> Result<()> {
    let Some(plug) = request.plug else {
        return Ok(());
    };
    match channel.receive()? {
        Message::Network => {}
        Message::Failed(why) => return Err(why),
        _ => {
            return Err(CreateError::new(
                Step::Sync,
                0,
                "the container's first process ended before its networks",
            ));
        }
    }
    if let Some(sandbox) = child.sandbox {
        return plug.plug(sandbox.network.as_fd(), child.pidfd);
    }
    let namespace = open_proc(child.pid, "ns/net", OFlags::RDONLY)?;
    plug.plug(namespace.as_fd(), child.pidfd)
}

/// Waits for the program; returns the terminal's other end.
pub(crate) fn wait_until_running(channel: &Channel, held: bool) -> Result<Option<OwnedFd>> {
    let mut ready = None;
    loop {
        match channel.receive()? {
            Message::Failed(error) => return Err(error),
            Message::Ready(console) if held => return Ok(console),
            Message::Ready(console) => ready = Some(console),
            Message::End => {
                return ready.ok_or_else(|| {
                    CreateError::new(
                        Step::Sync,
                        0,
                        "the container's first process ended before the program",
                    )
                });
            }
            _ => return Err(CreateError::new(Step::Sync, 0, "the child made no sense")),
        }
    }
}

/// Writes the map of a new user namespace to `opened`, which is a process's file of name `file`.
pub(crate) fn write_map(opened: &OwnedFd, file: &str, map: &[LinuxIdMapping]) -> Result<()> {
    let mut text = String::with_capacity(map.len() * 24);
    for entry in map {
        use std::fmt::Write;
        let (container, host, size) = (entry.container_id(), entry.host_id(), entry.size());
        writeln!(text, "{container} {host} {size}").map_err(|error| CreateError::spec(error.to_string()))?;
    }
    // The kernel takes a map in one write or not at all.
    let written = rustix::io::write(opened, text.as_bytes())
        .at_with(Step::Idmap, || format!("write {file} {:?}", text.trim()))?;
    if written != text.len() {
        return Err(CreateError::new(Step::Idmap, libc::EIO, format!("write {file}")));
    }
    Ok(())
}

/// Sets what needs the caller's rights over the host: protection from the OOM killer, limits above the present ones.
pub(crate) fn adjust(process: &ProcessPlan, pid: Pid) -> Result<()> {
    if let Some(adjustment) = process.oom_score_adj {
        let file = open_proc(pid, "oom_score_adj", OFlags::WRONLY)?;
        std::fs::File::from(file)
            .write_all(adjustment.to_string().as_bytes())
            .map_err(|error| {
                CreateError::new(
                    Step::Process,
                    error.raw_os_error().unwrap_or(0),
                    format!("set oom_score_adj {adjustment}: {error}"),
                )
            })?;
    }
    for &(resource, limit) in &process.limits {
        let present = sys::process::prlimit(None, resource, None).at(Step::Rlimit)?;
        if limit.hard > present.hard {
            sys::process::prlimit(Some(pid), resource, Some(limit))
                .at_with(Step::Rlimit, || format!("error setting rlimit type {resource}"))?;
        }
    }
    Ok(())
}

/// Opens a file of the child's in `/proc`; the child is not reaped yet, so the pid is its.
fn open_proc(pid: Pid, file: &str, flags: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    rustix::fs::open(&*path, flags | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Process, || format!("open {path}"))
}

/// Mounts a namespace of the child's at `place`, where it stays when the child has ended.
fn pin(pid: Pid, kind: LinuxNamespaceType, place: &Path) -> Result<()> {
    let context = || format!("keep namespace \"{kind}\" at {place:?}");
    let link = format!("/proc/{}/ns/{kind}", pid.as_raw_nonzero());
    let tree = sys::mount::open_tree_clone_at(link, Depth::One).at_with(Step::Namespace, context)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(place, flags, Mode::empty()).at_with(Step::Namespace, context)?;
    sys::mount::move_mount(&tree, &target).at_with(Step::Namespace, context)
}

/// Ends a child that is of no use any more.
pub(crate) fn kill_and_reap(pidfd: BorrowedFd<'_>) {
    // Both fail only if it is gone already.
    drop(sys::signal::pidfd_send_signal(pidfd, libc::SIGKILL));
    drop(sys::process::wait_pidfd(pidfd));
}
