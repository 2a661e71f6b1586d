//! Capabilities: from the document's five sets to the kernel's, and who may have what.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{AtStep, CreateError, Result, Step};

/// What happens with a capability that the caller does not have itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingCapabilities {
    /// Creation fails.
    Refuse,
    /// It is left out and a warning recorded (`--privileged`: every capability that the daemon has).
    Drop,
}

/// The five sets as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

impl Sets {
    pub(crate) fn from_oci(capabilities: Option<&LinuxCapabilities>) -> Self {
        let Some(capabilities) = capabilities else {
            return Self::default();
        };
        let mask = |set: &Option<Capabilities>| {
            set.iter()
                .flatten()
                .fold(0, |mask, &capability| mask | 1 << capability_number(capability))
        };
        Self {
            bounding: mask(capabilities.bounding()),
            effective: mask(capabilities.effective()),
            permitted: mask(capabilities.permitted()),
            inheritable: mask(capabilities.inheritable()),
            ambient: mask(capabilities.ambient()),
        }
    }

    /// Every capability that `available` has, none inheritable or ambient (`exec --privileged`).
    pub(crate) fn all_of(available: u64) -> Self {
        Self {
            bounding: available,
            effective: available,
            permitted: available,
            inheritable: 0,
            ambient: 0,
        }
    }

    /// Limits the sets to `available`; what falls away is an error or a warning.
    pub(crate) fn limit(
        &mut self,
        available: u64,
        missing: MissingCapabilities,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let all = self.bounding | self.effective | self.permitted | self.inheritable | self.ambient;
        let lacking = all & !available;
        if lacking == 0 {
            return Ok(());
        }
        let names: Vec<String> = (0..64)
            .filter(|number| lacking & (1 << number) != 0)
            .map(|number| capability_name(number).map_or_else(|| number.to_string(), str::to_owned))
            .collect();
        let names = names.join(", ");
        match missing {
            MissingCapabilities::Refuse => {
                return Err(CreateError::new(
                    Step::Capability,
                    libc::EPERM,
                    format!("this host or daemon does not have {names}"),
                ));
            }
            MissingCapabilities::Drop => {
                warnings.push(format!("this host or daemon does not have {names}: left out"));
            }
        }
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.permitted,
            &mut self.inheritable,
            &mut self.ambient,
        ] {
            *set &= available;
        }
        Ok(())
    }
}

/// Returns the capabilities that this process could give to a program: its bounding set.
pub(crate) fn bounding_set() -> u64 {
    let mut mask = 0;
    for number in 0..64u32 {
        match rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(true) => mask |= 1 << number,
            Ok(false) => {}
            // Beyond the kernel's last capability.
            Err(_) => break,
        }
    }
    mask
}

/// Removes what is not in `keep` from the bounding set; needs CAP_SETPCAP.
pub(crate) fn limit_bounding_set(keep: u64) -> Result<()> {
    for number in 0..64u32 {
        if keep & (1 << number) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            result => {
                result.at_with(Step::Capability, || format!("prctl(PR_CAPBSET_DROP, {number})"))?;
            }
        }
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets of the calling thread.
pub(crate) fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    rustix::thread::set_capabilities(None, sets).at_with(Step::Capability, || {
        format!(
            "capset({{effective={effective:#x}, permitted={permitted:#x}, inheritable={inheritable:#x}}})"
        )
    })
}

/// Adds `ambient` to the (empty) ambient set; what is not permitted and inheritable cannot be ambient.
pub(crate) fn raise_ambient(ambient: u64) -> Result<()> {
    for number in (0..64u32).filter(|number| ambient & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(
            CapabilitySet::from_bits_retain(1 << number),
            true,
        )
        .at_with(Step::Capability, || {
            format!("prctl(PR_CAP_AMBIENT_RAISE, {number})")
        })?;
    }
    Ok(())
}

/// The kernel's names in the order of their numbers, with the document's word for each (capability(7)).
const TABLE: [(Capability, &str); 41] = [
    (Capability::Chown, "CAP_CHOWN"),
    (Capability::DacOverride, "CAP_DAC_OVERRIDE"),
    (Capability::DacReadSearch, "CAP_DAC_READ_SEARCH"),
    (Capability::Fowner, "CAP_FOWNER"),
    (Capability::Fsetid, "CAP_FSETID"),
    (Capability::Kill, "CAP_KILL"),
    (Capability::Setgid, "CAP_SETGID"),
    (Capability::Setuid, "CAP_SETUID"),
    (Capability::Setpcap, "CAP_SETPCAP"),
    (Capability::LinuxImmutable, "CAP_LINUX_IMMUTABLE"),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
    (Capability::NetBroadcast, "CAP_NET_BROADCAST"),
    (Capability::NetAdmin, "CAP_NET_ADMIN"),
    (Capability::NetRaw, "CAP_NET_RAW"),
    (Capability::IpcLock, "CAP_IPC_LOCK"),
    (Capability::IpcOwner, "CAP_IPC_OWNER"),
    (Capability::SysModule, "CAP_SYS_MODULE"),
    (Capability::SysRawio, "CAP_SYS_RAWIO"),
    (Capability::SysChroot, "CAP_SYS_CHROOT"),
    (Capability::SysPtrace, "CAP_SYS_PTRACE"),
    (Capability::SysPacct, "CAP_SYS_PACCT"),
    (Capability::SysAdmin, "CAP_SYS_ADMIN"),
    (Capability::SysBoot, "CAP_SYS_BOOT"),
    (Capability::SysNice, "CAP_SYS_NICE"),
    (Capability::SysResource, "CAP_SYS_RESOURCE"),
    (Capability::SysTime, "CAP_SYS_TIME"),
    (Capability::SysTtyConfig, "CAP_SYS_TTY_CONFIG"),
    (Capability::Mknod, "CAP_MKNOD"),
    (Capability::Lease, "CAP_LEASE"),
    (Capability::AuditWrite, "CAP_AUDIT_WRITE"),
    (Capability::AuditControl, "CAP_AUDIT_CONTROL"),
    (Capability::Setfcap, "CAP_SETFCAP"),
    (Capability::MacOverride, "CAP_MAC_OVERRIDE"),
    (Capability::MacAdmin, "CAP_MAC_ADMIN"),
    (Capability::Syslog, "CAP_SYSLOG"),
    (Capability::WakeAlarm, "CAP_WAKE_ALARM"),
    (Capability::BlockSuspend, "CAP_BLOCK_SUSPEND"),
    (Capability::AuditRead, "CAP_AUDIT_READ"),
    (Capability::Perfmon, "CAP_PERFMON"),
    (Capability::Bpf, "CAP_BPF"),
    (Capability::CheckpointRestore, "CAP_CHECKPOINT_RESTORE"),
];

/// Returns the kernel's number of a capability.
pub fn capability_number(capability: Capability) -> u32 {
    let position = TABLE.iter().position(|(entry, _)| *entry == capability);
    position.and_then(|at| u32::try_from(at).ok()).unwrap_or(63)
}

fn capability_name(number: u32) -> Option<&'static str> {
    let index = usize::try_from(number).ok()?;
    TABLE.get(index).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(capability_number(Capability::SysAdmin), 21);
        assert_eq!(capability_number(Capability::CheckpointRestore), 40);
        for (number, (capability, name)) in (0u32..).zip(&TABLE) {
            assert_eq!(capability_number(*capability), number);
            assert_eq!(capability_name(number), Some(*name));
        }
    }

    #[test]
    fn what_is_missing_is_refused_or_dropped() {
        let mut sets = Sets::all_of(0b111);
        let mut warnings = Vec::new();
        assert!(
            sets.limit(0b011, MissingCapabilities::Refuse, &mut warnings)
                .is_err()
        );
        sets.limit(0b011, MissingCapabilities::Drop, &mut warnings)
            .unwrap();
        assert_eq!(sets, Sets::all_of(0b011));
        assert!(warnings[0].contains("CAP_DAC_READ_SEARCH"));
    }
}
