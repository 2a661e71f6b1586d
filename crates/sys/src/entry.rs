//! Where the program begins: `berth_entry`, which the build of `berth` names to the linker (`-e`).
//!
//! A position-independent program writes its own addresses into some ninety pages of its file before anything else, and each
//! of them is a page fault. All of them are asked for at once here, by one madvise(2) (`MADV_POPULATE_WRITE`, Linux 5.14), and the C
//! library's `_start` goes on with what the kernel has handed over. An older kernel refuses, and so does one where the
//! dynamic loader has written the addresses already and made them read-only: then nothing is different.
#![expect(
    unsafe_code,
    reason = "before the C library there is nothing but instructions"
)]

// From the first to the last table of addresses: `.init_array`, `.data.rel.ro` and `_DYNAMIC`, which the linker puts one after
// the other (PT_GNU_RELRO). Nothing is changed but the registers that a system call may change; `rdx` is the loader's.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl berth_entry",
    ".type berth_entry, @function",
    ".hidden __init_array_start",
    ".hidden _DYNAMIC",
    "berth_entry:",
    "push rdx",
    "lea rdi, [rip + __init_array_start]",
    "and rdi, -{page}",
    "lea rsi, [rip + _DYNAMIC + {page} - 1]",
    "and rsi, -{page}",
    "sub rsi, rdi",
    "mov edx, {populate_write}",
    "mov eax, {madvise}",
    "syscall",
    "pop rdx",
    "jmp _start",
    page = const 4096,
    populate_write = const libc::MADV_POPULATE_WRITE,
    madvise = const libc::SYS_madvise,
);
