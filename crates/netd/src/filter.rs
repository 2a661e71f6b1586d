//! The system calls that netd makes, and no others.
//!
//! The list is what the loop needs on glibc and musl: sockets of IP, epoll, its own memory, reading files (the machine's
//! `resolv.conf` and `/proc`, for who has a port), and visiting the network namespaces of containers. It is loaded after
//! the process has left its starter and before it reads the first byte of anybody's.

use std::io;

use seccomp::{Action, Arch, Comparison, Condition, FilterFlags, Policy, Rule};

/// Calls that are allowed whatever their arguments are.
const CALLS: &[&str] = &[
    // Waiting.
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "poll",
    "ppoll",
    "restart_syscall",
    // Sockets: `socket` is below.
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    // Descriptors and files: `openat` is below.
    "close",
    "fcntl",
    "fstat",
    "getdents64",
    "lseek",
    "newfstatat",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "statx",
    "write",
    "writev",
    // Memory: `mmap` and `mprotect` are below.
    "brk",
    "madvise",
    "mremap",
    "munmap",
    // The process itself, and its end.
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "geteuid",
    "getpid",
    "getrandom",
    "gettid",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "sigaltstack",
];

/// `EPERM`.
const REFUSED: Action = Action::Errno(1);
/// `O_WRONLY`, `O_RDWR`, `O_CREAT` and `O_TRUNC`: the same numbers on all architectures that Berth runs on.
const WRITES: u64 = 0o1 | 0o2 | 0o100 | 0o1000;
const PROT_EXEC: u64 = 4;
const CLONE_NEWNET: u64 = 0x4000_0000;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const FIONBIO: u64 = 0x5421;
/// `SIOCGSKNS` of linux/sockios.h: the network namespace of a socket.
const SIOCGSKNS: u64 = 0x894c;

/// Loads the filter for this process, which must have one thread and no_new_privs.
pub(crate) fn install() -> io::Result<()> {
    let filter = seccomp::compile(&policy()).map_err(io::Error::other)?;
    sys::seccomp::set_mode_filter(&filter.to_bytes(), sys::seccomp::FilterFlags::default())?;
    Ok(())
}

fn policy() -> Policy {
    let rule = |names: &[&str], conditions: &[(u8, Comparison)]| Rule {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        action: Action::Allow,
        conditions: conditions
            .iter()
            .map(|&(index, comparison)| Condition { index, comparison })
            .collect(),
    };
    let without = |mask| Comparison::MaskedEqual { mask, value: 0 };
    Policy {
        default_action: REFUSED,
        architectures: vec![Arch::NATIVE],
        rules: vec![
            rule(CALLS, &[]),
            rule(&["openat"], &[(2, without(WRITES))]),
            rule(&["mmap", "mprotect"], &[(2, without(PROT_EXEC))]),
            rule(&["socket"], &[(0, Comparison::Equal(AF_INET))]),
            rule(&["socket"], &[(0, Comparison::Equal(AF_INET6))]),
            rule(&["setns"], &[(1, Comparison::Equal(CLONE_NEWNET))]),
            rule(&["ioctl"], &[(1, Comparison::Equal(FIONBIO))]),
            rule(&["ioctl"], &[(1, Comparison::Equal(SIOCGSKNS))]),
        ],
        flags: FilterFlags::default(),
        listener: None,
        listener_metadata: None,
    }
}

#[cfg(test)]
mod tests {
    use seccomp::{Call, call_number, evaluate};

    use super::*;

    fn judge(name: &str, arguments: [u64; 6]) -> Action {
        let call = Call {
            arch: Arch::NATIVE.audit(),
            number: call_number(Arch::NATIVE, name).unwrap(),
            arguments,
        };
        evaluate(&policy(), &call)
    }

    #[test]
    fn every_call_of_the_list_exists() {
        for name in CALLS {
            // ARM has only the newer forms.
            let is_old = ["epoll_wait", "poll", "readlink"].contains(name);
            assert!(is_old || call_number(Arch::NATIVE, name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_takes_over_a_machine_is_refused() {
        for name in [
            "bpf",
            "clone",
            "clone3",
            "execve",
            "execveat",
            "init_module",
            "keyctl",
            "kill",
            "mount",
            "move_mount",
            "openat2",
            "open_by_handle_at",
            "pidfd_getfd",
            "pidfd_send_signal",
            "pivot_root",
            "process_vm_writev",
            "ptrace",
            "reboot",
            "setuid",
            "socketpair",
            "tgkill",
            "unlinkat",
            "unshare",
            "userfaultfd",
            "io_uring_setup",
            "perf_event_open",
        ] {
            assert_eq!(judge(name, [0; 6]), REFUSED, "{name}");
        }
        const AT_FDCWD: u64 = 0xffff_ff9c;
        let cases: [(&str, [u64; 6], bool); 14] = [
            ("openat", [AT_FDCWD, 0x1000, 0o2_000_000, 0, 0, 0], true),
            ("openat", [AT_FDCWD, 0x1000, 0o2_000_001, 0, 0, 0], false),
            ("openat", [AT_FDCWD, 0x1000, 0o2_000_002, 0, 0, 0], false),
            ("openat", [AT_FDCWD, 0x1000, 0o2_000_100, 0o600, 0, 0], false),
            ("mmap", [0, 4096, 3, 0x22, 0, 0], true),
            ("mmap", [0, 4096, 7, 0x22, 0, 0], false),
            ("mprotect", [0x1000, 4096, 5, 0, 0, 0], false),
            ("socket", [AF_INET, 1, 0, 0, 0, 0], true),
            ("socket", [AF_INET6, 2, 0, 0, 0, 0], true),
            // Netlink and packet sockets.
            ("socket", [16, 3, 0, 0, 0, 0], false),
            ("socket", [17, 3, 0, 0, 0, 0], false),
            ("setns", [7, CLONE_NEWNET, 0, 0, 0, 0], true),
            ("setns", [7, 0, 0, 0, 0, 0], false),
            ("ioctl", [7, 0x5413, 0, 0, 0, 0], false),
        ];
        for (name, arguments, is_allowed) in cases {
            let expected = if is_allowed { Action::Allow } else { REFUSED };
            assert_eq!(judge(name, arguments), expected, "{name} {arguments:x?}");
        }
    }
}
