//! What an ELF file says about the files it needs: its interpreter, its libraries and where to look for them.
//!
//! Format: System V ABI, "Object Files" and "Dynamic Linking"; little-endian files of both classes, which is what every
//! processor that Berth runs on has. Every offset in the file is checked: the file may be anything.

/// What a program or library needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// 1 for 32-bit, 2 for 64-bit files; libraries must be of the same class
    pub(crate) class: u8,
    /// and for the same processor.
    pub(crate) machine: u16,
    /// The dynamic loader.
    pub(crate) interpreter: Option<Vec<u8>>,
    /// Names of libraries.
    pub(crate) libraries: Vec<Vec<u8>>,
    /// `DT_RPATH`: directories that also hold for the libraries' libraries.
    pub(crate) rpath: Vec<Vec<u8>>,
    /// `DT_RUNPATH`: directories for this file's own libraries; makes `rpath` void.
    pub(crate) runpath: Option<Vec<Vec<u8>>>,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// Most entries of a dynamic section that are read.
const MAX_DYNAMIC: usize = 1 << 16;

/// Reads what the ELF file `bytes` needs; `None` if it is no ELF file or a broken one.
pub(crate) fn needs(bytes: &[u8]) -> Option<Needs> {
    if !bytes.starts_with(b"\x7fELF") || bytes.get(5) != Some(&1) {
        return None;
    }
    let class = *bytes.get(4)?;
    let file = match class {
        1 => File { bytes, word: 4 },
        2 => File { bytes, word: 8 },
        _ => return None,
    };
    let mut needs = Needs {
        class,
        machine: u16::try_from(file.number(18, 2)?).ok()?,
        ..Needs::default()
    };
    let segments = file.segments()?;
    for segment in segments.iter().filter(|segment| segment.kind == PT_INTERP) {
        needs.interpreter = Some(until_nul(file.slice(segment.offset, segment.size)?).to_vec());
    }
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Some(needs);
    };
    let table = file.slice(dynamic.offset, dynamic.size)?;
    let entries: Vec<(u64, u64)> = table
        .chunks_exact(file.word * 2)
        .take(MAX_DYNAMIC)
        .map(|entry| (little(&entry[..file.word]), little(&entry[file.word..])))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?.1;
    let text = |at: u64| {
        let address = strings.checked_add(at)?;
        let home = segments.iter().filter(|segment| segment.kind == PT_LOAD);
        let within =
            |segment: &&Segment| address >= segment.address && address - segment.address < segment.size;
        let segment = home.clone().find(within)?;
        let start = address - segment.address;
        let bytes = file.slice(segment.offset.checked_add(start)?, segment.size - start)?;
        Some(until_nul(bytes).to_vec())
    };
    for &(tag, value) in &entries {
        match tag {
            DT_NEEDED => needs.libraries.push(text(value)?),
            DT_RPATH => needs.rpath = paths(&text(value)?),
            DT_RUNPATH => needs.runpath = Some(paths(&text(value)?)),
            _ => {}
        }
    }
    Some(needs)
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

struct File<'a> {
    bytes: &'a [u8],
    /// Bytes of an address.
    word: usize,
}

impl<'a> File<'a> {
    fn number(&self, offset: usize, size: usize) -> Option<u64> {
        Some(little(self.bytes.get(offset..offset.checked_add(size)?)?))
    }

    fn slice(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes
            .get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        let wide = self.word == 8;
        let table = if wide {
            self.number(32, 8)?
        } else {
            self.number(28, 4)?
        };
        let sizes = if wide { 54 } else { 42 };
        let size = usize::try_from(self.number(sizes, 2)?).ok()?;
        let count = usize::try_from(self.number(sizes + 2, 2)?).ok()?;
        if size < if wide { 56 } else { 32 } {
            return None;
        }
        let mut segments = Vec::with_capacity(count);
        for at in 0..count {
            let start = usize::try_from(table).ok()?.checked_add(at.checked_mul(size)?)?;
            let field = |narrow: usize, broad: usize| {
                self.number(start.checked_add(if wide { broad } else { narrow })?, self.word)
            };
            segments.push(Segment {
                kind: u32::try_from(self.number(start, 4)?).ok()?,
                offset: field(4, 8)?,
                address: field(8, 16)?,
                size: field(16, 32)?,
            });
        }
        Some(segments)
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

fn paths(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|&byte| byte == b':')
        .filter(|path| !path.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine_are_read() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let needs = needs(&own).unwrap();
        assert!(needs.libraries.iter().any(|name| name.starts_with(b"libc.so")));
        assert!(needs.interpreter.is_some_and(|path| path.starts_with(b"/")));
        let busybox = super::needs(&std::fs::read("/bin/busybox").unwrap()).unwrap();
        assert_eq!((busybox.interpreter, busybox.libraries.len()), (None, 0));
    }

    #[test]
    fn broken_files_are_survived() {
        let bytes = std::fs::read("/bin/true").unwrap();
        for at in 0..1024.min(bytes.len()) {
            drop(needs(&bytes[..at]));
            for value in [0, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                drop(needs(&changed));
            }
        }
        assert_eq!(needs(b"#!/bin/sh"), None);
    }
}
