//! `state`: the state document.

use std::path::Path;

use base::clock::Timestamp;
use clap::{Arg, ArgMatches};
use serde::Serialize;

use crate::command::{id, id_argument, print};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::status::{Container, Status};

/// The state document of the specification, with runc's additions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    oci_version: &'a str,
    pub(super) id: &'a str,
    /// 0 when the container has stopped.
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: &'a Path,
    rootfs: &'a Path,
    pub(super) created: Timestamp,
    #[serde(skip_serializing_if = "std::collections::HashMap::is_empty")]
    annotations: &'a std::collections::HashMap<String, String>,
    owner: &'static str,
}

impl<'a> Document<'a> {
    /// Describes a container.
    pub(super) fn new(container: &'a Container) -> Result<Self, CommandError> {
        let record = &container.record;
        let status = container.status()?;
        Ok(Self {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: record.created,
            annotations: &record.annotations,
            owner: "",
        })
    }
}

pub(super) fn arguments() -> Vec<Arg> {
    vec![id_argument()]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    let document = serde_json::to_string_pretty(&Document::new(&container)?).plain()?;
    print(&format!("{document}\n"))?;
    Ok(0)
}
