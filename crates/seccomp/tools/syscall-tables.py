#!/usr/bin/env python3
"""Writes src/table/{x86_64,i386,aarch64}.rs from the kernel headers of the machine it runs on.

The headers of a distribution are older than the kernels Berth runs on, so the calls from 451 on, which have the same
number on every architecture, are listed here (source: arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.18).
"""
import pathlib
import re
import subprocess

NEWER = {
    451: "cachestat", 452: "fchmodat2", 453: "map_shadow_stack", 454: "futex_wake", 455: "futex_wait",
    456: "futex_requeue", 457: "statmount", 458: "listmount", 459: "lsm_get_self_attr", 460: "lsm_set_self_attr",
    461: "lsm_list_modules", 462: "mseal", 463: "setxattrat", 464: "getxattrat", 465: "listxattrat",
    466: "removexattrat", 467: "open_tree_attr", 468: "file_getattr", 469: "file_setattr",
}
ASM = "/usr/include/x86_64-linux-gnu/asm/"
TARGETS = {
    "x86_64": (f"#include <{ASM}unistd_64.h>\n", {335: "uretprobe", 336: "uprobe"}),
    "i386": (f"#include <{ASM}unistd_32.h>\n", {}),
    "aarch64": (
        "#define __BITS_PER_LONG 64\n#define __ARCH_WANT_RENAMEAT\n#define __ARCH_WANT_NEW_STAT\n"
        "#define __ARCH_WANT_SET_GET_RLIMIT\n#define __ARCH_WANT_TIME32_SYSCALLS\n#define __ARCH_WANT_SYS_CLONE3\n"
        "#define __ARCH_WANT_MEMFD_SECRET\n#include </usr/include/asm-generic/unistd.h>\n", {}),
}

for name, (source, extra) in TARGETS.items():
    macros = subprocess.run(["cpp", "-dM"], input=source, capture_output=True, text=True, check=True).stdout
    values = dict(re.findall(r"^#define (__NR\w*) (\S+)$", macros, re.M))
    calls = {}
    for macro, value in values.items():
        while not value.isdigit() and value in values:
            value = values[value]
        call = macro.removeprefix("__NR_")
        if macro.startswith("__NR_") and value.isdigit() and call not in ("syscalls", "arch_specific_syscall"):
            calls[call] = int(value)
    for number, call in {**NEWER, **extra}.items():
        if number not in calls.values():
            calls[call] = number
    lines = "".join(f'    ("{call}", {number}),\n' for call, number in sorted(calls.items()))
    path = pathlib.Path(__file__).parent.parent / "src/table" / f"{name}.rs"
    path.write_text(
        f"//! System calls of {name} by name: written by tools/syscall-tables.py, do not edit.\n\n"
        f"pub(super) const CALLS: [(&str, u16); {len(calls)}] = [\n{lines}];\n")
    print(name, len(calls), max(calls.values()))
