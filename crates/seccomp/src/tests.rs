//! The compiled program against the meaning of the policy, and the default profile against its matrix.

use proptest::prelude::*;

use crate::{
    Action, Arch, Call, Comparison, Condition, Facts, Filter, FilterFlags, Instruction, KernelVersion,
    LoadError, Policy, Profile, ResolveError, Rule, call_number, compile, evaluate,
};

/// Runs a program as the kernel would; `None` if it jumps out or uses an instruction that we do not write.
fn interpret(program: &[Instruction], call: &Call) -> Option<u32> {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&call.number.to_le_bytes());
    data[4..8].copy_from_slice(&call.arch.to_le_bytes());
    for (at, argument) in call.arguments.iter().enumerate() {
        data[16 + 8 * at..24 + 8 * at].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let Instruction {
            code,
            jump_true,
            jump_false,
            k,
        } = *program.get(at)?;
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        match code {
            0x20 => {
                let offset = usize::try_from(k).ok()?;
                accumulator = u32::from_le_bytes(data.get(offset..offset + 4)?.try_into().ok()?);
            }
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).ok()?,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x45 => at += branch(accumulator & k != 0),
            0x06 => return Some(k),
            _ => return None,
        }
    }
}

fn run(filter: &Filter, arch: Arch, name: &str, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let call = Call {
        arch: arch.audit(),
        number: call_number(arch, name).unwrap(),
        arguments: all,
    };
    interpret(filter.instructions(), &call).unwrap()
}

fn default_filter(capabilities: &[&str]) -> (Policy, Filter) {
    let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    let facts = Facts {
        capabilities: &capabilities,
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 18 },
    };
    let policy = Profile::docker_default().resolve(&facts).unwrap();
    let filter = compile(&policy).unwrap();
    (policy, filter)
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

#[test]
fn default_profile_matrix() {
    let (policy, filter) = default_filter(&["CAP_CHOWN", "CAP_NET_RAW"]);
    assert!(
        filter.instructions().len() < 1000,
        "{}",
        filter.instructions().len()
    );
    let x86_64 = |name: &str, arguments: &[u64]| run(&filter, Arch::X86_64, name, arguments);
    for name in [
        "read",
        "execve",
        "ptrace",
        "futex_wait",
        "fchmodat2",
        "mseal",
        "rseq",
        "arch_prctl",
    ] {
        assert_eq!(x86_64(name, &[]), ALLOW, "{name}");
    }
    for name in [
        "mount",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "add_key",
        "io_uring_setup",
        "kexec_load",
        "open_by_handle_at",
        "init_module",
        "reboot",
        "pivot_root",
        "userfaultfd",
        "perf_event_open",
        "swapon",
        "clock_settime",
        "statmount",
        "open_tree_attr",
        "process_madvise",
    ] {
        assert_eq!(x86_64(name, &[]), EPERM, "{name}");
    }
    assert_eq!(x86_64("clone3", &[]), ENOSYS);
    for flag in [
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(x86_64("clone", &[flag | 17]), EPERM, "{flag:x}");
        assert_eq!(x86_64("clone", &[flag | 17 | 1 << 40]), EPERM, "{flag:x}");
    }
    assert_eq!(x86_64("clone", &[0x0100_0011]), ALLOW);
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff, u64::MAX] {
        assert_eq!(x86_64("personality", &[value]), ALLOW, "{value:x}");
    }
    assert_eq!(x86_64("personality", &[0x4_0000]), EPERM);
    for family in 0..64 {
        let expected = if [15, 38, 40].contains(&family) {
            EPERM
        } else {
            ALLOW
        };
        assert_eq!(x86_64("socket", &[family, 1, 0]), expected, "{family}");
        // The kernel reads the family as an int: a high bit must not open what is closed.
        assert_eq!(x86_64("socket", &[family | 1 << 32, 1, 0]), expected, "{family}");
        assert_eq!(
            run(&filter, Arch::X86, "socket", &[family, 1, 0]),
            expected,
            "{family}"
        );
    }
    assert_eq!(run(&filter, Arch::X86, "socketcall", &[1]), ENOSYS);
    assert_eq!(run(&filter, Arch::X86, "mount", &[]), EPERM);
    assert_eq!(run(&filter, Arch::X86, "stat64", &[]), ALLOW);
    let call = |arch: u32, number: u32| {
        let call = Call {
            arch,
            number,
            arguments: [0; 6],
        };
        interpret(filter.instructions(), &call).unwrap()
    };
    assert_eq!(call(Arch::X86_64.audit(), 100_000), ENOSYS, "unknown number");
    assert_eq!(call(Arch::X86_64.audit(), 340), ENOSYS, "hole in the table");
    assert_eq!(call(Arch::X86_64.audit(), 0x4000_0000), ENOSYS, "x32 read");
    assert_eq!(call(Arch::X86_64.audit(), u32::MAX), ENOSYS);
    assert_eq!(call(Arch::Aarch64.audit(), 0), Action::KillProcess.value());
    let known = (0..=450).filter(|number| {
        let call = Call {
            arch: Arch::X86_64.audit(),
            number: *number,
            arguments: [0; 6],
        };
        evaluate(&policy, &call) == Action::Allow
    });
    assert!(known.count() <= 300);
}

#[test]
fn default_profile_follows_the_capabilities() {
    for (capability, name) in [
        ("CAP_SYS_ADMIN", "mount"),
        ("SYS_ADMIN", "clone3"),
        ("sys_ptrace", "process_madvise"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_BPF", "bpf"),
    ] {
        let (_, filter) = default_filter(&[capability]);
        assert_eq!(
            run(&filter, Arch::X86_64, name, &[]),
            ALLOW,
            "{capability} {name}"
        );
    }
    let (_, filter) = default_filter(&["CAP_SYS_ADMIN"]);
    assert_eq!(run(&filter, Arch::X86_64, "clone", &[0x1000_0000]), ALLOW);
    assert_eq!(run(&filter, Arch::X86_64, "socket", &[38]), EPERM);
}

#[test]
fn every_number_of_the_default_profile_compiles_to_its_meaning() {
    for capabilities in [&[][..], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYSLOG"]] {
        let (policy, filter) = default_filter(capabilities);
        for arch in [Arch::X86_64, Arch::X86] {
            for number in (0..700).chain([0x4000_0001, u32::MAX]) {
                for first in [0, 8, 15, 38, 40, 0x1000_0000, 0xffff_ffff, 1 << 32 | 38, u64::MAX] {
                    let call = Call {
                        arch: arch.audit(),
                        number,
                        arguments: [first, 0, 0, 0, 0, 0],
                    };
                    let expected = evaluate(&policy, &call).value();
                    assert_eq!(
                        interpret(filter.instructions(), &call),
                        Some(expected),
                        "{call:x?}"
                    );
                }
            }
        }
    }
}

#[test]
fn bytes_go_both_ways() {
    let (_, filter) = default_filter(&[]);
    let bytes = filter.to_bytes();
    assert_eq!(bytes.len(), filter.instructions().len() * 8);
    let read = Filter::from_bytes(&bytes).unwrap();
    assert_eq!(read.instructions(), filter.instructions());
    assert_eq!(read.digest(), filter.digest());
    assert!(Filter::from_bytes(&[]).is_err());
    assert!(Filter::from_bytes(&bytes[1..]).is_err());
    assert!(Filter::from_bytes(&vec![0; 8 * 4097]).is_err());
}

fn resolve(document: &str) -> Result<Policy, ResolveError> {
    let facts = Facts {
        capabilities: &["CAP_SYS_ADMIN".to_owned()],
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 5, minor: 10 },
    };
    Profile::parse(document.as_bytes()).unwrap().resolve(&facts)
}

#[test]
fn documents_are_read_leniently_but_never_weakly() {
    let policy = resolve(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "unknown": 1, "syscalls": [
            {"name": "chmod", "action": "SCMP_ACT_ERRNO", "args": null, "includes": null},
            {"names": ["chown", "no_such_call"], "action": "SCMP_ACT_KILL_PROCESS", "comment": "x",
             "includes": {"caps": ["CAP_SYS_ADMIN"], "minKernel": "4.8"}, "excludes": {"arches": ["arm64"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["umount2"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "5.11"}}]}"#,
    )
    .unwrap();
    let filter = compile(&policy).unwrap();
    assert_eq!(run(&filter, Arch::X86_64, "chmod", &[]), EPERM);
    assert_eq!(run(&filter, Arch::X86_64, "chown", &[]), 0x8000_0000);
    assert_eq!(run(&filter, Arch::X86_64, "mount", &[]), ALLOW);
    assert_eq!(run(&filter, Arch::X86_64, "umount2", &[]), ALLOW);
    for document in [
        r#"{"defaultAction": "SCMP_ACT_NOTHING"}"#,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}"#,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [
            {"architecture": "SCMP_ARCH_X86_64"}]}"#,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "x"}}]}"#,
    ] {
        assert!(resolve(document).is_err(), "{document}");
    }
    for document in ["", "{}", "[]", r#"{"defaultAction": 1}"#] {
        assert!(Profile::parse(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn cve_2023_2431_an_empty_path_is_an_error() {
    let load = |path: &str| Profile::load(std::path::Path::new(path));
    assert!(matches!(load(""), Err(LoadError::EmptyPath)));
    assert!(matches!(
        load("/no/such/profile"),
        Err(LoadError::NotFound { .. })
    ));
}

#[test]
fn cve_2026_123876_a_refusal_beside_an_unconditional_grant_counts() {
    let policy = resolve(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [
                {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let filter = compile(&policy).unwrap();
    assert_eq!(run(&filter, Arch::X86_64, "socket", &[16, 3, 9]), 0x0005_0016);
    assert_eq!(run(&filter, Arch::X86_64, "socket", &[16, 3, 0]), ALLOW);
}

#[test]
fn an_argument_named_twice_makes_two_rules() {
    let policy = resolve(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let filter = compile(&policy).unwrap();
    for (family, expected) in [(38, EPERM), (39, ALLOW), (40, EPERM)] {
        assert_eq!(run(&filter, Arch::X86_64, "socket", &[family]), expected);
    }
}

#[test]
fn notify_asks_for_a_listener_and_may_not_stop_its_hand_over() {
    let document = |name: &str| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x", "syscalls": [
                {{"names": ["{name}"], "action": "SCMP_ACT_NOTIFY"}}]}}"#
        )
    };
    let filter = compile(&resolve(&document("mkdir")).unwrap()).unwrap();
    assert!(filter.flags().has(FilterFlags::NEW_LISTENER));
    assert!(compile(&resolve(&document("write")).unwrap()).is_err());
}

#[test]
fn a_filter_that_is_too_long_is_refused() {
    let rules = (0..5000)
        .map(|value| Rule {
            names: vec!["read".to_owned()],
            action: Action::Errno(u16::try_from(value % 4000).unwrap()),
            conditions: vec![Condition {
                index: 2,
                comparison: Comparison::Equal(value),
            }],
        })
        .collect();
    let policy = Policy {
        default_action: Action::Allow,
        architectures: vec![Arch::X86_64],
        rules,
        flags: FilterFlags::default(),
        listener: None,
        listener_metadata: None,
    };
    assert!(compile(&policy).is_err());
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Log),
        (0..4096u16).prop_map(Action::Errno),
        (0..4096u16).prop_map(Action::Trace),
        Just(Action::Trap),
        Just(Action::KillThread),
        Just(Action::KillProcess),
    ]
}

/// Few values, so that comparisons are met from both sides.
fn value() -> impl Strategy<Value = u64> {
    let half = prop_oneof![
        Just(0u64),
        Just(1),
        Just(2),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(0xffff_ffff)
    ];
    (half.clone(), half).prop_map(|(high, low)| high << 32 | low)
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        value().prop_map(Comparison::Equal),
        value().prop_map(Comparison::NotEqual),
        value().prop_map(Comparison::Less),
        value().prop_map(Comparison::LessOrEqual),
        value().prop_map(Comparison::Greater),
        value().prop_map(Comparison::GreaterOrEqual),
        (value(), value()).prop_map(|(mask, value)| Comparison::MaskedEqual {
            mask,
            value: value & mask
        }),
    ]
}

const NAMES: [&str; 8] = [
    "read",
    "socket",
    "ioctl",
    "clone",
    "mmap",
    "mseal",
    "stat64",
    "personality",
];

fn rule() -> impl Strategy<Value = Rule> {
    let condition = (0..3u8, comparison()).prop_map(|(index, comparison)| Condition { index, comparison });
    (
        prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4),
        action(),
        prop::collection::vec(condition, 0..4),
    )
        .prop_map(|(names, action, conditions)| Rule {
            names: names.into_iter().map(str::to_owned).collect(),
            action,
            conditions,
        })
}

proptest! {
    #[test]
    fn programs_mean_what_their_policies_mean(
        default_action in action(),
        architectures in prop::sample::subsequence(Arch::ALL.to_vec(), 1..=3),
        rules in prop::collection::vec(rule(), 0..60),
        calls in prop::collection::vec(
            (prop::sample::select(&NAMES[..]), any::<bool>(), 0..600u32, [value(), value(), value()]), 100),
    ) {
        let policy = Policy {
            default_action,
            architectures,
            rules,
            flags: FilterFlags::default(),
            listener: None,
            listener_metadata: None,
        };
        let filter = compile(&policy).unwrap();
        for (name, by_name, number, [first, second, third]) in calls {
            for arch in Arch::ALL {
                let call = Call {
                    arch: arch.audit(),
                    number: call_number(arch, name).filter(|_| by_name).unwrap_or(number),
                    arguments: [first, second, third, 0, 0, 0],
                };
                let expected = evaluate(&policy, &call).value();
                prop_assert_eq!(interpret(filter.instructions(), &call), Some(expected), "{:x?}", call);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_profile_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Profile::parse(&bytes));
        drop(Filter::from_bytes(&bytes));
    }
}
