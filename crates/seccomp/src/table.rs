//! System call numbers by architecture and name.

mod aarch64;
mod i386;
mod x86_64;

use crate::arch::Arch;

/// Returns the calls of `arch`, sorted by name.
pub(crate) fn calls(arch: Arch) -> &'static [(&'static str, u16)] {
    match arch {
        Arch::X86_64 => &x86_64::CALLS,
        Arch::X86 => &i386::CALLS,
        Arch::Aarch64 => &aarch64::CALLS,
    }
}

/// Returns the number of the call `name` on `arch`.
pub fn number(arch: Arch, name: &str) -> Option<u32> {
    let calls = calls(arch);
    calls
        .binary_search_by(|(known, _)| (*known).cmp(name))
        .ok()
        .map(|at| u32::from(calls[at].1))
}

/// Returns the name of the call `number` on `arch`.
pub fn name(arch: Arch, number: u32) -> Option<&'static str> {
    calls(arch)
        .iter()
        .find(|(_, known)| u32::from(*known) == number)
        .map(|(name, _)| *name)
}

/// Returns a bit set of the arguments of `name` of which the kernel reads the low 32 bits only (bit 0: the first).
///
/// A 64-bit comparison of such an argument could be passed by setting a high bit that the kernel then throws away
/// (CVE-2019-10063). Source: the parameter types of the `SYSCALL_DEFINE`s of Linux 6.18; `clone` reads the low half
/// of its flags although it declares `unsigned long`.
pub(crate) fn narrow_arguments(name: &str) -> u8 {
    const FIRST: u8 = 1;
    const SECOND: u8 = 2;
    const THIRD: u8 = 4;
    const FOURTH: u8 = 8;
    match name {
        "socket" | "socketpair" | "getsockopt" | "setsockopt" | "reboot" | "kcmp" | "epoll_ctl" | "dup3"
        | "fsmount" | "tgkill" => FIRST | SECOND | THIRD,
        "ioctl"
        | "fcntl"
        | "kill"
        | "tkill"
        | "setns"
        | "seccomp"
        | "io_uring_register"
        | "listen"
        | "shutdown"
        | "dup2"
        | "ioprio_get"
        | "getpriority"
        | "landlock_restrict_self" => FIRST | SECOND,
        "clone" | "personality" | "prctl" | "arch_prctl" | "keyctl" | "bpf" | "syslog" | "quotactl"
        | "memfd_secret" | "modify_ldt" | "exit" | "exit_group" | "umask" | "setuid" | "setgid" | "dup" => {
            FIRST
        }
        "open" | "umount2" | "futex" | "memfd_create" | "access" | "swapon" | "pipe2" | "fsopen" => SECOND,
        "openat" | "open_tree" | "unlinkat" | "faccessat" | "sendmsg" | "recvmsg" => FIRST | THIRD,
        "madvise" | "msync" | "mlock2" => THIRD,
        "accept4" | "recvmmsg" | "sendmmsg" | "sendto" | "recvfrom" => FIRST | FOURTH,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_right() {
        for arch in Arch::ALL {
            assert!(calls(arch).windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(number(arch, "no_such_call").is_none());
        }
        assert_eq!(number(Arch::X86_64, "clone3"), Some(435));
        assert_eq!(number(Arch::X86, "socketcall"), Some(102));
        assert_eq!(number(Arch::Aarch64, "openat"), Some(56));
        assert_eq!(name(Arch::X86_64, 59), Some("execve"));
    }
}
