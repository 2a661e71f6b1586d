//! Setting limits.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::{Limits, NetworkLimits};
use crate::node;

impl Cgroup {
    /// Sets every limit that `limits` names; also on a group that has processes and limits already.
    ///
    /// The first limit that this host cannot enforce is an error; limits before it stay set.
    pub fn apply(&self, limits: &Limits) -> Result<(), LimitError> {
        self.apply_cpu(&limits.cpu)?;
        self.apply_memory(&limits.memory)?;
        if let Some(pids) = limits.pids.filter(|pids| *pids != 0) {
            let value = if pids < 0 {
                "max".to_owned()
            } else {
                pids.to_string()
            };
            self.limit_files(Controller::Pids, "pids")?
                .set("pids.max", &value)?;
        }
        self.apply_block(&limits.block)?;
        self.apply_hugepages(&limits.hugepages)?;
        self.apply_network(&limits.network)?;
        if let Some(rules) = &limits.devices {
            self.apply_devices(rules)?;
        }
        self.apply_unified(&limits.unified)
    }

    /// Returns the files of `controller`, or the error that `limit` cannot be enforced without it.
    pub(crate) fn limit_files(
        &self,
        controller: Controller,
        limit: &'static str,
    ) -> Result<LimitFiles<'_>, LimitError> {
        let (version, directory) = self
            .directory(controller)
            .ok_or(LimitError::NoController { limit, controller })?;
        Ok(LimitFiles {
            group: self,
            controller,
            limit,
            version,
            directory,
        })
    }

    fn apply_network(&self, limits: &NetworkLimits) -> Result<(), LimitError> {
        if let Some(class) = limits.class_id.filter(|class| *class != 0) {
            self.limit_files(Controller::NetCls, "network class")?
                .set("net_cls.classid", &class.to_string())?;
        }
        for (interface, priority) in &limits.priorities {
            self.limit_files(Controller::NetPrio, "network priority")?
                .set("net_prio.ifpriomap", &format!("{interface} {priority}"))?;
        }
        Ok(())
    }

    /// Writes raw v2 files. Those that move processes or reshape the tree are refused.
    fn apply_unified(&self, entries: &[(String, String)]) -> Result<(), LimitError> {
        const LIMIT: &str = "unified";
        for (file, value) in entries {
            let refuse = |reason: &str| LimitError::Value {
                limit: LIMIT,
                reason: format!("\"{file}\" {reason}"),
            };
            let is_name = file.contains('.')
                && !file.starts_with('.')
                && file
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !is_name {
                return Err(refuse("is not the name of a cgroup file"));
            }
            if file.starts_with("cgroup.") && !file.starts_with("cgroup.max.") && file != "cgroup.pressure" {
                return Err(refuse("is not a limit"));
            }
            let directory = self
                .unified()
                .ok_or_else(|| refuse("needs cgroup v2, which this host does not have"))?;
            match node::write_at(directory, file, value) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Err(refuse("does not exist on this host")),
                Err(source) => {
                    let path = self.path_for_display(directory, file);
                    return Err(LimitError::Write {
                        limit: LIMIT,
                        source: node::file_error(format!("write \"{value}\" to"), &path, source),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The files through which one limit is set.
#[derive(Clone, Copy)]
pub(crate) struct LimitFiles<'a> {
    group: &'a Cgroup,
    controller: Controller,
    limit: &'static str,
    pub(crate) version: Version,
    directory: BorrowedFd<'a>,
}

impl LimitFiles<'_> {
    /// Writes `value` to `file`; a missing file is [`LimitError::NoFile`].
    pub(crate) fn set(&self, file: &str, value: &str) -> Result<(), LimitError> {
        self.try_set(file, value)
            .map_err(|source| self.error(file, value, source))
    }

    /// Writes each of `values` to `file`, opened once; the kernel takes one entry per write.
    pub(crate) fn set_each(
        &self,
        file: &str,
        mut values: impl Iterator<Item = String>,
    ) -> Result<(), LimitError> {
        let open = node::open_write(self.directory, file).map_err(|source| self.error(file, "", source))?;
        values.try_for_each(|value| {
            node::write_all(open.as_fd(), &value).map_err(|source| self.error(file, &value, source))
        })
    }

    /// As [`Self::set`], for callers that have another way on some errors.
    pub(crate) fn try_set(&self, file: &str, value: &str) -> Result<(), Errno> {
        node::write_at(self.directory, file, value)
    }

    /// Returns the content of `file`.
    pub(crate) fn get(&self, file: &str) -> Result<String, LimitError> {
        node::read_at(self.directory, file).map_err(|source| match source {
            Errno::NOENT => self.no_file(file),
            source => LimitError::Write {
                limit: self.limit,
                source: node::file_error("read", &self.group.path_for_display(self.directory, file), source),
            },
        })
    }

    /// Returns the error of a write that failed.
    pub(crate) fn error(&self, file: &str, value: &str, source: Errno) -> LimitError {
        if source == Errno::NOENT {
            return self.no_file(file);
        }
        let path = self.group.path_for_display(self.directory, file);
        LimitError::Write {
            limit: self.limit,
            source: node::file_error(format!("write \"{value}\" to"), &path, source),
        }
    }

    /// Returns the error that this kernel or version has no such file.
    pub(crate) fn no_file(&self, file: &str) -> LimitError {
        LimitError::NoFile {
            limit: self.limit,
            controller: self.controller,
            file: file.to_owned(),
        }
    }

    /// Returns the error that the value makes no sense.
    pub(crate) fn bad_value(&self, reason: impl Into<String>) -> LimitError {
        LimitError::Value {
            limit: self.limit,
            reason: reason.into(),
        }
    }
}
