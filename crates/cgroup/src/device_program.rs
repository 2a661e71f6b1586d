//! The device list as a program for cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The context is `struct bpf_cgroup_dev_ctx` of `linux/bpf.h`: `access_type` (access in the high half, kind in the low
//! one), `major`, `minor`. Return value 1 grants, 0 refuses.

use sys::bpf::Instruction;

use crate::devices::{DeviceList, Exception};
use crate::limits::DeviceAccess;

const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const IF_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const UNLESS_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const UNLESS_SAME: u8 = 0x5d; // BPF_JMP | BPF_JNE | BPF_X
const EXIT: u8 = 0x95;

const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const RESULT: u8 = 0;
const SCRATCH: u8 = 6;

/// Returns the program of `list`.
pub(crate) fn device_program(list: &DeviceList) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &list.exceptions {
        push_exception(&mut program, exception, list.open);
    }
    program.push(instruction(SET, RESULT, 0, 0, i32::from(list.open)));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

fn push_exception(program: &mut Vec<Instruction>, exception: &Exception, open: bool) {
    let mut block = vec![instruction(
        UNLESS_EQUAL,
        KIND,
        0,
        0,
        if exception.is_block { 1 } else { 2 },
    )];
    if exception.access != DeviceAccess::ALL {
        let mask = i32::from(exception.access.mknod)
            | i32::from(exception.access.read) << 1
            | i32::from(exception.access.write) << 2;
        block.push(instruction(COPY, SCRATCH, ACCESS, 0, 0));
        block.push(instruction(AND, SCRATCH, 0, 0, mask));
        // A grant has to cover all that is asked; a refusal hits if any of it is asked.
        block.push(if open {
            instruction(IF_EQUAL, SCRATCH, 0, 0, 0)
        } else {
            instruction(UNLESS_SAME, SCRATCH, ACCESS, 0, 0)
        });
    }
    for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
        if let Some(number) = number {
            // Device numbers have at most 20 bits in Linux; one that does not fit names no device.
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            block.push(instruction(UNLESS_EQUAL, register, 0, 0, number));
        }
    }
    block.push(instruction(SET, RESULT, 0, 0, i32::from(!open)));
    block.push(instruction(EXIT, 0, 0, 0, 0));
    let length = block.len();
    for (at, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, IF_EQUAL | UNLESS_EQUAL | UNLESS_SAME) {
            instruction.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    program.extend(block);
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::rule;

    /// Runs the instructions that are used here.
    fn run(program: &[Instruction], access: u32, kind: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let step = program[at];
            at += 1;
            let destination = usize::from(step.registers & 15);
            let source = registers[usize::from(step.registers >> 4)];
            let immediate = i64::from(step.immediate).cast_unsigned();
            let offset = usize::try_from(step.offset).unwrap();
            match step.code {
                LOAD => registers[destination] = u64::from(context[offset / 4]),
                AND => registers[destination] &= immediate & 0xffff_ffff,
                SHIFT_RIGHT => registers[destination] >>= immediate,
                COPY => registers[destination] = source,
                SET => registers[destination] = immediate,
                IF_EQUAL if registers[destination] == immediate => at += offset,
                UNLESS_EQUAL if registers[destination] != immediate => at += offset,
                UNLESS_SAME if registers[destination] != source => at += offset,
                IF_EQUAL | UNLESS_EQUAL | UNLESS_SAME => {}
                EXIT => return registers[0],
                code => panic!("unknown instruction {code:x}"),
            }
        }
    }

    const MKNOD: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;
    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;

    #[test]
    fn a_closed_list_opens_its_exceptions_only() {
        let rules = ["+ c *:* m", "+ c 1:3 rwm", "+ c 136:* rw", "+ b 8:1 r"].map(rule);
        let program = device_program(&DeviceList::fold(&rules).unwrap());
        for (expected, access, kind, major, minor) in [
            (1, MKNOD, CHARACTER, 9, 9),
            (0, MKNOD, BLOCK, 9, 9),
            (1, READ | WRITE, CHARACTER, 1, 3),
            (0, READ | WRITE, CHARACTER, 1, 4),
            (1, READ, CHARACTER, 136, 77),
            (0, READ | MKNOD, CHARACTER, 136, 77),
            (1, READ, BLOCK, 8, 1),
            (0, WRITE, BLOCK, 8, 1),
            (0, READ | WRITE, BLOCK, 8, 1),
            (0, READ, CHARACTER, 8, 1),
        ] {
            let case = (access, kind, major, minor);
            assert_eq!(run(&program, access, kind, major, minor), expected, "{case:?}");
        }
    }

    #[test]
    fn an_open_list_closes_its_exceptions_only() {
        let rules = ["+ a *:* rwm", "- b 8:* w"].map(rule);
        let program = device_program(&DeviceList::fold(&rules).unwrap());
        assert_eq!(run(&program, READ | WRITE, BLOCK, 8, 0), 0);
        assert_eq!(run(&program, READ, BLOCK, 8, 0), 1);
        assert_eq!(run(&program, WRITE, BLOCK, 7, 0), 1);
    }

    /// The verifier judges the instructions; attaching needs no v2 device controller.
    #[test]
    fn the_kernel_accepts_the_programs() {
        for rules in [
            &["+ c 1:3 rwm", "+ c 5:2 rw", "+ b *:* m"][..],
            &["+ a *:* rwm", "- b 8:* w"],
            &[],
        ] {
            let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
            let program = device_program(&DeviceList::fold(&rules).unwrap());
            sys::bpf::load_device_program(&program).unwrap();
        }
    }
}
