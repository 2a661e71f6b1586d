//! From a policy to a program: architecture, number (by binary search), arguments.

use std::collections::BTreeMap;

use base::error::{Kind, Kinded};

use crate::action::Action;
use crate::arch::Arch;
use crate::assembler::{Assembler, Label, Test};
use crate::evaluate::{ENOSYS, X32_BIT, narrow, unknown};
use crate::filter::{Filter, FilterFlags};
use crate::policy::{Comparison, Policy, Rule};
use crate::table;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A policy has no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The program is longer than the kernel allows.
    #[error("the seccomp filter has {instructions} instructions, the kernel takes 4096")]
    TooLong {
        /// Its length.
        instructions: usize,
    },
    /// `SCMP_ACT_NOTIFY` would stop the call that hands the listener over.
    #[error("SCMP_ACT_NOTIFY cannot be used for \"{call}\" or as the default action")]
    Notify {
        /// The call.
        call: String,
    },
}

impl Kinded for CompileError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Compiles `policy`.
pub fn compile(policy: &Policy) -> Result<Filter, CompileError> {
    check_notify(policy)?;
    let mut assembler = Assembler::default();
    let mut next = assembler.ret(Action::KillProcess.value());
    let mut blocks = Vec::new();
    for &arch in policy.architectures.iter().rev() {
        blocks.push((arch, block(&mut assembler, policy, arch)));
    }
    for (arch, block) in blocks {
        next = assembler.jump(Test::Equal, arch.audit(), block, next);
    }
    assembler.load(ARCH);
    if assembler.len() > Filter::MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong {
            instructions: assembler.len(),
        });
    }
    let mut flags = policy.flags;
    if policy.rules.iter().any(|rule| rule.action == Action::Notify) {
        flags = flags.with(FilterFlags::NEW_LISTENER);
    }
    Ok(Filter::new(assembler.finish(), flags))
}

/// The runtime itself has to write and to pass the listener on after the filter is in force.
fn check_notify(policy: &Policy) -> Result<(), CompileError> {
    let refused = |call: &str| CompileError::Notify {
        call: call.to_owned(),
    };
    if policy.default_action == Action::Notify {
        return Err(refused("write"));
    }
    for rule in policy.rules.iter().filter(|rule| rule.action == Action::Notify) {
        if let Some(call) = rule
            .names
            .iter()
            .find(|name| *name == "write" || *name == "sendmsg")
        {
            return Err(refused(call));
        }
    }
    Ok(())
}

/// What happens to a run of numbers.
#[derive(Clone, PartialEq)]
enum Outcome<'a> {
    Always(Action),
    ByArguments {
        narrow: u8,
        /// What happens if no rule matches.
        otherwise: Action,
        /// The strictest last.
        rules: Vec<&'a Rule>,
    },
}

/// Writes everything for one architecture.
fn block(assembler: &mut Assembler, policy: &Policy, arch: Arch) -> Label {
    let runs = runs(policy, arch);
    let start = search(assembler, &runs);
    if arch == Arch::X86_64 {
        let refused = assembler.ret(ENOSYS.value());
        assembler.jump(Test::AnyBit, X32_BIT, refused, start);
    } else {
        assembler.go_on_at(start);
    }
    assembler.load(NUMBER)
}

/// Returns the outcomes of all numbers as runs, each with its first number; the first starts at 0.
fn runs(policy: &Policy, arch: Arch) -> Vec<(u32, Outcome<'_>)> {
    let mut by_number: BTreeMap<u32, (&str, Vec<&Rule>)> = table::calls(arch)
        .iter()
        .map(|(name, number)| (u32::from(*number), (*name, Vec::new())))
        .collect();
    for rule in &policy.rules {
        for name in &rule.names {
            if let Some((_, rules)) = table::number(arch, name).and_then(|number| by_number.get_mut(&number))
            {
                rules.push(rule);
            }
        }
    }
    let unknown = Outcome::Always(unknown(policy));
    let mut runs = vec![(0, unknown.clone())];
    let mut next = 0;
    for (number, (name, rules)) in by_number {
        if number != next {
            append(&mut runs, next, unknown.clone());
        }
        append(&mut runs, number, outcome(policy, narrow(arch, name), rules));
        next = number + 1;
    }
    append(&mut runs, next, unknown);
    runs
}

/// Adds the outcome of the numbers from `start` on.
fn append<'a>(runs: &mut Vec<(u32, Outcome<'a>)>, start: u32, outcome: Outcome<'a>) {
    match runs.last_mut() {
        Some((last, previous)) if *last == start => *previous = outcome,
        Some((_, previous)) if *previous == outcome => {}
        _ => runs.push((start, outcome)),
    }
}

/// Returns what the rules of one call come to.
fn outcome<'a>(policy: &Policy, narrow: u8, mut rules: Vec<&'a Rule>) -> Outcome<'a> {
    let always = rules
        .iter()
        .filter(|rule| rule.conditions.is_empty())
        .map(|rule| rule.action)
        .max();
    // A rule that is no stricter than one that always matches never counts.
    if let Some(always) = always {
        rules.retain(|rule| rule.action > always);
    }
    let otherwise = always.unwrap_or(policy.default_action);
    if rules.is_empty() {
        return Outcome::Always(otherwise);
    }
    rules.sort_by_key(|rule| rule.action);
    Outcome::ByArguments {
        narrow,
        otherwise,
        rules,
    }
}

/// Writes the search among `runs` (at least one) for the number in the accumulator; the start is written last.
fn search(assembler: &mut Assembler, runs: &[(u32, Outcome<'_>)]) -> Label {
    match runs {
        [] => assembler.ret(Action::KillProcess.value()),
        [(_, Outcome::Always(action))] => assembler.ret(action.value()),
        [
            (
                _,
                Outcome::ByArguments {
                    narrow,
                    otherwise,
                    rules,
                },
            ),
        ] => judge(assembler, *narrow, *otherwise, rules),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let high_start = high[0].0;
            let high = search(assembler, high);
            let low = search(assembler, low);
            assembler.jump(Test::GreaterOrEqual, high_start, high, low)
        }
    }
}

/// Writes the rules of one call, the strictest of which is judged first and therefore written last.
fn judge(assembler: &mut Assembler, narrow: u8, otherwise: Action, rules: &[&Rule]) -> Label {
    let mut next = assembler.ret(otherwise.value());
    for rule in rules {
        let fails = next;
        next = assembler.ret(rule.action.value());
        for condition in rule.conditions.iter().rev() {
            let offset = ARGUMENTS + 8 * u32::from(condition.index);
            next = if narrow >> condition.index & 1 == 1 {
                compare_narrow(assembler, offset, condition.comparison.narrowed(), next, fails)
            } else {
                compare(assembler, offset, condition.comparison, next, fails)
            };
        }
    }
    next
}

/// Writes a comparison of 32 bits.
fn compare_narrow(
    assembler: &mut Assembler,
    offset: u32,
    comparison: Comparison,
    holds: Label,
    fails: Label,
) -> Label {
    match comparison {
        Comparison::Equal(value) => assembler.jump(Test::Equal, low(value), holds, fails),
        Comparison::NotEqual(value) => assembler.jump(Test::Equal, low(value), fails, holds),
        Comparison::Greater(value) => assembler.jump(Test::Greater, low(value), holds, fails),
        Comparison::LessOrEqual(value) => assembler.jump(Test::Greater, low(value), fails, holds),
        Comparison::GreaterOrEqual(value) => assembler.jump(Test::GreaterOrEqual, low(value), holds, fails),
        Comparison::Less(value) => assembler.jump(Test::GreaterOrEqual, low(value), fails, holds),
        Comparison::MaskedEqual { mask, value } => {
            assembler.jump(Test::Equal, low(value), holds, fails);
            assembler.and(low(mask))
        }
    };
    assembler.load(offset)
}

/// Writes a comparison of 64 bits: the high half, then, if that decides nothing, the low half.
fn compare(
    assembler: &mut Assembler,
    offset: u32,
    comparison: Comparison,
    holds: Label,
    fails: Label,
) -> Label {
    match comparison {
        Comparison::NotEqual(value) => {
            return compare(assembler, offset, Comparison::Equal(value), fails, holds);
        }
        Comparison::LessOrEqual(value) => {
            return compare(assembler, offset, Comparison::Greater(value), fails, holds);
        }
        Comparison::Less(value) => {
            return compare(assembler, offset, Comparison::GreaterOrEqual(value), fails, holds);
        }
        _ => {}
    }
    let lower = compare_narrow(assembler, offset, comparison.narrowed(), holds, fails);
    match comparison {
        Comparison::Greater(value) | Comparison::GreaterOrEqual(value) => {
            let same = assembler.jump(Test::Equal, high(value), lower, fails);
            assembler.jump(Test::Greater, high(value), holds, same);
        }
        Comparison::MaskedEqual { mask, value } => {
            if high(mask) == 0 && high(value) == 0 {
                return lower;
            }
            assembler.jump(Test::Equal, high(value), lower, fails);
            assembler.and(high(mask));
        }
        Comparison::Equal(value)
        | Comparison::NotEqual(value)
        | Comparison::Less(value)
        | Comparison::LessOrEqual(value) => {
            assembler.jump(Test::Equal, high(value), lower, fails);
        }
    }
    assembler.load(offset + 4)
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}
