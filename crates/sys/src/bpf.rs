//! Loading and attaching eBPF device programs of cgroup v2.
#![expect(unsafe_code, reason = "bpf takes a union with pointers")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{SyscallError, call, check};

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u8,
    /// The destination register in the low four bits, the source register in the high ones (little-endian).
    pub registers: u8,
    /// The offset.
    pub offset: i16,
    /// The immediate value.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a device program (licence "Apache", so no GPL-only helper); the verifier's log is in the error.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, SyscallError> {
    let licence = c"Apache";
    let mut log = vec![0u8; 64 * 1024];
    let count = u32::try_from(program.len()).unwrap_or(u32::MAX);
    let mut attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: address(program.as_ptr()),
        license: address(licence.as_ptr()),
        log_level: 1,
        log_size: u32::try_from(log.len()).unwrap_or(0),
        log_buf: address(log.as_mut_ptr()),
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the kernel reads `size` bytes of the structure, `insn_cnt` instructions, the licence up to its null, and
    // writes at most `log_size` bytes of log; all of them live past the call.
    let value = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw mut attributes,
            size_of::<ProgLoad>(),
        )
    };
    let value = check(value).map_err(|errno| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&log[..end.min(1000)]);
        SyscallError::new(
            format!(
                "bpf(BPF_PROG_LOAD, CGROUP_DEVICE, {count} instructions) [{}]",
                text.trim()
            ),
            errno,
        )
    })?;
    owned(value)
}

/// Attaches a device program to the cgroup v2 directory `cgroup`, beside those that are attached already.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), SyscallError> {
    let attributes = ProgAttach {
        target_fd: cgroup.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    prog_attach(BPF_PROG_ATTACH, "BPF_PROG_ATTACH", &attributes)
}

/// Detaches a device program from the cgroup v2 directory `cgroup`.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), SyscallError> {
    let attributes = ProgAttach {
        target_fd: cgroup.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    prog_attach(BPF_PROG_DETACH, "BPF_PROG_DETACH", &attributes)
}

fn prog_attach(command: libc::c_int, name: &str, attributes: &ProgAttach) -> Result<(), SyscallError> {
    // SAFETY: the kernel reads `size` bytes of the structure, which holds no pointers.
    let value = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<ProgAttach>(),
        )
    };
    call!(
        check(value),
        "bpf({name}, {{target={}, CGROUP_DEVICE}})",
        attributes.target_fd
    )
    .map(drop)
}

/// Returns the device programs that are attached to the cgroup v2 directory `cgroup` itself (at most 64).
pub fn query_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, SyscallError> {
    let mut ids = [0u32; 64];
    let mut attributes = ProgQuery {
        target_fd: cgroup.as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: address(ids.as_mut_ptr()),
        prog_cnt: 64,
        padding: 0,
    };
    // SAFETY: the kernel reads and writes the structure, whose size is given, and writes at most `prog_cnt` ids.
    let value = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut attributes,
            size_of::<ProgQuery>(),
        )
    };
    call!(
        check(value),
        "bpf(BPF_PROG_QUERY, {{target={}}})",
        cgroup.as_raw_fd()
    )?;
    let count = usize::try_from(attributes.prog_cnt).unwrap_or(0).min(ids.len());
    let mut programs = Vec::with_capacity(count);
    for &id in &ids[..count] {
        let by_id = ProgById {
            prog_id: id,
            next_id: 0,
            open_flags: 0,
        };
        // SAFETY: the kernel reads `size` bytes of the structure, which holds no pointers.
        let value = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_FD_BY_ID,
                &raw const by_id,
                size_of::<ProgById>(),
            )
        };
        match check(value) {
            // Detached by somebody else in between.
            Err(Errno::NOENT) => {}
            result => programs.push(owned(call!(result, "bpf(BPF_PROG_GET_FD_BY_ID, {id})")?)?),
        }
    }
    Ok(programs)
}

fn owned(value: libc::c_long) -> Result<OwnedFd, SyscallError> {
    let raw = i32::try_from(value)
        .ok()
        .filter(|raw| *raw >= 0)
        .ok_or_else(|| SyscallError::new("bpf()", Errno::BADF))?;
    // SAFETY: the value is a new descriptor (bpf sets close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// The members of `union bpf_attr` for `BPF_PROG_LOAD`, up to Linux 4.4.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The members of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct ProgAttach {
    target_fd: i32,
    attach_bpf_fd: i32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: i32,
}

/// The members of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct ProgQuery {
    target_fd: i32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The members of `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ProgById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}
