//! The child's side: from a process in new namespaces to the container's program.
//!
//! Runs on the private copy of the memory that `sys::clone` leaves, so it may allocate; it never returns into the
//! caller's code. Errors go to the parent as step, errno and text.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use cgroup::Entry;
use oci_spec::runtime::{ContainerState, Spec, State};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::fd::{CloseRange, close_range};
use sys::mount::Depth;
use sys::namespace::{setns, unshare};
use sys::path::Root;
use sys::process::exit_now;
use sys::tty::Pty;

use crate::channel::{Channel, Message};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::hook::{self, HookKind, run_hooks};
use crate::init::{self, Side};
use crate::mask::{self, Covers};
use crate::mount::{Kind, PlannedMount, make_file_system};
use crate::namespace::Namespaces;
use crate::process::{ProcessPlan, become_root};
use crate::request::{Gate, Stdio};
use crate::rootfs::{self, Attached};
use crate::sysctl::{self, Sysctl};
use crate::target;
use crate::user::Identity;

/// Everything the child needs, made before the clone.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    pub(crate) spec: &'a Spec,
    pub(crate) namespaces: Namespaces,
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) process: ProcessPlan,
    pub(crate) entry: Option<Entry>,
    pub(crate) init: bool,
    /// Whether the parent sends a null device for the masks, because `/dev` is not ours.
    pub(crate) sends_null: bool,
    /// Whether the parent plugs the container into networks.
    pub(crate) is_plugged: bool,
}

impl Plan<'_> {
    /// Returns the plan for a container in a sandbox.
    pub(crate) fn in_sandbox(mut self) -> Self {
        self.namespaces.makes_network = false;
        self.namespaces.made = crate::sandbox::flags();
        self
    }

    pub(crate) fn masked(&self) -> &[String] {
        let linux = self.spec.linux().as_ref();
        linux
            .and_then(|linux| linux.masked_paths().as_deref())
            .unwrap_or_default()
    }

    fn has_hooks(&self) -> bool {
        self.spec.hooks().is_some()
    }

    /// Returns whether the interfaces must be there before the parameters, which name them.
    fn waits_early(&self) -> bool {
        self.is_plugged && sysctl::name_interfaces(&self.sysctls)
    }

    fn read_only(&self) -> &[String] {
        let linux = self.spec.linux().as_ref();
        linux
            .and_then(|linux| linux.readonly_paths().as_deref())
            .unwrap_or_default()
    }

    pub(crate) fn state(&self, status: ContainerState, pid: i32) -> State {
        let mut state = State::default();
        state
            .set_version(self.spec.version().clone())
            .set_id(self.id.to_owned())
            .set_status(status)
            .set_pid(Some(pid))
            .set_bundle(self.bundle.to_owned())
            .set_annotations(self.spec.annotations().clone());
        state
    }
}

/// Becomes the container's PID 1. Never returns: ends by `execve`, or by exiting after a failure was reported, so that
/// `stdio` and what the caller owns is never dropped, although its descriptors are closed.
pub(crate) fn run(plan: &Plan<'_>, mut channel: Channel, stdio: Stdio, gate: Gate) -> ! {
    let _guard = NoReturn;
    let result = build(plan, &channel)
        .and_then(|(root, attached)| furnish(plan, &channel, root, attached, &stdio))
        .and_then(|(root, terminal)| become_program(&plan.process, &root, terminal, &stdio))
        .and_then(|ready| go(plan, ready, &mut channel, gate));
    fail(&channel, result)
}

/// Ends the process when a panic unwinds through the child's code: it must not go on in its parent's.
struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        exit_now(1);
    }
}

/// Reports why there is no program and ends.
pub(crate) fn fail(channel: &Channel, result: Result<Infallible>) -> ! {
    let Err(error) = result;
    channel.send_error(&error);
    exit_now(1);
}

/// Everything up to a new root with all its mounts.
fn build<'a>(plan: &'a Plan<'_>, channel: &Channel) -> Result<(Root, Vec<Attached<'a>>)> {
    let namespaces = &plan.namespaces;
    // Until `execve` nobody who shares a PID namespace may look into this process and its descriptors; and with
    // `--init` PID 1 stays this program, whose file on the host must not be in reach (CVE-2019-5736).
    sys::process::set_dumpable(false).at(Step::Process)?;
    rustix::process::setsid().at(Step::Process)?;
    if namespaces.makes_network {
        unshare(CloneFlags::NEWNET).at(Step::Namespace)?;
    }
    let is_made = namespaces.made.contains(CloneFlags::NEWNET);
    if namespaces.is_new(CloneFlags::NEWNET) && !is_made {
        sys::net::loopback_up().at(Step::Network)?;
    }
    if plan.is_plugged && plan.has_hooks() {
        // They find the networks in place.
        channel.send_network()?;
    }
    if let Some(entry) = &plan.entry {
        entry
            .join_v1()
            .at_with(Step::Cgroup, || "join the cgroup".to_owned())?;
    }
    if is_made {
        // It works beside the parent, and is woken by it. Joining a cpuset has undone that it is kept off the parent's CPU.
        sys::process::stay_on_this_cpu().ok();
    }
    // Only now, so that the namespace's root is the container's cgroup.
    if namespaces.is_new(CloneFlags::NEWCGROUP) {
        unshare(CloneFlags::NEWCGROUP).at(Step::Namespace)?;
    }
    if let Some(offsets) = &namespaces.time_offsets {
        shift_clocks(offsets)?;
    }
    let mut made: Vec<Option<OwnedFd>> = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        made.push(match &mount.kind {
            Kind::Child {
                file_system,
                before_mapped: true,
            } => Some(make_file_system(file_system, mount)?),
            _ => None,
        });
    }
    let empty = if plan.masked().is_empty() {
        None
    } else {
        Some(mask::make_empty_directory()?)
    };
    set_names(plan)?;
    if namespaces.is_new(CloneFlags::NEWUSER) {
        match channel.receive()? {
            Message::Mapped => {}
            _ => return Err(lost()),
        }
    }
    if namespaces.has_user() {
        become_root()?;
    }
    for (mount, made) in plan.mounts.iter().zip(&mut made) {
        if let Kind::Child {
            file_system,
            before_mapped: false,
        } = &mount.kind
        {
            *made = Some(make_file_system(file_system, mount)?);
        }
    }
    match sys::keyctl::join_session_keyring() {
        // A kernel without keyrings has none to share.
        Err(error) if error.errno() == rustix::io::Errno::NOSYS => {}
        result => result.at(Step::Process)?,
    }
    let mut received = receive_mounts(channel)?.into_iter();
    if is_made {
        // From here on it is the container's, on every CPU that its group has.
        sys::process::reset_cpu_affinity().at(Step::Process)?;
    }
    let tree = received.next().ok_or_else(lost)?;
    let mut mounts = Vec::with_capacity(plan.mounts.len());
    for (mount, made) in plan.mounts.iter().zip(made) {
        let tree = match made {
            Some(tree) => tree,
            None => received.next().ok_or_else(lost)?,
        };
        mounts.push((mount, tree));
    }
    let null = received.next();
    let state = plan.state(
        ContainerState::Creating,
        rustix::process::getpid().as_raw_nonzero().get(),
    );
    run_hooks(HookKind::CreateContainer, plan.spec.hooks().as_ref(), &state)?;
    rootfs::enter(tree.as_fd(), namespaces.has_user())?;
    if plan.is_plugged && !plan.has_hooks() {
        // Not before: while the kernel makes a cable on one CPU it lets nobody on another unmount anything (RCU).
        channel.send_network()?;
    }
    let root = Root::from_fd(tree);
    let attached = rootfs::attach(&root, mounts)?;
    if let Some(empty) = empty {
        place_masks(plan, &root, &attached, null, empty)?;
    }
    Ok((root, attached))
}

fn lost() -> CreateError {
    CreateError::new(Step::Sync, 0, "the runtime has gone away")
}

/// Enters a new time namespace with offsets. They can be written only while nobody is in it, so it is made, set and
/// then joined.
fn shift_clocks(offsets: &str) -> Result<()> {
    unshare(CloneFlags::NEWTIME).at(Step::Namespace)?;
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
            .at_with(Step::Namespace, || format!("open {path:?}"))
    };
    let file = open("/proc/self/timens_offsets", OFlags::WRONLY)?;
    let written = rustix::io::write(&file, offsets.as_bytes()).at_with(Step::Namespace, || {
        format!("set time offsets {:?}", offsets.trim())
    })?;
    if written != offsets.len() {
        return Err(CreateError::new(Step::Namespace, libc::EIO, "set time offsets"));
    }
    let namespace = open("/proc/self/ns/time_for_children", OFlags::RDONLY)?;
    setns(namespace.as_fd(), CloneFlags::NEWTIME).at(Step::Namespace)
}

fn set_names(plan: &Plan<'_>) -> Result<()> {
    let own = plan.namespaces.is_own(CloneFlags::NEWUTS);
    for (name, value) in [
        ("hostname", plan.spec.hostname()),
        ("domainname", plan.spec.domainname()),
    ] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else {
            continue;
        };
        if !own {
            return Err(CreateError::spec(format!(
                "{name} needs a UTS namespace of the container"
            )));
        }
        let set = if name == "hostname" {
            rustix::system::sethostname(value.as_bytes())
        } else {
            rustix::system::setdomainname(value.as_bytes())
        };
        set.at_with(Step::Hostname, || format!("set {name} {value:?}"))?;
    }
    Ok(())
}

fn receive_mounts(channel: &Channel) -> Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    loop {
        match channel.receive()? {
            Message::Mounts { fds, last } => {
                all.extend(fds);
                if last {
                    return Ok(all);
                }
            }
            _ => return Err(lost()),
        }
    }
}

fn place_masks(
    plan: &Plan<'_>,
    root: &Root,
    attached: &[Attached<'_>],
    null: Option<OwnedFd>,
    empty: OwnedFd,
) -> Result<()> {
    let dev = attached
        .iter()
        .find(|mount| matches!(mount.planned.kind, Kind::Dev))
        .map(|mount| &mount.tree);
    let null = match (null, dev) {
        (Some(null), _) => null,
        (None, Some(dev)) => sys::mount::open_tree_clone(dev, "null", Depth::One).at(Step::Mask)?,
        (None, None) => return Err(lost()),
    };
    let mut covers = Covers::new(null, empty)?;
    for path in plan.masked() {
        covers.mask(root, Path::new(path))?;
    }
    Ok(())
}

/// Everything that needs the finished tree: parameters, terminal, read-only paths.
fn furnish(
    plan: &Plan<'_>,
    channel: &Channel,
    root: Root,
    attached: Vec<Attached<'_>>,
    stdio: &Stdio,
) -> Result<(Root, Option<Pty>)> {
    if plan.waits_early() {
        wait_until_plugged(channel)?;
    }
    if !plan.sysctls.is_empty() {
        let made;
        let proc = match rootfs::find(&attached, "/proc") {
            Some(mount) if is_proc(mount.planned) => mount.tree.as_fd(),
            _ => {
                let config = sys::mount::fsopen(c"proc").at(Step::Sysctl)?;
                sys::mount::fsconfig_create(&config).at(Step::Sysctl)?;
                made = sys::mount::fsmount(&config, sys::mount::Attributes::empty()).at(Step::Sysctl)?;
                made.as_fd()
            }
        };
        sysctl::write(&plan.sysctls, proc)?;
    }
    let terminal = match stdio {
        Stdio::Terminal { size } => {
            let devpts = attached
                .iter()
                .find(|mount| matches!(&mount.planned.kind, Kind::Child { file_system, .. } if file_system.as_c_str() == c"devpts"))
                .ok_or_else(|| CreateError::spec("a terminal needs a devpts mount of the container"))?;
            let pty = open_terminal(devpts.tree.as_fd(), *size)?;
            bind_console(root.as_fd(), &pty)?;
            Some(pty)
        }
        _ => None,
    };
    for path in plan.read_only() {
        mask::make_read_only(&root, Path::new(path))?;
    }
    rootfs::finish(&root, &attached, plan.spec)?;
    Ok((root, terminal))
}

fn wait_until_plugged(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Message::Plugged => Ok(()),
        _ => Err(lost()),
    }
}

fn is_proc(mount: &PlannedMount) -> bool {
    matches!(&mount.kind, Kind::Child { file_system, .. } if file_system.as_c_str() == c"proc")
}

fn open_terminal(devpts: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Pty> {
    let pty = sys::tty::open_pty(devpts).at(Step::Terminal)?;
    if let Some((rows, columns)) = size {
        sys::tty::set_size(&pty.master, rows, columns).at(Step::Terminal)?;
    }
    Ok(pty)
}

/// Puts the terminal at `/dev/console`; the link that an image may have there is followed inside the root only.
fn bind_console(root: BorrowedFd<'_>, pty: &Pty) -> Result<()> {
    let root = root.try_clone_to_owned().map_err(|error| {
        CreateError::new(
            Step::Terminal,
            error.raw_os_error().unwrap_or(0),
            error.to_string(),
        )
    })?;
    let place = target::open(&Root::from_fd(root), Path::new("/dev/console"), false)?;
    let tree = sys::mount::open_tree_clone(&pty.terminal, "", Depth::One).at(Step::Terminal)?;
    sys::mount::move_mount(&tree, &place).at(Step::Terminal)
}

/// A process that needs only its credentials to be the program.
#[derive(Debug)]
pub(crate) struct Ready {
    identity: Identity,
    environment: Vec<CString>,
    console: Option<OwnedFd>,
    root: OwnedFd,
    has_terminal: bool,
}

/// Who, where and with which streams; the last step that reads the container's files with the runtime's rights.
pub(crate) fn become_program(
    process: &ProcessPlan,
    root: &Root,
    terminal: Option<Pty>,
    stdio: &Stdio,
) -> Result<Ready> {
    let identity = process.identity(root)?;
    let environment = process.environment_of(root, &identity);
    let has_terminal = terminal.is_some();
    let mut console = None;
    match (terminal, stdio) {
        (Some(pty), _) => {
            if identity.uid != 0 {
                rustix::fs::fchown(&pty.terminal, Some(Uid::from_raw(identity.uid)), None)
                    .at_with(Step::Terminal, || "give the terminal to the user".to_owned())?;
            }
            sys::tty::set_controlling(&pty.terminal).at(Step::Terminal)?;
            for target in 0..=2 {
                sys::fd::dup2_inheritable(pty.terminal.as_fd(), target).at(Step::Terminal)?;
            }
            console = Some(pty.master);
        }
        (
            None,
            Stdio::Fds {
                stdin,
                stdout,
                stderr,
            },
        ) => {
            // Copies above the three, so that none is overwritten before it has its turn.
            let mut streams = Vec::with_capacity(3);
            for stream in [stdin, stdout, stderr] {
                streams.push(rustix::io::fcntl_dupfd_cloexec(stream, 3).at(Step::Process)?);
            }
            for (target, stream) in (0..).zip(&streams) {
                sys::fd::dup2_inheritable(stream.as_fd(), target).at(Step::Process)?;
            }
        }
        (None, _) => {}
    }
    if identity.uid != 0 && !has_terminal {
        give_pipes(identity.uid, identity.gid);
    }
    let root = rustix::io::fcntl_dupfd_cloexec(root, 3).at(Step::Process)?;
    Ok(Ready {
        identity,
        environment,
        console,
        root,
        has_terminal,
    })
}

/// Makes `/dev/stdout` and its like usable: opening a pipe again needs rights on it.
fn give_pipes(uid: u32, gid: u32) {
    for raw in 0..=2 {
        let Ok(stream) = sys::fd::borrow(raw) else {
            continue;
        };
        give_pipe(stream, uid, gid);
    }
}

/// Gives a pipe to a user; what is no pipe stays with its owner, and so does a pipe that is somebody else's.
pub(crate) fn give_pipe(stream: BorrowedFd<'_>, uid: u32, gid: u32) {
    let is_pipe =
        rustix::fs::fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if is_pipe {
        let _not_ours = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    }
}

/// Closes every descriptor but the streams, those to preserve and `kept`.
///
/// Owners of closed descriptors must not be dropped after this: all of them have to be forgotten.
fn close_all_but(preserved: u32, kept: &[RawFd]) -> Result<()> {
    let mut first = 3 + i32::try_from(preserved).unwrap_or(0);
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|&raw| raw >= first).collect();
    kept.sort_unstable();
    for raw in kept {
        close_range(first, raw - 1, CloseRange::Now).at(Step::Process)?;
        first = raw + 1;
    }
    close_range(first, RawFd::MAX, CloseRange::Now).at(Step::Process)
}

/// The last part, common to PID 1 and exec: nothing of the host is open any more when the working directory, which
/// the image chooses, is entered.
fn go(plan: &Plan<'_>, ready: Ready, channel: &mut Channel, gate: Gate) -> Result<Infallible> {
    let listener = match gate {
        Gate::Immediately => None,
        Gate::Held(listener) => Some(listener),
    };
    let Ready {
        identity,
        environment,
        console,
        root,
        has_terminal,
    } = ready;
    let mut kept = vec![channel.raw(), root.as_raw_fd()];
    kept.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
    kept.extend(console.as_ref().map(AsRawFd::as_raw_fd));
    close_all_but(plan.process.preserve_fds, &kept)?;
    let root = Root::from_fd(root);
    plan.process.enter_cwd(&root)?;
    plan.process.apply_attributes()?;
    if listener.is_some() {
        plan.process.find(&environment)?;
    }
    let runs_hooks = hook::any(HookKind::StartContainer, plan.spec.hooks().as_ref());
    let waits = plan.is_plugged && !plan.waits_early();
    // The parent plugs beside everything that needs no network; these may need it.
    let is_plugged_late = waits && listener.is_none() && !runs_hooks;
    if waits && !is_plugged_late {
        wait_until_plugged(channel)?;
    }
    channel.send_ready(console.as_ref().map(AsFd::as_fd))?;
    drop(console);
    if let Some(listener) = listener {
        *channel = wait_for_start(listener)?;
    }
    if runs_hooks {
        let state = plan.state(
            ContainerState::Created,
            rustix::process::getpid().as_raw_nonzero().get(),
        );
        run_hooks(HookKind::StartContainer, plan.spec.hooks().as_ref(), &state)?;
    }
    plan.process.apply_limits()?;
    plan.process.reset_inherited()?;
    drop(root);
    if is_plugged_late {
        // What comes next may forbid to wait.
        wait_until_plugged(channel)?;
    }
    if plan.init {
        if let Side::Init(program) = init::split(has_terminal)? {
            // While it may still write to its own memory; only a title.
            sys::process::set_title("berth-init");
            plan.process.drop_privileges(&identity)?;
            close_all_but(0, &[])?;
            let _only_a_name = rustix::thread::set_name(c"berth-init");
            init::serve(program);
        }
        plan.process.reset_inherited()?;
    }
    plan.process.drop_privileges(&identity)?;
    plan.process.run(environment)
}

/// Waits until somebody connects; from then on failures are told to them.
fn wait_for_start(listener: OwnedFd) -> Result<Channel> {
    let connection =
        rustix::io::retry_on_intr(|| rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC))
            .at_with(Step::Sync, || "wait for start".to_owned())?;
    Ok(Channel::over(connection))
}

/// What the child of an exec needs.
#[derive(Debug)]
pub(crate) struct ExecPlan<'a> {
    pub(crate) target: BorrowedFd<'a>,
    pub(crate) kinds: CloneFlags,
    pub(crate) has_user: bool,
    pub(crate) process: ProcessPlan,
    pub(crate) entry: Option<Entry>,
}

/// Where an exec's process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// In the container's PID namespace alone, with the descriptors of its parent.
    Outside,
    /// In every namespace and cgroup of the container, see [`join_bare`].
    Inside,
}

/// Becomes another process of a container. Never returns.
pub(crate) fn run_exec(plan: &ExecPlan<'_>, channel: &Channel, stdio: &Stdio, begins: Begins) -> ! {
    let _guard = NoReturn;
    let result = enter_container(plan, channel, stdio, begins)
        .and_then(|(root, terminal)| become_program(&plan.process, &root, terminal, stdio))
        .and_then(|ready| go_exec(plan, ready, channel));
    fail(channel, result)
}

/// Joins everything of the container's and closes everything of the host's but the streams and `channel`, then clones
/// a child that is a sibling of the caller. The caller must not return either.
pub(crate) fn join_bare(plan: &ExecPlan<'_>, stdio: &Stdio, channel: &Channel) -> Result<Cloned> {
    sys::process::set_dumpable(false).at(Step::Process)?;
    join_container(plan)?;
    let mut kept = vec![channel.raw()];
    if let Stdio::Fds {
        stdin,
        stdout,
        stderr,
    } = stdio
    {
        kept.extend([stdin, stdout, stderr].map(AsRawFd::as_raw_fd));
    }
    close_all_but(plan.process.preserve_fds, &kept)?;
    clone3(CloneFlags::PARENT, None).at(Step::Namespace)
}

fn join_container(plan: &ExecPlan<'_>) -> Result<()> {
    if let Some(entry) = &plan.entry {
        entry
            .join_v1()
            .at_with(Step::Cgroup, || "join the cgroup".to_owned())?;
    }
    setns(plan.target, plan.kinds).at(Step::Namespace)
}

fn enter_container(
    plan: &ExecPlan<'_>,
    channel: &Channel,
    stdio: &Stdio,
    begins: Begins,
) -> Result<(Root, Option<Pty>)> {
    // Until `execve` nobody in the container may look into this process, which still holds the host's descriptors
    // (CVE-2016-9962).
    sys::process::set_dumpable(false).at(Step::Process)?;
    rustix::process::setsid().at(Step::Process)?;
    match begins {
        Begins::Outside => join_container(plan)?,
        Begins::Inside => match channel.receive()? {
            Message::Mapped => {}
            _ => return Err(lost()),
        },
    }
    if plan.has_user {
        become_root()?;
    }
    match sys::keyctl::join_session_keyring() {
        Err(error) if error.errno() == rustix::io::Errno::NOSYS => {}
        result => result.at(Step::Process)?,
    }
    let root = Root::open("/").at(Step::Namespace)?;
    let Stdio::Terminal { size } = stdio else {
        return Ok((root, None));
    };
    let devpts = root
        .open_in_root("/dev/pts", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .at(Step::Terminal)?;
    /// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    let file_system = rustix::fs::fstatfs(&devpts).at(Step::Terminal)?;
    if file_system.f_type != DEVPTS_MAGIC {
        return Err(CreateError::new(
            Step::Terminal,
            libc::EINVAL,
            "/dev/pts of the container is not a devpts",
        ));
    }
    let pty = open_terminal(devpts.as_fd(), *size)?;
    Ok((root, Some(pty)))
}

fn go_exec(plan: &ExecPlan<'_>, ready: Ready, channel: &Channel) -> Result<Infallible> {
    let Ready {
        identity,
        environment,
        console,
        root,
        ..
    } = ready;
    let mut kept = vec![channel.raw(), root.as_raw_fd()];
    kept.extend(console.as_ref().map(AsRawFd::as_raw_fd));
    close_all_but(plan.process.preserve_fds, &kept)?;
    let root = Root::from_fd(root);
    plan.process.enter_cwd(&root)?;
    plan.process.apply_attributes()?;
    channel.send_ready(console.as_ref().map(AsFd::as_fd))?;
    drop(console);
    plan.process.apply_limits()?;
    plan.process.reset_inherited()?;
    drop(root);
    plan.process.drop_privileges(&identity)?;
    plan.process.run(environment)
}
