//! The program as the kernel takes it.

use oci::digest::Digest;

/// One instruction of classic BPF (`struct sock_filter` of `linux/filter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// `SECCOMP_FILTER_FLAG_*` of `linux/seccomp.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterFlags(
    /// The bits for seccomp(2).
    pub u32,
);

impl FilterFlags {
    /// Set the filter for every thread.
    pub const TSYNC: Self = Self(1);
    /// Log every action but `Allow`.
    pub const LOG: Self = Self(1 << 1);
    /// Leave speculative store bypass alone.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// Return a listener for `Notify`.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// A process that waits for a supervisor can be killed.
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// The flags that a profile may name.
    const NAMES: [(&'static str, Self); 4] = [
        ("SECCOMP_FILTER_FLAG_TSYNC", Self::TSYNC),
        ("SECCOMP_FILTER_FLAG_LOG", Self::LOG),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", Self::SPEC_ALLOW),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", Self::WAIT_KILLABLE_RECV),
    ];

    /// Returns the flag that `SECCOMP_FILTER_FLAG_*` names.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, flag)| flag)
    }

    /// Returns the names of the flags that are set and have one in profiles.
    pub fn names(self) -> Vec<&'static str> {
        let set = Self::NAMES.into_iter().filter(|(_, flag)| self.has(*flag));
        set.map(|(name, _)| name).collect()
    }

    /// Returns both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    instructions: Vec<Instruction>,
    flags: FilterFlags,
}

/// Why bytes are no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromBytesError {
    /// The length is no multiple of 8, or 0, or more than the kernel takes.
    #[error("{length} bytes are no seccomp filter")]
    Length {
        /// The length.
        length: usize,
    },
}

impl Filter {
    /// The most instructions that the kernel takes (`BPF_MAXINSNS`).
    pub const MAX_INSTRUCTIONS: usize = 4096;

    pub(crate) fn new(instructions: Vec<Instruction>, flags: FilterFlags) -> Self {
        Self { instructions, flags }
    }

    /// Returns the program.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Returns the flags for seccomp(2). They are not part of [`Self::to_bytes`].
    pub fn flags(&self) -> FilterFlags {
        self.flags
    }

    /// Returns the program as an array of little-endian `struct sock_filter`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for instruction in &self.instructions {
            bytes.extend_from_slice(&instruction.code.to_le_bytes());
            bytes.push(instruction.jump_true);
            bytes.push(instruction.jump_false);
            bytes.extend_from_slice(&instruction.k.to_le_bytes());
        }
        bytes
    }

    /// Reads [`Self::to_bytes`] back; the flags are empty. The kernel checks the program itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FromBytesError> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || chunks.is_empty() || chunks.len() > Self::MAX_INSTRUCTIONS {
            return Err(FromBytesError::Length { length: bytes.len() });
        }
        let instructions = chunks
            .iter()
            .map(
                |&[code0, code1, jump_true, jump_false, k0, k1, k2, k3]| Instruction {
                    code: u16::from_le_bytes([code0, code1]),
                    jump_true,
                    jump_false,
                    k: u32::from_le_bytes([k0, k1, k2, k3]),
                },
            )
            .collect();
        Ok(Self {
            instructions,
            flags: FilterFlags::default(),
        })
    }

    /// Returns the digest of [`Self::to_bytes`]: a name for the file that caches the program.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.to_bytes())
    }
}
