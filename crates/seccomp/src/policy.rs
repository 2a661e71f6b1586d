//! What a filter has to do, with every condition on the container decided.

use std::path::PathBuf;

use crate::action::Action;
use crate::arch::Arch;
use crate::filter::FilterFlags;

/// A decided profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What happens to calls without a matching rule.
    pub default_action: Action,
    /// The architectures whose calls are judged; a process that uses another one is killed.
    pub architectures: Vec<Arch>,
    /// The rules, in the document's order. Of several that match, the strictest counts.
    pub rules: Vec<Rule>,
    /// Flags of the filter.
    pub flags: FilterFlags,
    /// Where the listener of [`Action::Notify`] is sent.
    pub listener: Option<PathBuf>,
    /// Data for that listener.
    pub listener_metadata: Option<String>,
}

/// What happens to some calls, if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The calls; names that an architecture does not have are skipped on it.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All of them have to hold; none: always.
    pub conditions: Vec<Condition>,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What must hold for it.
    pub comparison: Comparison,
}

/// A comparison of an argument (unsigned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the value.
    Equal(u64),
    /// It is not the value.
    NotEqual(u64),
    /// It is less.
    Less(u64),
    /// It is less or the same.
    LessOrEqual(u64),
    /// It is greater.
    Greater(u64),
    /// It is greater or the same.
    GreaterOrEqual(u64),
    /// Its bits of the mask are the value.
    MaskedEqual {
        /// The mask.
        mask: u64,
        /// The value.
        value: u64,
    },
}

impl Rule {
    /// Makes the rules of one entry of a document.
    ///
    /// When one argument is named more than once each condition becomes a rule of its own (any of them is enough): this
    /// is what runc and crun make of such entries, because libseccomp refuses them.
    pub(crate) fn from_entry(names: &[String], action: Action, conditions: &[Condition]) -> Vec<Self> {
        let rule = |conditions: &[Condition]| Self {
            names: names.to_vec(),
            action,
            conditions: conditions.to_vec(),
        };
        let repeated = conditions.iter().enumerate().any(|(at, condition)| {
            conditions[..at]
                .iter()
                .any(|other| other.index == condition.index)
        });
        if repeated {
            conditions.iter().map(|condition| rule(&[*condition])).collect()
        } else {
            vec![rule(conditions)]
        }
    }
}
