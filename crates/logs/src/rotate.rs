//! Rotation: `<path>` becomes `<path>.1`, that becomes `<path>.2`, and so on; the oldest is removed.
//!
//! Compression is done in small steps, so that the one thread of a shim never stops reading for long, and replaces
//! `<path>.1` by `<path>.1.gz` at once when it is finished.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};

use crate::files::{being_compressed, compressed, rotated};

/// Moves every file of the log by one. `keep` is the number of files kept, the current one included.
pub(crate) fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let mut count = 0;
    while exists(&rotated(path, count + 1))? || exists(&compressed(path, count + 1))? {
        count += 1;
    }
    for index in (1..=count).rev() {
        for name in [rotated, compressed] {
            let from = name(path, index);
            if index + 1 >= keep {
                remove(&from)?;
            } else {
                ignore_missing(std::fs::rename(&from, name(path, index + 1)))?;
            }
        }
    }
    if keep > 1 {
        ignore_missing(std::fs::rename(path, rotated(path, 1)))
    } else {
        remove(path)
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    ignore_missing(std::fs::remove_file(path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The compression of `<path>.1`, under way.
#[derive(Debug)]
pub(crate) struct Compression {
    path: PathBuf,
    source: File,
    encoder: GzEncoder<File>,
}

/// How far one [`Compression::step`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do.
    More,
    /// `<path>.1.gz` is there.
    Finished,
}

impl Compression {
    const STEP: u64 = 128 * 1024;

    /// Begins to compress `<path>.1`; `None` if there is no such file (or it was compressed before).
    pub(crate) fn begin(path: &Path) -> io::Result<Option<Self>> {
        let from = rotated(path, 1);
        let temporary = being_compressed(path);
        remove(&temporary)?;
        if exists(&compressed(path, 1))? {
            remove(&from)?;
        }
        let source = match File::open(&from) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mode = 0o640;
        let target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        let encoder = GzBuilder::new()
            .comment(source.metadata()?.ino().to_string())
            .write(target, Level::fast());
        Ok(Some(Self {
            path: path.to_owned(),
            source,
            encoder,
        }))
    }

    /// Does a piece of the work.
    pub(crate) fn step(&mut self) -> io::Result<Progress> {
        let copied = io::copy(&mut (&self.source).take(Self::STEP), &mut self.encoder)?;
        if copied == Self::STEP {
            return Ok(Progress::More);
        }
        self.encoder.try_finish()?;
        let target = self.encoder.get_ref();
        // Readers skip files by their last change.
        target.set_modified(self.source.metadata()?.modified()?)?;
        std::fs::rename(being_compressed(&self.path), compressed(&self.path, 1))?;
        remove(&rotated(&self.path, 1))?;
        Ok(Progress::Finished)
    }

    /// Does all of the work.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        while self.step()? == Progress::More {}
        Ok(())
    }
}
