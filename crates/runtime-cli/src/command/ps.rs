//! `ps`: the container's processes.

use clap::{Arg, ArgMatches};

use crate::command::{id, id_argument, print};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::status::Container;

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("format")
            .long("format")
            .short('f')
            .value_parser(["table", "json"])
            .default_value("table"),
        id_argument(),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    let group = container.need_cgroup("list the processes of")?;
    let pids: Vec<i32> = group
        .processes()
        .plain()?
        .iter()
        .map(|pid| pid.as_raw_nonzero().get())
        .collect();
    if matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "json")
    {
        let document = serde_json::to_string(&pids).plain()?;
        print(&format!("{document}\n"))?;
        return Ok(0);
    }
    let mut table = format!("{:>8} {:>8} {:>8} CMD\n", "UID", "PID", "PPID");
    for pid in pids {
        if let Some((uid, parent, command)) = describe(pid) {
            table.push_str(&format!("{uid:>8} {pid:>8} {parent:>8} {command}\n"));
        }
    }
    print(&table)?;
    Ok(0)
}

/// Returns user, parent and command line of a process; `None` if it has ended.
fn describe(pid: i32) -> Option<(u32, i32, String)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
    };
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words);
    let words: Vec<&str> = words.split('\0').filter(|word| !word.is_empty()).collect();
    let command = if words.is_empty() {
        format!("[{}]", field("Name:").unwrap_or("?"))
    } else {
        words.join(" ")
    };
    // A command line must not move the reader's cursor.
    let command = command
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    Some((
        field("Uid:")?.parse().ok()?,
        field("PPid:")?.parse().ok()?,
        command,
    ))
}
