//! The fields of a header block.

use crate::entry::{Entry, EntryKind};
use crate::pax::Pax;
use crate::reader::BLOCK;

/// Returns an entry from its header and extensions; size and sparse map are the caller's.
pub(crate) fn plain_entry(
    block: &[u8; BLOCK],
    pax: &mut Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Entry, &'static str> {
    let from_header = header_path(block);
    let path = match (pax.sparse_name.take().or(pax.path.take()), long_name) {
        (Some(first), Some(second)) if first != second => return Err("two different names"),
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => from_header,
    };
    let link = match (pax.link.take(), long_link) {
        (Some(first), Some(second)) if first != second => return Err("two different link targets"),
        (Some(link), _) | (None, Some(link)) => link,
        (None, None) => until_nul(&block[157..257]).to_vec(),
    };
    if path.is_empty() {
        return Err("a member without a name");
    }
    let kind = match block[156] {
        // Before ustar, a directory was a file whose name ends in a slash.
        b'0' | 0 | b'7' if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err("a member of an unknown type"),
    };
    let is_link = matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
    if is_link && link.is_empty() {
        return Err("a link without a target");
    }
    let id = |from_pax: Option<u64>, field: &[u8]| {
        let id = from_pax
            .or_else(|| unsigned(field))
            .ok_or("an owner that is not a number")?;
        // The last id means "none" to the kernel.
        u32::try_from(id)
            .ok()
            .filter(|&id| id != u32::MAX)
            .ok_or("an owner that is too large")
    };
    let device = |field: &[u8]| {
        let number = unsigned(field).ok_or("a device number that is none")?;
        u32::try_from(number).map_err(|_large| "a device number that is too large")
    };
    let device = match kind {
        EntryKind::CharDevice | EntryKind::BlockDevice => {
            (device(&block[329..337])?, device(&block[337..345])?)
        }
        _ => (0, 0),
    };
    let mode = unsigned(&block[100..108]).ok_or("a mode that is not a number")?;
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => (signed(&block[136..148]).ok_or("a time that is not a number")?, 0),
    };
    Ok(Entry {
        path,
        kind,
        mode: u32::try_from(mode & 0o7777).unwrap_or(0),
        uid: id(pax.uid, &block[108..116])?,
        gid: id(pax.gid, &block[116..124])?,
        mtime,
        size: 0,
        link: if is_link { link } else { Vec::new() },
        device,
        xattrs: std::mem::take(&mut pax.xattrs),
        sparse: None,
    })
}

fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // GNU's own magic ends in a blank, and the place of the prefix holds other things there.
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

pub(crate) fn is_extension(block: &[u8; BLOCK]) -> bool {
    match block[156] {
        b'x' | b'g' => true,
        b'L' | b'K' => &block[257..262] == b"ustar",
        _ => false,
    }
}

/// The checksum is the sum of all bytes with its own field as blanks; old writers summed signed bytes.
pub(crate) fn verify_checksum(block: &[u8; BLOCK]) -> Option<()> {
    let wanted = signed(&block[148..156])?;
    let rest = [&block[..148], &block[156..]];
    let sum_of = |part: &[u8]| part.iter().map(|&byte| i64::from(byte)).sum::<i64>();
    let sum = sum_of(rest[0]) + 8 * i64::from(b' ') + sum_of(rest[1]);
    // As a signed one, each byte of the upper half is 256 less.
    let signed_sum = || {
        rest.concat()
            .iter()
            .filter(|&&byte| byte >= 0x80)
            .fold(sum, |sum, _| sum - 256)
    };
    (wanted == sum || wanted == signed_sum()).then_some(())
}

pub(crate) fn old_pieces(table: &[u8], map: &mut Vec<(u64, u64)>) -> Option<()> {
    for piece in table.chunks_exact(24) {
        if piece.iter().all(|&byte| byte == 0) {
            break;
        }
        map.push((unsigned(&piece[..12])?, unsigned(&piece[12..])?));
    }
    Some(())
}

/// A number in a header: octal digits, or base 256 when the first bit is set. `None` if negative or too large.
pub(crate) fn unsigned(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|number| u64::try_from(number).ok())
}

fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the whole field, with the mark bit taken from the sign.
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, &byte) in field.iter().enumerate() {
            let byte = match (at, negative) {
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let digits = until_nul(field);
    let digits = digits.trim_ascii();
    let mut value = 0i64;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}
