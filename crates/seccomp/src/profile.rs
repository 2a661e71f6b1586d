//! Docker's seccomp profile: a JSON document whose rules depend on the container.
//!
//! Format: Docker's "Seccomp security profiles" page and the documents it links. Read leniently: unknown members and
//! `null`s are skipped. Not read leniently: an action, operator, flag or argument index that is not known, because
//! skipping it would weaken the filter.

use std::path::Path;
use std::str::FromStr;

use base::error::{Kind, Kinded, kind_of_io};
use serde::{Deserialize, Deserializer};

use crate::action::Action;
use crate::arch::Arch;
use crate::filter::FilterFlags;
use crate::policy::{Comparison, Condition, Policy, Rule};

/// The greatest profile that is read, in bytes.
const MAX_PROFILE: u64 = 4 << 20;

/// A profile document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_default")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "null_default")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    flags: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    listener_path: String,
    #[serde(default, deserialize_with = "null_default")]
    listener_metadata: String,
    #[serde(default, deserialize_with = "null_default")]
    syscalls: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default, deserialize_with = "null_default")]
    sub_architectures: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default, deserialize_with = "null_default")]
    name: String,
    #[serde(default, deserialize_with = "null_default")]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_default")]
    args: Vec<Option<Argument>>,
    #[serde(default, deserialize_with = "null_default")]
    includes: Filter,
    #[serde(default, deserialize_with = "null_default")]
    excludes: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, deserialize_with = "null_default")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    min_kernel: String,
}

fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A version of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// `6` of `6.18.44`.
    pub major: u32,
    /// `18` of `6.18.44`.
    pub minor: u32,
}

/// Why a text is no kernel version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a kernel version")]
pub struct ParseKernelVersionError {
    text: String,
}

impl FromStr for KernelVersion {
    type Err = ParseKernelVersionError;

    /// Reads the first two numbers of a release such as `6.1.0-28-amd64`.
    fn from_str(text: &str) -> Result<Self, ParseKernelVersionError> {
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part[..digits].parse::<u32>().ok()
        });
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(ParseKernelVersionError {
                text: text.chars().take(80).collect(),
            }),
        }
    }
}

/// What the conditions of a profile are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The container's bounding set; with or without `CAP_`, in any case.
    pub capabilities: &'a [String],
    /// The native architecture.
    pub arch: Arch,
    /// The running kernel.
    pub kernel: KernelVersion,
}

/// A profile could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no path: an empty path must never mean "unconfined" (CVE-2023-2431).
    #[error("the path of the seccomp profile is empty")]
    EmptyPath,
    /// The file could not be read.
    #[error("load the seccomp profile")]
    Read {
        /// The cause.
        source: base::file::FileError,
    },
    /// There is no such file.
    #[error("seccomp profile \"{path}\" does not exist")]
    NotFound {
        /// The file.
        path: String,
    },
    /// It is no profile.
    #[error("decode the seccomp profile")]
    Decode {
        /// The cause.
        source: serde_json::Error,
    },
}

impl Kinded for LoadError {
    fn kind(&self) -> Kind {
        match self {
            Self::EmptyPath | Self::Decode { .. } | Self::NotFound { .. } => Kind::Invalid,
            Self::Read { source } => kind_of_io(source.io()),
        }
    }
}

/// A profile has no meaning for this container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// An action is not known.
    #[error("seccomp action \"{name}\" is not known")]
    Action {
        /// Its name.
        name: String,
    },
    /// A flag is not known.
    #[error("seccomp flag \"{name}\" is not known")]
    Flag {
        /// Its name.
        name: String,
    },
    /// An argument's index is not 0 to 5.
    #[error("seccomp argument {index} of \"{call}\" does not exist: there are six, from 0")]
    Index {
        /// The call.
        call: String,
        /// The index.
        index: u64,
    },
    /// Both `architectures` and `archMap` are given.
    #[error("the seccomp profile has both \"architectures\" and \"archMap\"")]
    Architectures,
    /// Both `name` and `names` are given.
    #[error("a rule of the seccomp profile has both \"name\" and \"names\": \"{name}\"")]
    Names {
        /// The name.
        name: String,
    },
    /// `minKernel` is no version.
    #[error("\"{text}\" is not a kernel version")]
    MinKernel {
        /// What is there.
        text: String,
    },
}

impl Kinded for ResolveError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Profile {
    /// Returns Berth's default profile: Docker's, with AF_ALG and AF_KEY closed on every road.
    pub fn docker_default() -> Self {
        serde_json::from_str(include_str!("default.json"))
            .expect("the profile is part of the program and tested")
    }

    /// Reads a profile document.
    pub fn parse(document: &[u8]) -> Result<Self, LoadError> {
        serde_json::from_slice(document).map_err(|source| LoadError::Decode { source })
    }

    /// Reads the profile in the file `path`, given by the user.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        if path.as_os_str().is_empty() {
            return Err(LoadError::EmptyPath);
        }
        let document =
            base::file::read_optional(path, MAX_PROFILE).map_err(|source| LoadError::Read { source })?;
        match document {
            Some(document) => Self::parse(&document),
            None => Err(LoadError::NotFound {
                path: path.display().to_string(),
            }),
        }
    }

    /// Decides every condition of the profile for one container.
    pub fn resolve(&self, facts: &Facts<'_>) -> Result<Policy, ResolveError> {
        let mut flags = FilterFlags::default();
        for name in &self.flags {
            let flag =
                FilterFlags::from_name(name).ok_or_else(|| ResolveError::Flag { name: name.clone() })?;
            flags = flags.with(flag);
        }
        let mut policy = Policy {
            default_action: action(&self.default_action, self.default_errno_ret)?,
            architectures: self.architectures(facts.arch)?,
            rules: Vec::with_capacity(self.syscalls.len()),
            flags,
            listener: (!self.listener_path.is_empty()).then(|| self.listener_path.clone().into()),
            listener_metadata: (!self.listener_metadata.is_empty()).then(|| self.listener_metadata.clone()),
        };
        for entry in &self.syscalls {
            if !entry.applies(facts)? {
                continue;
            }
            let names = entry.names()?;
            let action = action(&entry.action, entry.errno_ret)?;
            let conditions = entry.conditions(&names)?;
            policy.rules.extend(Rule::from_entry(&names, action, &conditions));
        }
        Ok(policy)
    }

    /// Returns the native architecture and those that the profile names beside it and that have a table.
    fn architectures(&self, native: Arch) -> Result<Vec<Arch>, ResolveError> {
        if !self.arch_map.is_empty() && !self.architectures.is_empty() {
            return Err(ResolveError::Architectures);
        }
        let mut architectures = vec![native];
        let named = self.architectures.iter().chain(
            self.arch_map
                .iter()
                .filter(|entry| Arch::from_scmp(&entry.architecture) == Some(native))
                .flat_map(|entry| &entry.sub_architectures),
        );
        for arch in named.filter_map(|name| Arch::from_scmp(name)) {
            if !architectures.contains(&arch) {
                architectures.push(arch);
            }
        }
        Ok(architectures)
    }
}

impl Entry {
    fn names(&self) -> Result<Vec<String>, ResolveError> {
        match (self.name.is_empty(), self.names.is_empty()) {
            (true, _) => Ok(self.names.clone()),
            (false, true) => Ok(vec![self.name.clone()]),
            (false, false) => Err(ResolveError::Names {
                name: self.name.clone(),
            }),
        }
    }

    fn conditions(&self, names: &[String]) -> Result<Vec<Condition>, ResolveError> {
        self.args
            .iter()
            .flatten()
            .map(|argument| {
                let index = u8::try_from(argument.index)
                    .ok()
                    .filter(|index| *index < 6)
                    .ok_or_else(|| ResolveError::Index {
                        call: names.first().cloned().unwrap_or_default(),
                        index: argument.index.into(),
                    })?;
                let comparison = argument.op.with(argument.value, argument.value_two);
                Ok(Condition { index, comparison })
            })
            .collect()
    }

    /// Decides `includes` (all have to hold) and `excludes` (none may hold).
    fn applies(&self, facts: &Facts<'_>) -> Result<bool, ResolveError> {
        let has_capability = |wanted: &String| {
            facts
                .capabilities
                .iter()
                .any(|capability| bare(capability).eq_ignore_ascii_case(bare(wanted)))
        };
        let is_arch = |name: &String| name == facts.arch.docker_name();
        let (includes, excludes) = (&self.includes, &self.excludes);
        Ok(includes.caps.iter().all(has_capability)
            && !excludes.caps.iter().any(has_capability)
            && (includes.arches.is_empty() || includes.arches.iter().any(is_arch))
            && !excludes.arches.iter().any(is_arch)
            && includes
                .min_kernel()?
                .is_none_or(|minimum| facts.kernel >= minimum)
            && excludes
                .min_kernel()?
                .is_none_or(|minimum| facts.kernel < minimum))
    }
}

impl Operator {
    fn with(self, value: u64, value_two: u64) -> Comparison {
        match self {
            Self::NotEqual => Comparison::NotEqual(value),
            Self::Less => Comparison::Less(value),
            Self::LessOrEqual => Comparison::LessOrEqual(value),
            Self::Equal => Comparison::Equal(value),
            Self::GreaterOrEqual => Comparison::GreaterOrEqual(value),
            Self::Greater => Comparison::Greater(value),
            Self::MaskedEqual => Comparison::MaskedEqual {
                mask: value,
                value: value_two,
            },
        }
    }
}

impl Filter {
    fn min_kernel(&self) -> Result<Option<KernelVersion>, ResolveError> {
        if self.min_kernel.is_empty() {
            return Ok(None);
        }
        self.min_kernel
            .parse()
            .map(Some)
            .map_err(|error: ParseKernelVersionError| ResolveError::MinKernel { text: error.text })
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ResolveError> {
    Action::from_scmp(name, errno).ok_or_else(|| ResolveError::Action {
        name: name.to_owned(),
    })
}

/// Returns a capability's name without `CAP_`.
fn bare(name: &str) -> &str {
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    }
}
