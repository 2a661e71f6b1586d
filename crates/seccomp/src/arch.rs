//! The architectures a filter can be made for.

use oci_spec::runtime::Arch as OciArch;

/// An architecture of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86. Its x32 calls are always refused.
    X86_64,
    /// 32-bit x86, also as the compatibility mode of a 64-bit kernel.
    X86,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::X86, Self::Aarch64];

    /// The architecture this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// Returns the value of `seccomp_data.arch` (`AUDIT_ARCH_*` of `linux/audit.h`).
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Returns Docker's name in `includes.arches` (Go's `GOARCH`, with `x86`).
    pub fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
        }
    }

    /// Returns the architecture that `SCMP_ARCH_*` names; `None` for those without a table.
    pub fn from_scmp(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_NATIVE" => Some(Self::NATIVE),
            _ => None,
        }
    }

    /// As [`Self::from_scmp`], for the OCI document.
    pub fn from_oci(arch: OciArch) -> Option<Self> {
        match arch {
            OciArch::ScmpArchX86_64 => Some(Self::X86_64),
            OciArch::ScmpArchX86 => Some(Self::X86),
            OciArch::ScmpArchAarch64 => Some(Self::Aarch64),
            OciArch::ScmpArchNative => Some(Self::NATIVE),
            _ => None,
        }
    }
}
