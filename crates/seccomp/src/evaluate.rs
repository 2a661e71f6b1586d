//! The meaning of a policy, written down once as plain code: what the compiled filter is tested against.

use crate::action::Action;
use crate::arch::Arch;
use crate::policy::{Comparison, Policy};
use crate::table;

/// `ENOSYS`: the answer to calls that do not exist.
pub(crate) const ENOSYS: Action = Action::Errno(38);
/// The bit that marks a call of x32.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// A system call as a filter sees it (`struct seccomp_data`, without the instruction pointer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The number.
    pub number: u32,
    /// The arguments.
    pub arguments: [u64; 6],
}

/// Returns what `policy` does with `call`.
pub fn evaluate(policy: &Policy, call: &Call) -> Action {
    let arch = policy.architectures.iter().find(|arch| arch.audit() == call.arch);
    let Some(&arch) = arch else {
        return Action::KillProcess;
    };
    if arch == Arch::X86_64 && call.number & X32_BIT != 0 {
        return ENOSYS;
    }
    let Some(name) = table::name(arch, call.number) else {
        return unknown(policy);
    };
    let narrow = narrow(arch, name);
    policy
        .rules
        .iter()
        .filter(|rule| {
            rule.names.iter().any(|known| known == name)
                && rule.conditions.iter().all(|condition| {
                    let argument = call.arguments[usize::from(condition.index)];
                    if narrow >> condition.index & 1 == 1 {
                        condition.comparison.narrowed().holds(argument & 0xffff_ffff)
                    } else {
                        condition.comparison.holds(argument)
                    }
                })
        })
        .map(|rule| rule.action)
        .max()
        .unwrap_or(policy.default_action)
}

/// Returns what happens to numbers that are no known call: a library that probes for a new one has to see `ENOSYS`,
/// whatever errno the profile gives to calls it refuses.
pub(crate) fn unknown(policy: &Policy) -> Action {
    match policy.default_action {
        Action::Errno(_) => ENOSYS,
        other => other,
    }
}

/// Returns the arguments that are compared as 32 bits: those the kernel reads so, and all on a 32-bit architecture.
pub(crate) fn narrow(arch: Arch, name: &str) -> u8 {
    match arch {
        Arch::X86 => 0b11_1111,
        Arch::X86_64 | Arch::Aarch64 => table::narrow_arguments(name),
    }
}

impl Comparison {
    /// Returns the comparison with its values cut to 32 bits.
    pub(crate) fn narrowed(self) -> Self {
        let cut = |value: u64| value & 0xffff_ffff;
        match self {
            Self::Equal(value) => Self::Equal(cut(value)),
            Self::NotEqual(value) => Self::NotEqual(cut(value)),
            Self::Less(value) => Self::Less(cut(value)),
            Self::LessOrEqual(value) => Self::LessOrEqual(cut(value)),
            Self::Greater(value) => Self::Greater(cut(value)),
            Self::GreaterOrEqual(value) => Self::GreaterOrEqual(cut(value)),
            Self::MaskedEqual { mask, value } => Self::MaskedEqual {
                mask: cut(mask),
                value: cut(value),
            },
        }
    }

    fn holds(self, argument: u64) -> bool {
        match self {
            Self::Equal(value) => argument == value,
            Self::NotEqual(value) => argument != value,
            Self::Less(value) => argument < value,
            Self::LessOrEqual(value) => argument <= value,
            Self::Greater(value) => argument > value,
            Self::GreaterOrEqual(value) => argument >= value,
            Self::MaskedEqual { mask, value } => argument & mask == value,
        }
    }
}
