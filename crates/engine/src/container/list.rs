//! List: the containers that fit.

use std::collections::BTreeMap;
use std::sync::Arc;

use std::time::Duration;

use base::clock::Timestamp;
use regex_lite::Regex;

use super::inspect::{MountPoint, sizes};
use super::record::Container;
use super::view::{Status, View};
use crate::Engine;
use crate::system::{FilterError, check_names, label_fits, value_error};

/// Which containers are wanted.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Whether those that do not run are listed too.
    pub all: bool,
    /// Only so many of the newest (implies `all`).
    pub limit: Option<usize>,
    /// Whether the sizes of the writable layers are counted.
    pub size: bool,
    /// docker's filters: `ancestor before exited expose health id is-task label name network publish since status
    /// volume`; values of one key are alternatives (labels: all must fit).
    pub filters: BTreeMap<String, Vec<String>>,
}

/// One row of the list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The container.
    pub view: Arc<View>,
    /// The command as one line (program and arguments).
    pub command: String,
    /// docker's sentence, such as `Up 3 minutes (Paused)` or `Exited (0) 2 hours ago`.
    pub status_text: String,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Bytes in the writable layer, if asked for.
    pub size_rw: Option<u64>,
    /// Bytes of the whole root file system, if asked for.
    pub size_root_fs: Option<u64>,
    /// Where it is in its life.
    pub status: Status,
}

/// docker's filters of containers.
const FILTERS: [&str; 14] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
];

/// Lists containers, newest first.
pub async fn list(engine: &Arc<Engine>, request: ListRequest) -> Result<Vec<Summary>, FilterError> {
    let filters = &request.filters;
    let mut known = FILTERS.to_vec();
    known.push("volume");
    check_names(filters, &known)?;
    let test = Test::new(engine, filters)?;
    let mut found: Vec<Arc<Container>> = engine.registry.all();
    found.sort_by_key(|container| std::cmp::Reverse(container.record().created));
    let everything = request.all
        || request.limit.is_some()
        || filters.contains_key("status")
        || filters.contains_key("exited");
    let mut rows = Vec::new();
    for container in found {
        let view = container.view();
        if (!everything && !view.status.is_running()) || !test.fits(engine, &container, &view) {
            continue;
        }
        if request.limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
        rows.push(container);
    }
    let mut summaries = Vec::with_capacity(rows.len());
    for container in rows {
        let (size_rw, size_root_fs) = if request.size {
            sizes(engine, &container).await
        } else {
            (None, None)
        };
        summaries.push(summarize(&container, size_rw, size_root_fs));
    }
    Ok(summaries)
}

/// Returns a container's row.
pub(crate) fn summarize(container: &Container, size_rw: Option<u64>, size_root_fs: Option<u64>) -> Summary {
    let view = container.view();
    Summary {
        command: one_line(spec::command_line(&view.config)),
        status_text: status_text(&view),
        mounts: container
            .record()
            .mounts
            .iter()
            .map(|mount| mount.point.clone())
            .collect(),
        size_rw,
        size_root_fs,
        status: view.status,
        view,
    }
}

/// Joins a command as docker does: arguments (not the program) with a space in them are quoted.
fn one_line(words: Vec<String>) -> String {
    let mut words = words.into_iter();
    let mut line = words.next().unwrap_or_default();
    for word in words {
        let quote = if word.contains(' ') { "'" } else { "" };
        line.push_str(&format!(" {quote}{word}{quote}"));
    }
    line
}

/// The filters, read once.
struct Test<'a> {
    filters: &'a BTreeMap<String, Vec<String>>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    exited: Vec<i64>,
    ancestors: Vec<String>,
    names: Vec<Pattern>,
    ids: Vec<Pattern>,
}

impl<'a> Test<'a> {
    fn new(engine: &Engine, filters: &'a BTreeMap<String, Vec<String>>) -> Result<Self, FilterError> {
        let time_of = |key: &str| -> Result<Option<Timestamp>, FilterError> {
            let Some(name) = filters.get(key).and_then(|values| values.first()) else {
                return Ok(None);
            };
            let container = engine.registry.find(name)?;
            Ok(Some(container.record().created))
        };
        let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
        for status in values("status") {
            let known = [
                "created",
                "running",
                "paused",
                "restarting",
                "removing",
                "exited",
                "dead",
            ];
            if !known.contains(&status.as_str()) {
                return Err(value_error("status", status));
            }
        }
        let exited = values("exited")
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|_error: std::num::ParseIntError| value_error("exited", text))
            })
            .collect::<Result<_, _>>()?;
        let ancestors = values("ancestor")
            .iter()
            .map(|name| {
                engine
                    .images
                    .resolve(name)
                    .map_or_else(|_unknown| name.clone(), |image| image.id.to_string())
            })
            .collect();
        Ok(Self {
            before: time_of("before")?,
            since: time_of("since")?,
            exited,
            ancestors,
            names: values("name").iter().map(|text| Pattern::of(text)).collect(),
            ids: values("id").iter().map(|text| Pattern::of(text)).collect(),
            filters,
        })
    }

    fn fits(&self, engine: &Engine, container: &Container, view: &View) -> bool {
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            self.filters
                .get(key)
                .is_none_or(|values| values.is_empty() || values.iter().any(|value| test(value)))
        };
        let record = container.record();
        (self.ids.is_empty() || self.ids.iter().any(|id| id.fits(view.id.as_str())))
            && (self.names.is_empty() || name_fits(&view.name, &self.names))
            && any("status", &|status| view.status.as_str() == status)
            && self
                .filters
                .get("label")
                .is_none_or(|labels| labels.iter().all(|label| label_fits(&view.config.labels, label)))
            && any("ancestor", &|_| {
                self.ancestors
                    .iter()
                    .any(|ancestor| view.image_id == *ancestor || view.config.image == *ancestor)
            })
            && self.before.is_none_or(|time| view.created < time)
            && self.since.is_none_or(|time| view.created > time)
            && (self.exited.is_empty()
                || (view.status == Status::Exited && self.exited.contains(&view.exit.code)))
            && any("volume", &|volume| {
                record.mounts.iter().any(|mount| {
                    [&mount.point.name, &mount.point.destination, &mount.point.source]
                        .iter()
                        .any(|known| *known == volume)
                })
            })
            && any("network", &|network| {
                let mode = if view.host.network_mode.is_empty() {
                    "none"
                } else {
                    &view.host.network_mode
                };
                mode == network || (mode == "default" && network == "none")
            })
            && any("health", &|health| health == "none")
            && any("is-task", &|value| value == "false")
            && any("isolation", &|value| value.is_empty() || value == "default")
            && any("publish", &|_| false)
            && any("expose", &|port| {
                let full = if port.contains('/') {
                    port.to_owned()
                } else {
                    format!("{port}/tcp")
                };
                view.config.exposed_ports.contains(&full)
            })
            && engine.registry.get(view.id.as_str()).is_some()
    }
}

/// A value of `name` or `id`: docker takes it as a text and as a regular expression that may fit anywhere.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// `None` if it is not one; docker then compares the text alone.
    expression: Option<Regex>,
}

impl Pattern {
    fn of(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            expression: Regex::new(text).ok(),
        }
    }

    fn fits(&self, value: &str) -> bool {
        self.text == value
            || self
                .expression
                .as_ref()
                .is_some_and(|expression| expression.is_match(value))
    }
}

/// Returns whether a name fits, written with docker's leading slash or without.
fn name_fits(name: &str, patterns: &[Pattern]) -> bool {
    let slashed = format!("/{name}");
    patterns
        .iter()
        .any(|pattern| pattern.fits(name) || pattern.fits(&slashed))
}

/// Returns docker's sentence about a state.
fn status_text(view: &View) -> String {
    let now = Timestamp::now();
    match view.status {
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Running => format!("Up {}", human(now.since(view.started_at))),
        Status::Paused => format!("Up {} (Paused)", human(now.since(view.started_at))),
        Status::Restarting => {
            format!(
                "Restarting ({}) {} ago",
                view.exit.code,
                human(now.since(view.finished_at))
            )
        }
        Status::Exited => format!(
            "Exited ({}) {} ago",
            view.exit.code,
            human(now.since(view.finished_at))
        ),
    }
}

/// Returns a duration in docker's words (go-units `HumanDuration`).
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let hours = (seconds + 1800) / 3600;
    match (seconds, seconds / 60, hours) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (seconds, 0, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes, _) if minutes < 60 => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, hours) if hours < 48 => format!("{hours} hours"),
        (_, _, hours) if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        (_, _, hours) if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        (_, _, hours) if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        (_, _, hours) => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_durations() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3700, "About an hour"),
            (3 * 3600, "3 hours"),
            (50 * 3600, "2 days"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn names_fit_as_in_docker() {
        for (pattern, fits) in [
            ("web", true),
            ("^web", true),
            ("^/web1$", true),
            ("eb$", false),
            ("^web$", false),
            ("w.b[0-9]$", true),
            ("^(web1|db)$", true),
            ("we(", false),
            ("", true),
        ] {
            let patterns = [Pattern::of(pattern)];
            assert_eq!(name_fits("web1", &patterns), fits, "{pattern}");
        }
    }
}
