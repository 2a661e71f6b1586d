//! Adding a process to a running container: the parent's side.

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::namespace::setns;

use crate::between;
use crate::capability::{self, Sets};
use crate::channel::Channel;
use crate::child::{self, Begins, ExecPlan};
use crate::create::{adjust, kill_and_reap, wait_until_running};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::namespace::{flag, own_link};
use crate::process::{ProcessContext, ProcessPlan};
use crate::request::{Created, ExecRequest, Stdio};

/// Runs another process in a container's namespaces: when this returns, its `execve` has succeeded.
///
/// The caller must be the only thread of its process and is the new process's parent.
pub fn exec(request: ExecRequest<'_>) -> Result<Created> {
    let mut warnings = Vec::new();
    let plan = make_plan(&request, &mut warnings)?;
    if plan.has_user
        && let Stdio::Fds {
            stdin,
            stdout,
            stderr,
        } = &request.stdio
    {
        let root = host_root(request.spec);
        for stream in [stdin, stdout, stderr] {
            child::give_pipe(stream.as_fd(), root.0, root.1);
        }
    }
    let (channel, childs) = Channel::pair()?;
    let cloned = if plan.has_user || !plan.kinds.contains(CloneFlags::NEWPID) {
        clone_into_container(&plan)?
    } else {
        clone_without_descriptors(&plan, &request.stdio, &channel, &childs)?
    };
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            drop(channel);
            child::run_exec(&plan, &childs, &request.stdio, Begins::Outside)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(childs);
    let running = adjust(&plan.process, pid).and_then(|()| wait_until_running(&channel, false));
    match running {
        Ok(console) => Ok(Created {
            pid,
            pidfd,
            console,
            mounts: None,
            warnings,
            leftovers: Vec::new(),
        }),
        Err(error) => {
            kill_and_reap(pidfd.as_fd());
            Err(error)
        }
    }
}

fn make_plan<'a>(request: &ExecRequest<'a>, warnings: &mut Vec<String>) -> Result<ExecPlan<'a>> {
    let spec = request.spec;
    let context = ProcessContext {
        spec,
        user: request.user,
        groups: request.groups,
        filter: request.seccomp_filter,
        parent_death_signal: request.parent_death_signal,
        preserve_fds: request.preserve_fds,
    };
    let mut process = ProcessPlan::new(request.process, &context)?;
    let kinds = kinds(spec);
    let has_user = kinds.contains(CloneFlags::NEWUSER);
    if request.privileged {
        process.filter = None;
        process.capabilities = Sets::all_of(capability::bounding_set());
    }
    if !has_user {
        process
            .capabilities
            .limit(capability::bounding_set(), request.missing_capabilities, warnings)?;
    }
    let entry = request.cgroup.map(cgroup::Cgroup::entry).transpose();
    let entry =
        entry.map_err(|error| CreateError::new(Step::Cgroup, 0, base::error::chain(&error).to_string()))?;
    Ok(ExecPlan {
        target: request.target,
        kinds,
        has_user,
        process,
        entry,
    })
}

/// Returns the kinds of namespaces that the container does not share with the host.
fn kinds(spec: &Spec) -> CloneFlags {
    let linux = spec.linux().as_ref();
    let listed = linux
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default();
    listed.iter().fold(CloneFlags::empty(), |kinds, namespace| {
        kinds | flag(namespace.typ())
    })
}

fn host_root(spec: &Spec) -> (u32, u32) {
    let linux = spec.linux().as_ref();
    let first = |map: Option<&Vec<oci_spec::runtime::LinuxIdMapping>>| {
        map.into_iter()
            .flatten()
            .find(|entry| entry.container_id() == 0)
            .map_or(0, oci_spec::runtime::LinuxIdMapping::host_id)
    };
    (
        first(linux.and_then(|linux| linux.uid_mappings().as_ref())),
        first(linux.and_then(|linux| linux.gid_mappings().as_ref())),
    )
}

/// Clones a child that is in the container's PID namespace already; it joins the others itself.
///
/// A process cannot change its own PID namespace, only that of its children: the caller's is set for this one clone.
fn clone_into_container(plan: &ExecPlan<'_>) -> Result<Cloned> {
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    if !plan.kinds.contains(flag(LinuxNamespaceType::Pid)) {
        return clone3(CloneFlags::empty(), into).at(Step::Namespace);
    }
    let own = open_own_pid_namespace()?;
    // The child is seen by the container from its first moment, so it must not be traceable from the start.
    let was_dumpable = matches!(
        rustix::process::dumpable_behavior(),
        Ok(rustix::process::DumpableBehavior::Dumpable)
    );
    sys::process::set_dumpable(false).at(Step::Process)?;
    setns(plan.target, CloneFlags::NEWPID).at(Step::Namespace)?;
    let cloned = clone3(CloneFlags::empty(), into).at(Step::Namespace);
    if let Ok(Cloned::Child) = cloned {
        return cloned;
    }
    if was_dumpable {
        sys::process::set_dumpable(true).at(Step::Process)?;
    }
    let back = setns(own.as_fd(), CloneFlags::NEWPID).at_with(Step::Namespace, || "go back".to_owned());
    match (cloned, back) {
        (cloned, Ok(())) => cloned,
        (Ok(Cloned::Parent { pidfd, .. }), Err(error)) => {
            kill_and_reap(pidfd.as_fd());
            Err(error)
        }
        (_, Err(error)) => Err(error),
    }
}

/// Clones a child that is in all of the container's namespaces and never had a descriptor of the host's.
///
/// Without a user namespace a capability of the container is one of the machine: with `CAP_SYS_PTRACE` it may take
/// descriptors out of any process that it sees, also of one that is not dumpable (pidfd_getfd(2)). So a process that it
/// does not see joins and closes, and clones the child as its own sibling. All that is left there to take is the
/// child's streams and its end of the channel.
fn clone_without_descriptors(
    plan: &ExecPlan<'_>,
    stdio: &Stdio,
    channel: &Channel,
    childs: &Channel,
) -> Result<Cloned> {
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    let cloned = between::cloned_sibling(into, channel, childs, || {
        match child::join_bare(plan, stdio, childs)? {
            // Descriptors are closed under their owners from here on: this process never returns.
            Cloned::Child => child::run_exec(plan, childs, stdio, Begins::Inside),
            parent @ Cloned::Parent { .. } => Ok(parent),
        }
    })?;
    // The child has waited for this, so that nothing it says overtakes its pid. A failure shows at the next read.
    drop(channel.send_mapped());
    Ok(cloned)
}

fn open_own_pid_namespace() -> Result<OwnedFd> {
    let path = own_link(CloneFlags::NEWPID);
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Namespace, || format!("open {path}"))
}
