//! The attributes of the program's process: checked by the parent, set by the child, last of all.

use std::convert::Infallible;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimitType,
    Process, Scheduler, Spec,
};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::path::Root;
use sys::process::{ResourceLimit, SchedulerAttributes, StringArray};
use sys::seccomp::FilterFlags;
use sys::signal::SignalSet;

use crate::capability::{self, Sets};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::program;
use crate::user::{self, Identity};

/// Everything about the process, ready to be set.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    cwd: PathBuf,
    pub(crate) capabilities: Sets,
    no_new_privileges: bool,
    pub(crate) limits: Vec<(u32, ResourceLimit)>,
    user: Option<String>,
    groups: Vec<String>,
    numbers: (u32, u32),
    additional: Vec<u32>,
    umask: u32,
    pub(crate) filter: Option<(Vec<u8>, FilterFlags)>,
    personality: Option<u32>,
    io_priority: Option<u16>,
    scheduler: Option<SchedulerAttributes>,
    pub(crate) oom_score_adj: Option<i32>,
    parent_death_signal: Option<i32>,
    pub(crate) preserve_fds: u32,
}

/// What does not come from the process itself.
#[derive(Debug)]
pub(crate) struct ProcessContext<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) user: Option<&'a str>,
    pub(crate) groups: &'a [String],
    pub(crate) filter: Option<&'a [u8]>,
    pub(crate) parent_death_signal: Option<i32>,
    pub(crate) preserve_fds: u32,
}

impl ProcessPlan {
    pub(crate) fn new(process: &Process, context: &ProcessContext<'_>) -> Result<Self> {
        refuse_unsupported(process)?;
        let arguments = strings(process.args().as_deref().unwrap_or_default())?;
        if arguments.is_empty() {
            return Err(CreateError::spec("process.args is empty"));
        }
        let user = process.user();
        if context.preserve_fds > 1024 {
            return Err(CreateError::spec("more than 1024 descriptors to preserve"));
        }
        Ok(Self {
            arguments,
            environment: strings(process.env().as_deref().unwrap_or_default())?,
            cwd: process.cwd().clone(),
            capabilities: Sets::from_oci(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            limits: limits(process)?,
            user: context.user.map(str::to_owned),
            groups: context.groups.to_vec(),
            numbers: (user.uid(), user.gid()),
            additional: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            filter: filter(context)?,
            personality: personality(context.spec)?,
            io_priority: io_priority(process)?,
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            oom_score_adj: process.oom_score_adj(),
            parent_death_signal: context.parent_death_signal,
            preserve_fds: context.preserve_fds,
        })
    }

    /// Finds out who the program runs as (child, in the container's root).
    pub(crate) fn identity(&self, root: &Root) -> Result<Identity> {
        let found = match &self.user {
            Some(user) => user::look_up(root, user, &self.groups),
            None => user::from_numbers(root, self.numbers, &self.additional, &self.groups),
        };
        found.map_err(|error| CreateError::new(Step::User, 0, error.to_string()))
    }

    /// Returns the program's environment, with HOME.
    pub(crate) fn environment_of(&self, root: &Root, identity: &Identity) -> Vec<CString> {
        let mut environment = self.environment.clone();
        if !environment
            .iter()
            .any(|variable| variable.to_bytes().starts_with(b"HOME="))
        {
            let home = identity
                .home
                .clone()
                .or_else(|| user::home_of(root, identity.uid))
                .unwrap_or_else(|| "/".to_owned());
            if let Ok(variable) = CString::new(format!("HOME={home}")) {
                environment.push(variable);
            }
        }
        environment
    }

    /// Enters the working directory, which is made if it is missing. Nothing but the container's root may be open when
    /// this is called: a path like `/proc/self/fd/7` would lead out (CVE-2024-21626), so magic links are not followed
    /// and the result is checked from both sides.
    pub(crate) fn enter_cwd(&self, root: &Root) -> Result<()> {
        let cwd = &self.cwd;
        let context = || format!("chdir to cwd ({cwd:?}) set in config.json failed");
        if !cwd.is_absolute() {
            return Err(CreateError::new(
                Step::Cwd,
                libc::EINVAL,
                format!("{}: not an absolute path", context()),
            ));
        }
        let directory = match root.open_in_root(cwd, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(error) if error.errno() == Errno::NOENT => root.mkdir_all(cwd, 0o755),
            result => result,
        }
        .at_with(Step::Cwd, context)?;
        rustix::process::fchdir(&directory).at_with(Step::Cwd, context)?;
        // The kernel says "(unreachable)" for a directory that is not below the root.
        let seen = rustix::process::getcwd(Vec::new()).at_with(Step::Cwd, context)?;
        if !seen.to_bytes().starts_with(b"/") {
            return Err(CreateError::new(
                Step::Cwd,
                libc::EPERM,
                format!("{}: it is outside the container", context()),
            ));
        }
        Ok(())
    }

    /// Sets the limits that do not need the caller's privileges.
    pub(crate) fn apply_limits(&self) -> Result<()> {
        for &(resource, limit) in &self.limits {
            sys::process::prlimit(None, resource, Some(limit))
                .at_with(Step::Rlimit, || format!("error setting rlimit type {resource}"))?;
        }
        Ok(())
    }

    /// Sets what needs no order among itself.
    pub(crate) fn apply_attributes(&self) -> Result<()> {
        if let Some(persona) = self.personality {
            sys::process::personality(persona).at(Step::Process)?;
        }
        if let Some(priority) = self.io_priority {
            sys::process::ioprio_set(priority).at(Step::Process)?;
        }
        if let Some(scheduler) = self.scheduler {
            sys::process::sched_setattr(scheduler).at(Step::Process)?;
        }
        Ok(())
    }

    /// Drops to the program's credentials and installs the filter; nothing but `execve` should follow.
    ///
    /// Inheritable and ambient sets are exactly the document's, and a user other than root has no effective
    /// capabilities beyond them. Without no_new_privs the filter needs CAP_SYS_ADMIN, so it is installed before that
    /// falls away; the filter must then allow the calls that follow.
    pub(crate) fn drop_privileges(&self, identity: &Identity) -> Result<()> {
        let sets = self.capabilities;
        capability::limit_bounding_set(sets.bounding)?;
        if identity.uid != 0 {
            rustix::thread::set_keep_capabilities(true).at(Step::Capability)?;
        }
        set_ids(identity)?;
        if let (Some((program, flags)), false) = (&self.filter, self.no_new_privileges) {
            if identity.uid != 0 {
                // The change of user has emptied the effective set.
                const SYS_ADMIN: u64 = 1 << 21;
                capability::set(
                    SYS_ADMIN | sets.effective,
                    SYS_ADMIN | sets.permitted,
                    sets.inheritable,
                )?;
            }
            sys::seccomp::set_mode_filter(program, *flags).at(Step::Seccomp)?;
        }
        capability::set(sets.effective, sets.permitted, sets.inheritable)?;
        if sets.ambient != 0 {
            capability::raise_ambient(sets.ambient)?;
        }
        if identity.uid != 0 {
            rustix::thread::set_keep_capabilities(false).at(Step::Capability)?;
        }
        // After the last change of credentials, which would take it back.
        if let Some(signal) = self.parent_death_signal {
            sys::process::set_parent_death_signal(Some(signal)).at(Step::Process)?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(Step::Process)?;
            if let Some((program, flags)) = &self.filter {
                sys::seccomp::set_mode_filter(program, *flags).at(Step::Seccomp)?;
            }
        }
        Ok(())
    }

    /// Unblocks signals and sets the umask, as a new program expects them.
    pub(crate) fn reset_inherited(&self) -> Result<()> {
        sys::signal::reset_handlers();
        sys::signal::sigprocmask(SignalSet::empty()).at(Step::Process)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        Ok(())
    }

    /// Looks for the program ahead of time: `create` has to fail when there is none, as callers of OCI runtimes expect.
    pub(crate) fn find(&self, environment: &[CString]) -> Result<()> {
        let name = self.arguments.first().cloned().unwrap_or_default();
        program::find(&name, environment).map(drop)
    }

    /// Runs the program; returns only on failure.
    pub(crate) fn run(&self, environment: Vec<CString>) -> Result<Infallible> {
        let name = self.arguments.first().cloned().unwrap_or_default();
        let path = program::find(&name, &environment)?;
        let arguments = StringArray::new(self.arguments.clone());
        let environment = StringArray::new(environment);
        program::run(&path, &arguments, &environment)
    }
}

fn set_ids(identity: &Identity) -> Result<()> {
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|&group| Gid::from_raw(group))
        .collect();
    let context = || format!("become {}:{}", identity.uid, identity.gid);
    rustix::thread::set_thread_groups(&groups)
        .at_with(Step::User, || format!("setgroups({:?})", identity.groups))?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).at_with(Step::User, context)?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).at_with(Step::User, context)
}

/// Becomes root of the user namespace, without groups.
pub(crate) fn become_root() -> Result<()> {
    set_ids(&Identity {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: None,
    })
}

fn strings(texts: &[String]) -> Result<Vec<CString>> {
    texts.iter().map(|text| crate::mount::c_string(text)).collect()
}

fn refuse_unsupported(process: &Process) -> Result<()> {
    let named = |profile: Option<&str>| profile.is_some_and(|name| !matches!(name, "" | "unconfined"));
    if named(process.apparmor_profile().as_deref()) {
        return Err(CreateError::unsupported("process.apparmorProfile"));
    }
    if process
        .selinux_label()
        .as_deref()
        .is_some_and(|label| !label.is_empty())
    {
        return Err(CreateError::unsupported("process.selinuxLabel"));
    }
    if process.exec_cpu_affinity().is_some() {
        return Err(CreateError::unsupported("process.execCPUAffinity"));
    }
    Ok(())
}

fn limits(process: &Process) -> Result<Vec<(u32, ResourceLimit)>> {
    let listed = process.rlimits().as_deref().unwrap_or_default();
    let mut limits: Vec<(u32, ResourceLimit)> = Vec::with_capacity(listed.len());
    for limit in listed {
        let resource = match limit.typ() {
            PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
        };
        if limits.iter().any(|(seen, _)| *seen == resource) {
            return Err(CreateError::spec(format!(
                "rlimit {:?} is listed twice",
                limit.typ()
            )));
        }
        limits.push((
            resource,
            ResourceLimit {
                soft: limit.soft(),
                hard: limit.hard(),
            },
        ));
    }
    Ok(limits)
}

fn filter(context: &ProcessContext<'_>) -> Result<Option<(Vec<u8>, FilterFlags)>> {
    let linux = context.spec.linux().as_ref();
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    if let Some(program) = context.filter {
        let flags = profile.map_or(0, |profile| seccomp::FilterFlags::from_oci(profile).0);
        return Ok(Some((program.to_vec(), FilterFlags(flags))));
    }
    let Some(profile) = profile else { return Ok(None) };
    let fail = |error: &dyn std::error::Error| {
        CreateError::new(Step::Seccomp, 0, base::error::chain(error).to_string())
    };
    let policy = seccomp::Policy::from_oci(profile, seccomp::Arch::NATIVE).map_err(|error| fail(&error))?;
    let filter = seccomp::compile(&policy).map_err(|error| fail(&error))?;
    // Nobody is there to listen: every such call would fail with ENOSYS, which is not what was asked for.
    if policy.listener.is_some() || filter.flags().has(seccomp::FilterFlags::NEW_LISTENER) {
        return Err(CreateError::unsupported("SCMP_ACT_NOTIFY in linux.seccomp"));
    }
    Ok(Some((filter.to_bytes(), FilterFlags(filter.flags().0))))
}

fn personality(spec: &Spec) -> Result<Option<u32>> {
    const PER_LINUX: u32 = 0;
    const PER_LINUX32: u32 = 8;
    let linux = spec.linux().as_ref();
    let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) else {
        return Ok(None);
    };
    if personality
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(CreateError::unsupported("linux.personality.flags"));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }))
}

fn io_priority(process: &Process) -> Result<Option<u16>> {
    let Some(priority) = process.io_priority() else {
        return Ok(None);
    };
    let class: u16 = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u16::try_from(priority.priority()).ok().filter(|level| *level < 8);
    let level = level.ok_or_else(|| CreateError::spec("ioPriority.priority is not 0 to 7"))?;
    Ok(Some(class << 13 | level))
}

fn scheduler(scheduler: &Scheduler) -> Result<SchedulerAttributes> {
    let priority = u32::try_from(scheduler.priority().unwrap_or(0));
    let flags = scheduler.flags().as_deref().unwrap_or_default();
    Ok(SchedulerAttributes {
        policy: match scheduler.policy() {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => {
                return Err(CreateError::unsupported("scheduler policy SCHED_ISO"));
            }
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        },
        flags: flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
        }),
        nice: scheduler.nice().unwrap_or(0),
        priority: priority.map_err(|error| CreateError::spec(format!("scheduler.priority: {error}")))?,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedulerAttributes::default()
    })
}
