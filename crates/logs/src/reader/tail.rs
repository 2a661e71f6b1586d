//! The last entries of a log, found from the end: files before the one needed are not opened, and an uncompressed
//! file is read backwards in blocks.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::source::Source;
use crate::local;
use crate::options::Driver;

/// Leaves in `sources` (oldest first) only the last `count` entries.
pub(super) fn skip_to_last(sources: &mut VecDeque<Source>, count: u64) -> io::Result<()> {
    let mut needed = count;
    let mut index = sources.len();
    while index > 0 && needed > 0 {
        index -= 1;
        needed = match skip_within(&mut sources[index], needed)? {
            Some(found) => needed - found,
            None => 0,
        };
    }
    if count == 0 {
        // Nothing of what is there, but what will come.
        index = sources.len().saturating_sub(1);
        if let Some(last) = sources.back_mut() {
            to_end(last)?;
        }
    }
    sources.drain(..index);
    Ok(())
}

fn to_end(source: &mut Source) -> io::Result<()> {
    if source.plain().is_some() {
        return position(source, None);
    }
    let entries = source.count()?;
    source.restart(entries)
}

/// Positions `source` at its last `needed` entries and returns `None`; or at its beginning if it has fewer, and
/// returns how many.
fn skip_within(source: &mut Source, needed: u64) -> io::Result<Option<u64>> {
    let found = match source.plain() {
        Some(file) => {
            let length = file.metadata()?.len();
            match source.driver() {
                Driver::JsonFile | Driver::None => lines_from_end(file, length, needed)?,
                Driver::Local => records_from_end(file, length, needed)?,
            }
        }
        None => None,
    };
    match found {
        Some(Position::At(offset)) => {
            position(source, Some(offset))?;
            Ok(None)
        }
        Some(Position::Fewer(count)) => Ok(Some(count)),
        None => {
            let entries = source.count()?;
            source.restart(entries.saturating_sub(needed))?;
            Ok((entries < needed).then_some(entries))
        }
    }
}

/// Moves an uncompressed source to `offset`, or to the end of its last whole entry.
fn position(source: &mut Source, offset: Option<u64>) -> io::Result<()> {
    let Some(mut file) = source.plain() else {
        return Ok(());
    };
    let length = file.metadata()?.len();
    let offset = match (offset, source.driver()) {
        (Some(offset), _) => offset,
        (None, Driver::JsonFile | Driver::None) => match lines_from_end(file, length, 0)? {
            Some(Position::At(end)) => end,
            _ => 0,
        },
        (None, Driver::Local) => length,
    };
    file.seek(SeekFrom::Start(offset))?;
    if offset >= 8 {
        source.begin_within();
    }
    Ok(())
}

enum Position {
    /// The entries begin at this offset.
    At(u64),
    /// The file has only so many.
    Fewer(u64),
}

/// Finds the last `needed` lines; a torn last line is not counted.
fn lines_from_end(file: &File, length: u64, needed: u64) -> io::Result<Option<Position>> {
    const BLOCK: u64 = 64 * 1024;
    let mut buffer = Vec::new();
    let mut end = length;
    let mut feeds = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.read_exact_at(&mut buffer, start)?;
        for at in memchr::memrchr_iter(b'\n', &buffer) {
            if feeds == needed {
                return Ok(Some(Position::At(start + u64::try_from(at).unwrap_or(0) + 1)));
            }
            feeds += 1;
        }
        end = start;
    }
    if feeds == needed {
        return Ok(Some(Position::At(0)));
    }
    Ok(Some(Position::Fewer(feeds)))
}

/// Finds the last `needed` records; `None` if the end is torn, so that the file must be read from its beginning.
fn records_from_end(file: &File, length: u64, needed: u64) -> io::Result<Option<Position>> {
    let first = 8;
    let mut end = length;
    for found in 0..needed {
        if end <= first {
            return Ok(Some(Position::Fewer(found)));
        }
        let mut tail = [0u8; 4];
        file.read_exact_at(&mut tail, end - 4)?;
        let Some(size) = local::size_of_last(&tail).filter(|size| *size <= end - first) else {
            return Ok(None);
        };
        let mut head = [0u8; 4];
        file.read_exact_at(&mut head, end - size)?;
        if head != tail {
            return Ok(None);
        }
        end -= size;
    }
    Ok(Some(Position::At(end)))
}
