//! Reading a log: across rotated files, from the tail, and following.
//!
//! Two ways: [`Reader::step`] never blocks and is polled with [`Reader::watch`] (for an async caller, through tokio's
//! `AsyncFd` or from a blocking thread), and [`Reader::run`] blocks its thread and gives each record to a callback.

mod source;
mod tail;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::control::Control;
use crate::files::{Identity, LogFile};
use crate::options::Driver;
use crate::record::{Record, Stream};
use source::{Found, Source};

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only the last so many entries of the log (before the other filters, as docker does); `None`: all.
    pub tail: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing newer; following ends there.
    pub until: Option<Timestamp>,
    /// Whether to wait for more at the end.
    pub follow: bool,
    /// Whether stdout is wanted.
    pub stdout: bool,
    /// Whether stderr is wanted.
    pub stderr: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The driver keeps nothing, or there is no such driver; docker's text.
    #[error("configured logging driver does not support reading")]
    Unsupported,
    /// A file could not be opened, watched or read.
    #[error("{doing} \"{}\"", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl base::error::Kinded for ReadError {
    fn kind(&self) -> base::error::Kind {
        match self {
            Self::Unsupported => base::error::Kind::Unsupported,
            Self::File { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// What [`Reader::step`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An entry.
    Record(Record),
    /// Nothing now; more may come: wait for [`Reader::watch`] to be readable, for [`Reader::time_left`] to pass, or
    /// for the container's stop.
    Wait,
    /// Nothing more will come.
    End,
}

/// A reader of one container's log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    driver: Driver,
    options: ReadOptions,
    /// The file being read, then those that are newer, oldest first.
    current: Option<Source>,
    newer: VecDeque<Source>,
    /// The file that was read last, when there is no current one.
    last: Option<Identity>,
    watch: Option<OwnedFd>,
    is_stopped: bool,
    is_finished: bool,
}

/// So often are the files looked through when they are rotated faster than they are looked at.
const LOOKS: u32 = 1000;

impl Reader {
    /// Opens the log at `path` written by driver `driver` (`json-file`, `local`, `none`; empty is `json-file`). A
    /// file that does not exist yet is an empty log.
    pub fn open(path: &Path, driver: &str, options: ReadOptions) -> Result<Self, ReadError> {
        let driver = match Driver::parse(driver) {
            Ok(driver @ (Driver::JsonFile | Driver::Local)) => driver,
            Ok(Driver::None) | Err(_) => return Err(ReadError::Unsupported),
        };
        let mut reader = Self {
            path: path.to_owned(),
            driver,
            options,
            current: None,
            newer: VecDeque::new(),
            last: None,
            watch: None,
            is_stopped: false,
            is_finished: false,
        };
        if reader.options.follow {
            // Before the first file is read, so that nothing is missed in between.
            reader.watch = Some(watch_directory(path)?);
        }
        reader.newer = reader.unread()?.into();
        if let Some(count) = reader.options.tail {
            tail::skip_to_last(&mut reader.newer, count).map_err(|source| reader.failed("read", source))?;
        } else if let Some(since) = reader.options.since {
            reader.newer.retain(|source| !source.ended_before(since));
        }
        reader.current = reader.newer.pop_front();
        Ok(reader)
    }

    /// Returns the next entry without waiting. Damaged and torn entries are skipped.
    pub fn step(&mut self) -> Result<Step, ReadError> {
        while !self.is_finished {
            let Some(record) = self.next_record()? else {
                return Ok(if self.is_finished { Step::End } else { Step::Wait });
            };
            if self.options.until.is_some_and(|until| record.time > until) {
                self.is_finished = true;
            } else if self.wants(&record) {
                return Ok(Step::Record(record));
            }
        }
        Ok(Step::End)
    }

    /// Says that the container has stopped: from now on the end of the log is [`Step::End`].
    pub fn container_stopped(&mut self) {
        self.is_stopped = true;
    }

    /// Returns the inotify fd that is readable when more may have come; `None` when not following. [`Self::step`]
    /// empties it.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Returns how long to wait at most after [`Step::Wait`] (until [`ReadOptions::until`]); `None`: without limit.
    pub fn time_left(&self) -> Option<Duration> {
        self.options.until.map(|until| until.since(Timestamp::now()))
    }

    /// Gives every entry to `sink` until the end, a cancel or `Break`; blocks the calling thread.
    pub fn run(
        mut self,
        control: &Control,
        mut sink: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        loop {
            if control.is_cancelled() {
                return Ok(());
            }
            // Asked for before the step: what was written before the stop is read after it.
            let is_stopped = control.is_stopped();
            if is_stopped {
                self.container_stopped();
            }
            match self.step()? {
                Step::Record(record) => {
                    if sink(record).is_break() {
                        return Ok(());
                    }
                }
                Step::Wait => self.wait(control)?,
                Step::End => return Ok(()),
            }
        }
    }

    fn wait(&self, control: &Control) -> Result<(), ReadError> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let timeout = self
            .time_left()
            .and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
        let mut fds = [
            PollFd::new(watch, PollFlags::IN),
            PollFd::from_borrowed_fd(control.changed(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {
                if !fds[1].revents().is_empty() {
                    control.reset();
                }
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(self.failed("wait for", errno.into())),
        }
    }

    fn wants(&self, record: &Record) -> bool {
        let is_wanted = match record.stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        is_wanted && self.options.since.is_none_or(|since| record.time >= since)
    }

    /// Returns the next entry of the log; `None` at its present end.
    fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            if self.current.is_none() {
                self.current = self.newer.pop_front();
            }
            let Some(source) = &mut self.current else {
                if !self.at_end()? {
                    continue;
                }
                return Ok(None);
            };
            match source.next() {
                Ok(Found::Record(record)) => return Ok(Some(record)),
                Ok(Found::End) => {
                    if self.newer.is_empty() && self.at_end()? {
                        return Ok(None);
                    }
                }
                // A file with a damaged end says nothing more; the next one may.
                Err(_) if source.is_compressed() => {
                    self.last = source.identity().ok();
                    self.current = None;
                }
                Err(error) => return Err(self.failed("read", error)),
            }
            self.leave_finished()?;
        }
    }

    /// Gives up the current file when newer ones are there and it was read to its end.
    fn leave_finished(&mut self) -> Result<(), ReadError> {
        if self.newer.is_empty() {
            return Ok(());
        }
        let Some(source) = &mut self.current else {
            return Ok(());
        };
        // A writer leaves a file before it makes the next: what is there now is all that will ever be.
        let result = source.fill();
        match result {
            Ok(0) => self.current = None,
            Ok(_) => {}
            Err(error) => return Err(self.failed("read", error)),
        }
        Ok(())
    }

    /// Looks for newer files at the end of the current one. Returns whether the log is at its end for now, and
    /// marks it as finished when it is for good.
    fn at_end(&mut self) -> Result<bool, ReadError> {
        let Some(watch) = &self.watch else {
            self.is_finished = true;
            return Ok(true);
        };
        // Emptied before the files are looked at, so that a change after the look is seen.
        let had_news = empty(watch.as_fd());
        self.newer = self.unread()?.into();
        if !self.newer.is_empty() {
            return Ok(false);
        }
        if let Some(source) = self.current.as_mut().filter(|_| had_news) {
            let result = source.fill();
            match result {
                Ok(0) => {}
                Ok(_) => return Ok(false),
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        let is_late = self.options.until.is_some_and(|until| Timestamp::now() > until);
        self.is_finished = self.is_stopped || is_late;
        Ok(true)
    }

    /// Opens every file that is newer than the one that is read, oldest first.
    fn unread(&self) -> Result<Vec<Source>, ReadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (unread, is_certain) = self.look_for_unread()?;
            if is_certain || tries == LOOKS {
                return Ok(unread);
            }
        }
    }

    /// Looks once through the files, newest first, while the writer may be renaming them. Returns also whether none can
    /// have been overlooked.
    ///
    /// A rotation moves the oldest file first, so that a walk towards the older files meets a file twice rather than
    /// not at all, or a gap where one was just moved on. Only when another rotation begins within this walk can a file
    /// hide behind two gaps or a newer one turn up behind an older one. Then the log's own name stands for another file.
    fn look_for_unread(&self) -> Result<(Vec<Source>, bool), ReadError> {
        let mut unread: Vec<Source> = Vec::new();
        let mut newest = None;
        let mut was_missing = false;
        for index in 0.. {
            let Some(file) = self.open_file(index)? else {
                // The current file is missing for a moment in each rotation.
                if was_missing && index > 1 {
                    break;
                }
                was_missing = true;
                continue;
            };
            was_missing = false;
            if self
                .is_read(&file)
                .map_err(|source| self.failed("read", source))?
            {
                if index == 0 {
                    return Ok((unread, true));
                }
                break;
            }
            if index == 0 {
                newest = Some(file.identity.inode());
            }
            let mut known = unread.iter();
            if !known.any(|source| source.is_file(&file).is_ok_and(|is_same| is_same)) {
                unread.push(Source::new(file, self.driver));
            }
        }
        unread.reverse();
        // The file is open, so that its number cannot be given to another.
        let newest_now = self.open_file(0)?.map(|file| file.identity.inode());
        Ok((unread, newest_now == newest))
    }

    fn open_file(&self, index: u32) -> Result<Option<LogFile>, ReadError> {
        LogFile::open(&self.path, index).map_err(|(path, source)| ReadError::File {
            doing: "open",
            path,
            source,
        })
    }

    /// Returns whether `file` is the one that is read, or was read last.
    fn is_read(&self, file: &LogFile) -> std::io::Result<bool> {
        match &self.current {
            Some(source) => source.is_file(file),
            None => Ok(self.last == Some(file.identity)),
        }
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> ReadError {
        ReadError::File {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

fn watch_directory(path: &Path) -> Result<OwnedFd, ReadError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = |errno: Errno| ReadError::File {
        doing: "watch",
        path: directory.to_owned(),
        source: errno.into(),
    };
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, directory, events).map_err(failed)?;
    Ok(watch)
}

/// Reads away what inotify has to say; returns whether there was anything.
fn empty(watch: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 4096];
    let mut had_news = false;
    while rustix::io::read(watch, &mut buffer).is_ok_and(|count| count > 0) {
        had_news = true;
    }
    had_news
}

#[cfg(test)]
mod tests;
