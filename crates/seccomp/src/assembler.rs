//! Classic BPF, written from its end to its start.
//!
//! Classic BPF jumps forward only, and conditional jumps at most 255 instructions far. Written backwards, every target
//! is known when a jump to it is written, so that a far one gets its `ja` (32-bit distance) beside it at once.

use std::collections::HashMap;

use crate::filter::Instruction;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A comparison of the accumulator with a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Test {
    fn code(self) -> u16 {
        match self {
            Self::Equal => 0x15,
            Self::Greater => 0x25,
            Self::GreaterOrEqual => 0x35,
            Self::AnyBit => 0x45,
        }
    }
}

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    returns: HashMap<u32, Label>,
}

impl Assembler {
    /// Writes `return value`, or finds one that is near.
    pub(crate) fn ret(&mut self, value: u32) -> Label {
        if let Some(label) = self.returns.get(&value)
            && self.reversed.len() - label.0 < 200
        {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, value);
        self.returns.insert(value, label);
        label
    }

    /// Writes a load of the 32 bits at `offset` before what was written last.
    pub(crate) fn load(&mut self, offset: u32) -> Label {
        self.push(LOAD, 0, 0, offset)
    }

    /// Writes a mask of the accumulator before what was written last.
    pub(crate) fn and(&mut self, mask: u32) -> Label {
        self.push(AND, 0, 0, mask)
    }

    /// Writes a conditional jump.
    pub(crate) fn jump(&mut self, test: Test, value: u32, holds: Label, fails: Label) -> Label {
        // One instruction is kept free for the other target's `ja`.
        let fails = self.bring_near(fails, 254);
        let holds = self.bring_near(holds, 255);
        let (jump_true, jump_false) = (self.distance(holds), self.distance(fails));
        let near = |distance: usize| u8::try_from(distance).expect("far targets were brought near");
        self.push(test.code(), near(jump_true), near(jump_false), value)
    }

    /// Makes sure that what is written next is followed by `target`.
    pub(crate) fn go_on_at(&mut self, target: Label) {
        if self.distance(target) > 0 {
            self.bring_near(target, 0);
        }
    }

    /// Returns the number of instructions so far.
    pub(crate) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// Returns the program from its start.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    fn bring_near(&mut self, target: Label, limit: usize) -> Label {
        let distance = self.distance(target);
        if distance <= limit {
            return target;
        }
        let distance = u32::try_from(distance).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// Returns how many instructions the next one would skip to reach `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, k: u32) -> Label {
        self.reversed.push(Instruction {
            code,
            jump_true,
            jump_false,
            k,
        });
        Label(self.reversed.len() - 1)
    }
}
