//! Starting PID 1: its streams, its cgroup, and `runtime::create`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::clock::Timestamp;
use base::error::chain;
use cgroup::{Cgroup, Layout, Limits};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use runtime::{
    BindIds, CreateError, CreateRequest, Created, Gate, MissingCapabilities, Plug, Sandbox, Stdio,
};
use shim_api::message::Failure;
use shim_api::task::Task;

use crate::container::{Leftovers, Run};
use crate::keep::join_kept;
use crate::plug::Networks;
use crate::session::{Kind, Owner, Session};

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) run: Run,
    pub(crate) session: Session,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) warnings: Vec<String>,
    pub(crate) leftovers: Leftovers,
}

/// A compiled seccomp filter has at most 32,768 instructions of 8 bytes.
const LARGEST_FILTER: u64 = 256 * 1024;

/// How long dying processes may keep a cgroup from being removed.
pub(crate) const CGROUP_PATIENCE: Duration = Duration::from_secs(5);

/// What a start needs of its task alone, so that it can be made before anybody says "start".
#[derive(Debug)]
pub(crate) struct Ready {
    stdio: Stdio,
    session: Session,
    filter: Option<Vec<u8>>,
    /// The container's group, with its limits, if it was made.
    cgroup: Option<Cgroup>,
}

impl Ready {
    /// Makes all but the group.
    pub(crate) fn make(task: &Task, console_size: Option<(u16, u16)>) -> Result<Self, Failure> {
        refuse_hooks(&task.spec)?;
        let kind = if is_terminal(&task.spec) {
            Kind::Terminal
        } else {
            Kind::Pipes { stdin: task.stdin }
        };
        let (stdio, mut session) = Session::open(kind, console_size, task.stdin_once)
            .map_err(|error| io_failure("process", "make the standard streams", &error))?;
        session.owner = Owner::Container;
        session.takes_input = task.stdin;
        Ok(Self {
            stdio,
            session,
            filter: read_filter(task.seccomp_filter.as_deref())?,
            cgroup: None,
        })
    }

    /// Makes the group, unless it was made; after a failure there is none.
    pub(crate) fn group(&mut self, task: &Task, layout: Option<&Layout>) -> Result<(), Failure> {
        if self.cgroup.is_none() {
            self.cgroup = make_cgroup(&task.spec, layout)?;
        }
        Ok(())
    }

    /// Leaves nothing of what will not be started.
    pub(crate) fn discard(self) {
        if let Some(cgroup) = self.cgroup {
            // The engine removes by path what is left.
            cgroup.remove(CGROUP_PATIENCE).ok();
        }
    }
}

/// Starts `task` with what is `ready`, in `cgroup` if there is one of an earlier run, and in `sandbox` if there is one that
/// fits and has its ids. After a failure nothing is left but that cgroup.
pub(crate) fn launch(
    task: &mut Task,
    ready: Ready,
    cgroup: Option<&Cgroup>,
    sandbox: Option<Sandbox>,
) -> Result<Launched, Failure> {
    let Ready {
        stdio,
        session,
        filter,
        cgroup: made,
    } = ready;
    let group = made.as_ref().or(cgroup);
    match run(task, stdio, session, filter.as_deref(), group, sandbox) {
        Ok(launched) => Ok(Launched {
            cgroup: made,
            ..launched
        }),
        Err(failure) => {
            if let Some(made) = made {
                // The first failure is the one to report; the engine removes by path what is left.
                made.remove(CGROUP_PATIENCE).ok();
            }
            Err(failure)
        }
    }
}

fn run(
    task: &mut Task,
    stdio: Stdio,
    mut session: Session,
    filter: Option<&[u8]>,
    cgroup: Option<&Cgroup>,
    mut sandbox: Option<Sandbox>,
) -> Result<Launched, Failure> {
    give_own_oom_score(&mut task.spec);
    let _held = hold_joined(task)?;
    let pins = join_kept(task)?;
    let networks = Networks::of(task);
    let plug = networks.as_ref().map(|networks| networks as &dyn Plug);
    let request = request(task, filter, stdio, cgroup, &pins, plug);
    let created = match &mut sandbox {
        Some(sandbox) => runtime::create_in(request, sandbox),
        None => runtime::create(request),
    };
    let created = created
        .map_err(|error| failure_of(&error))
        .and_then(|created| with_console(&mut session, created));
    let created = match created {
        Ok(created) => created,
        Err(failure) => {
            if let Some(networks) = &networks {
                networks.unplug();
            }
            return Err(failure);
        }
    };
    Ok(Launched {
        run: Run {
            mounts: created.mounts,
            pid: created.pid.as_raw_nonzero().get(),
            borrowed: networks.map(Networks::into_borrowed).unwrap_or_default(),
            pidfd: created.pidfd,
            started_at: Timestamp::now(),
            began: Instant::now(),
        },
        session,
        cgroup: None,
        warnings: created.warnings,
        leftovers: Leftovers {
            mounts: created.leftovers,
            holder: sandbox.map(Sandbox::into_holder),
        },
    })
}

/// Returns whether a container of `task` can be made in a sandbox.
pub(crate) fn fits_sandbox(task: &Task) -> bool {
    task.keep.is_none() && task.joined.is_empty() && Sandbox::fits(&task.spec)
}

/// Goes through what a start of `task` computes, and makes nothing.
pub(crate) fn rehearse(task: &Task) {
    let stdio = Stdio::Terminal { size: None };
    // Only the way is of interest.
    runtime::check(&request(task, None, stdio, None, &[], None)).ok();
}

/// Returns what the runtime is asked for.
pub(crate) fn request<'a>(
    task: &'a Task,
    seccomp_filter: Option<&'a [u8]>,
    stdio: Stdio,
    cgroup: Option<&'a Cgroup>,
    pins: &'a [(LinuxNamespaceType, PathBuf)],
    plug: Option<&'a dyn Plug>,
) -> CreateRequest<'a> {
    CreateRequest {
        id: &task.id,
        spec: &task.spec,
        rootfs: &task.rootfs,
        user: task.user.as_deref(),
        groups: &task.groups,
        seccomp_filter,
        init: task.init,
        stdio,
        gate: Gate::Immediately,
        cgroup,
        bundle: task.document.parent().unwrap_or(&task.document),
        preserve_fds: 0,
        parent_death_signal: Some(libc::SIGKILL),
        // What falls away is a warning; no container gets more than it asked for.
        missing_capabilities: MissingCapabilities::Drop,
        bind_ids: BindIds::Idmapped,
        pins,
        plug,
    }
}

/// Returns whether `spec` asks for a PID namespace of its own, with which every process ends.
pub(crate) fn has_own_pids(spec: &Spec) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none())
}

/// Returns a compiled filter's bytes.
pub(crate) fn read_filter(path: Option<&std::path::Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    match base::file::read_optional(path, LARGEST_FILTER) {
        Ok(Some(filter)) => Ok(Some(filter)),
        Ok(None) => Err(failure(
            "seccomp",
            format!("the filter \"{}\" does not exist", path.display()),
        )),
        Err(error) => Err(failure("seccomp", chain(&error).to_string())),
    }
}

/// Returns a failure without an errno.
pub(crate) fn failure(step: &str, message: impl Into<String>) -> Failure {
    Failure {
        step: step.to_owned(),
        message: message.into(),
        errno: 0,
    }
}

/// Returns the failure of an operation of our own.
pub(crate) fn io_failure(step: &str, doing: &str, error: &std::io::Error) -> Failure {
    Failure {
        step: step.to_owned(),
        message: format!("{doing}: {error}"),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

/// Returns the runtime's error as the protocol says it.
pub(crate) fn failure_of(error: &CreateError) -> Failure {
    Failure {
        step: error.step().as_str().to_owned(),
        message: error.message().to_owned(),
        errno: error.errno(),
    }
}

fn is_terminal(spec: &Spec) -> bool {
    spec.process()
        .as_ref()
        .and_then(oci_spec::runtime::Process::terminal)
        .unwrap_or(false)
}

/// These hooks belong to the runtime's caller, and no front door of the engine can ask for them.
fn refuse_hooks(spec: &Spec) -> Result<(), Failure> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    let is_given =
        |hooks: &Option<Vec<oci_spec::runtime::Hook>>| hooks.as_ref().is_some_and(|list| !list.is_empty());
    if is_given(hooks.poststart()) || is_given(hooks.poststop()) {
        return Err(Failure {
            errno: libc::ENOTSUP,
            ..failure(
                "hook",
                "poststart and poststop hooks are not supported by the shim",
            )
        });
    }
    Ok(())
}

/// Keeps the container from inheriting the shim's own protection from the OOM killer.
fn give_own_oom_score(spec: &mut Spec) {
    if let Some(process) = spec.process_mut()
        && process.oom_score_adj().is_none()
    {
        process.set_oom_score_adj(Some(0));
    }
}

/// Takes hold of the processes whose namespaces are joined and makes the document name them by what is held: a number
/// could be another process's by now, or become it in the next moment.
fn hold_joined(task: &mut Task) -> Result<Vec<OwnedFd>, Failure> {
    let mut held = Vec::with_capacity(task.joined.len());
    for process in &task.joined {
        let gone = || {
            failure(
                "namespace",
                "a container whose namespaces are joined does not run any more",
            )
        };
        let directory = sys::process::open_directory(process.pid).map_err(|_gone| gone())?;
        if sys::process::start_time(&directory) != Some(process.start_time) {
            return Err(gone());
        }
        let (from, to) = (
            format!("/proc/{}", process.pid),
            format!("/proc/self/fd/{}", directory.as_raw_fd()),
        );
        rename_process(&mut task.spec, Path::new(&from), Path::new(&to));
        held.push(directory);
    }
    Ok(held)
}

fn rename_process(spec: &mut Spec, from: &Path, to: &Path) {
    let renamed = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
    let linux = spec.linux_mut().as_mut();
    for namespace in linux
        .and_then(|linux| linux.namespaces_mut().as_mut())
        .into_iter()
        .flatten()
    {
        if let Some(path) = namespace.path().as_deref().and_then(renamed) {
            namespace.set_path(Some(path));
        }
    }
    for mount in spec.mounts_mut().as_mut().into_iter().flatten() {
        let is_theirs = mount.typ().as_deref() == Some(runtime::JOINED_SHM);
        if let (true, Some(source)) = (is_theirs, mount.source().as_deref().and_then(renamed)) {
            mount.set_source(Some(source));
        }
    }
}

/// Makes the group that the document asks for, with its limits; after a failure there is none.
fn make_cgroup(spec: &Spec, layout: Option<&Layout>) -> Result<Option<Cgroup>, Failure> {
    let Some(linux) = spec.linux() else {
        return Ok(None);
    };
    let Some(path) = linux.cgroups_path() else {
        return Ok(None);
    };
    let Some(layout) = layout else {
        return Err(failure("cgroup", "no cgroup hierarchy was found on this host"));
    };
    let path = path.to_str().unwrap_or_default();
    let cgroup =
        Cgroup::create(layout, path).map_err(|error| failure("cgroup", chain(&error).to_string()))?;
    let limits = linux.resources().as_ref().map(Limits::from);
    if let Some(Err(error)) = limits.map(|limits| cgroup.apply(&limits)) {
        // The first failure is the one to report.
        cgroup.remove(CGROUP_PATIENCE).ok();
        return Err(failure("cgroup", chain(&error).to_string()));
    }
    Ok(Some(cgroup))
}

fn with_console(session: &mut Session, mut created: Created) -> Result<Created, Failure> {
    if let Some(console) = created.console.take() {
        session
            .set_console(console)
            .map_err(|error| io_failure("terminal", "use the terminal", &error))?;
    }
    Ok(created)
}
