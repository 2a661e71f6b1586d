//! The OCI runtime document's `linux.seccomp` as a policy.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall};

use crate::action::Action;
use crate::arch::Arch;
use crate::filter::FilterFlags;
use crate::policy::{Comparison, Condition, Policy, Rule};
use crate::profile::ResolveError;

impl Policy {
    /// Reads the document for `native`; architectures without a table are left out, so that their calls kill.
    pub fn from_oci(seccomp: &LinuxSeccomp, native: Arch) -> Result<Self, ResolveError> {
        let mut architectures = vec![native];
        for arch in seccomp.architectures().iter().flatten() {
            if let Some(arch) = Arch::from_oci(*arch)
                && !architectures.contains(&arch)
            {
                architectures.push(arch);
            }
        }
        let mut rules = Vec::new();
        for entry in seccomp.syscalls().iter().flatten() {
            let action = Action::from_oci(entry.action(), entry.errno_ret());
            rules.extend(Rule::from_entry(entry.names(), action, &conditions(entry)?));
        }
        Ok(Self {
            default_action: Action::from_oci(seccomp.default_action(), seccomp.default_errno_ret()),
            architectures,
            rules,
            flags: FilterFlags::from_oci(seccomp),
            listener: seccomp.listener_path().clone(),
            listener_metadata: seccomp.listener_metadata().clone(),
        })
    }
}

impl FilterFlags {
    /// Reads the flags of the document.
    pub fn from_oci(seccomp: &LinuxSeccomp) -> Self {
        let flags = seccomp.flags().iter().flatten();
        flags.fold(Self::default(), |flags, flag| {
            flags.with(match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => Self::LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Self::TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Self::SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => Self::WAIT_KILLABLE_RECV,
            })
        })
    }
}

fn conditions(entry: &LinuxSyscall) -> Result<Vec<Condition>, ResolveError> {
    entry
        .args()
        .iter()
        .flatten()
        .map(|argument| {
            let index = u8::try_from(argument.index())
                .ok()
                .filter(|index| *index < 6)
                .ok_or_else(|| ResolveError::Index {
                    call: entry.names().first().cloned().unwrap_or_default(),
                    index: u64::try_from(argument.index()).unwrap_or(u64::MAX),
                })?;
            let value = argument.value();
            let comparison = match argument.op() {
                LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual(value),
                LinuxSeccompOperator::ScmpCmpLt => Comparison::Less(value),
                LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual(value),
                LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal(value),
                LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
                LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater(value),
                LinuxSeccompOperator::ScmpCmpMaskedEq => Comparison::MaskedEqual {
                    mask: value,
                    value: argument.value_two().unwrap_or(0),
                },
            };
            Ok(Condition { index, comparison })
        })
        .collect()
}
