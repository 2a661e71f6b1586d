//! Top: the processes of a container.

use std::sync::Arc;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use base::clock::Timestamp;

use super::pause::open_cgroup;
use super::view::ChangeError;
use crate::Engine;

/// A table of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Column names.
    pub titles: Vec<String>,
    /// One row for each process.
    pub rows: Vec<Vec<String>>,
}

/// A column of ps(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    User,
    Pid,
    Parent,
    Cpu,
    Start,
    Terminal,
    Time,
    Command,
    Name,
    State,
}

impl Column {
    fn named(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "uid" | "user" | "euser" => (Self::User, "USER"),
            "pid" => (Self::Pid, "PID"),
            "ppid" => (Self::Parent, "PPID"),
            "c" => (Self::Cpu, "C"),
            "stime" | "start" => (Self::Start, "STIME"),
            "tty" | "tt" => (Self::Terminal, "TTY"),
            "time" | "cputime" => (Self::Time, "TIME"),
            "cmd" | "args" | "command" => (Self::Command, "CMD"),
            "comm" | "ucmd" | "ucomm" => (Self::Name, "COMMAND"),
            "stat" | "s" | "state" => (Self::State, "S"),
            _ => return None,
        })
    }
}

/// Lists the processes of a running container; `ps_args` is docker's (`-ef` by default; `aux` and `-o` lists are known).
/// ps itself is never run: what it would print is read from /proc.
pub async fn top(engine: &Arc<Engine>, name: &str, ps_args: &str) -> Result<Processes, ChangeError> {
    let container = engine.registry.find(name)?;
    if !container.view().status.has_process() {
        return Err(ChangeError::State {
            text: format!("container {} is not running", container.id),
        });
    }
    let columns = columns(ps_args).ok_or_else(|| ChangeError::Unsupported {
        text: format!(
            "ps arguments \"{}\" are not supported by this version of Berth",
            ps_args.escape_default()
        ),
    })?;
    let pids = open_cgroup(engine, &container)
        .and_then(|group| group.processes())
        .map_err(|source| ChangeError::Step {
            doing: "list the processes of",
            id: container.id.to_string(),
            source: Box::new(source),
        })?;
    let users = users();
    let boot = boot_time();
    let mut rows = Vec::new();
    for pid in pids {
        // A process may end while it is looked at.
        if let Some(process) = Process::read(pid.as_raw_nonzero().get(), boot) {
            rows.push(
                columns
                    .iter()
                    .map(|(column, _)| process.cell(*column, &users))
                    .collect(),
            );
        }
    }
    crate::container::finish::tell(engine, &container, "top", &[]);
    Ok(Processes {
        titles: columns.iter().map(|(_, title)| (*title).to_owned()).collect(),
        rows,
    })
}

fn columns(arguments: &str) -> Option<Vec<(Column, &'static str)>> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    match words.as_slice() {
        [] | ["-ef" | "-eaf" | "-f" | "ef"] => Some(vec![
            (Column::User, "UID"),
            (Column::Pid, "PID"),
            (Column::Parent, "PPID"),
            (Column::Cpu, "C"),
            (Column::Start, "STIME"),
            (Column::Terminal, "TTY"),
            (Column::Time, "TIME"),
            (Column::Command, "CMD"),
        ]),
        ["aux" | "-aux" | "u"] => Some(vec![
            (Column::User, "USER"),
            (Column::Pid, "PID"),
            (Column::State, "STAT"),
            (Column::Terminal, "TTY"),
            (Column::Start, "START"),
            (Column::Time, "TIME"),
            (Column::Command, "COMMAND"),
        ]),
        [.., "-o" | "-eo" | "o", list] => list.split(',').map(Column::named).collect(),
        [single] if single.starts_with("-o") => single[2..].split(',').map(Column::named).collect(),
        _ => None,
    }
}

/// One process, from proc(5).
struct Process {
    pid: i32,
    parent: String,
    uid: u32,
    state: String,
    terminal: i64,
    ticks: u64,
    started: i64,
    command: String,
    name: String,
}

/// `USER_HZ` of every Linux architecture.
const TICKS: u64 = 100;

impl Process {
    fn read(pid: i32, boot: i64) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let number = |at: usize| field(at).parse::<u64>().unwrap_or(0);
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches('\0').replace('\0', " ");
        let name = head.split_once('(').map_or("", |(_, name)| name);
        Some(Self {
            pid,
            parent: field(4).to_owned(),
            uid: std::fs::metadata(format!("/proc/{pid}")).ok()?.uid(),
            state: field(3).to_owned(),
            terminal: field(7).parse().unwrap_or(0),
            ticks: number(14) + number(15),
            started: boot + i64::try_from(number(22) / TICKS).unwrap_or(0),
            command: if line.is_empty() {
                format!("[{name}]")
            } else {
                line
            },
            name: name.to_owned(),
        })
    }

    fn cell(&self, column: Column, users: &HashMap<u32, String>) -> String {
        let seconds = self.ticks / TICKS;
        let age = Timestamp::now().unix_seconds() - self.started;
        match column {
            Column::User => users
                .get(&self.uid)
                .cloned()
                .unwrap_or_else(|| self.uid.to_string()),
            Column::Pid => self.pid.to_string(),
            Column::Parent => self.parent.clone(),
            Column::Cpu => {
                let age = u64::try_from(age).unwrap_or(0).max(1);
                (seconds * 100 / age).min(99).to_string()
            }
            Column::Start => {
                // Hour and minute of today, else the day, as ps prints it (in UTC).
                let time = Timestamp::from_unix(self.started, 0).to_string();
                time.get(if age < 86_400 { 11..16 } else { 5..10 })
                    .unwrap_or_default()
                    .to_owned()
            }
            Column::Terminal => match self.terminal {
                0 => "?".to_owned(),
                device => format!("pts/{}", (device & 0xff) | ((device >> 12) & 0xfff00)),
            },
            Column::Time => format!(
                "{:02}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            ),
            Column::Command => self.command.clone(),
            Column::Name => self.name.clone(),
            Column::State => self.state.clone(),
        }
    }
}

/// Names of the host's users, which is what docker prints.
fn users() -> HashMap<u32, String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut parts = line.split(':');
        if let (Some(name), _, Some(Ok(uid))) = (parts.next(), parts.next(), parts.next().map(str::parse)) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

fn boot_time() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(pid, boot_time()).unwrap();
        assert_eq!(process.cell(Column::Pid, &HashMap::new()), pid.to_string());
        assert!(!process.cell(Column::Command, &HashMap::new()).is_empty());
        assert_eq!(process.cell(Column::Time, &HashMap::new()).len(), 8);
    }

    #[test]
    fn knows_the_usual_arguments() {
        assert_eq!(columns("").unwrap().len(), 8);
        assert_eq!(columns("aux").unwrap()[0].1, "USER");
        assert_eq!(columns("-o pid,cmd").unwrap().len(), 2);
        assert_eq!(columns("-o pid,comm").unwrap()[1].1, "COMMAND");
        assert!(columns("-o pid,what").is_none() && columns("--forest x y").is_none());
    }
}
