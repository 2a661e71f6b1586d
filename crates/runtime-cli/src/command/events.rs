//! `events`: statistics and out-of-memory events, one JSON document per line.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::command::{id, id_argument, print};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::stats;
use crate::status::{Container, Status};

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("interval")
            .long("interval")
            .value_name("DURATION")
            .default_value("5s")
            .help("time between statistics, such as 500ms, 5s or 1m"),
        Arg::new("stats")
            .long("stats")
            .action(ArgAction::SetTrue)
            .help("show the statistics once"),
        id_argument(),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    let text = matches.get_one::<String>("interval").map_or("5s", String::as_str);
    let interval = parse_interval(text)
        .ok_or_else(|| CommandError::new(format!("\"{text:.40}\" is not a duration greater than 0")))?;
    if container.status()? == Status::Stopped {
        return Err(CommandError::new("container is not running"));
    }
    let group = container.need_cgroup("watch")?;
    let show_stats = || {
        print(&format!(
            "{}\n",
            stats::event(container.entry.id(), &group.stats().plain()?)
        ))
    };
    if matches.get_flag("stats") {
        show_stats()?;
        return Ok(0);
    }
    let Some(pidfd) = container.pidfd()? else {
        return Ok(0);
    };
    let memory = group.oom_events().plain()?;
    let mut kills = group.oom_kill_count().plain()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let memory_fd = memory.as_fd();
        let mut fds = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(memory_fd, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            result => result.context(|| "wait for events".to_owned())?,
        };
        let [ended, woken] = fds.map(|fd| !fd.revents().is_empty());
        if woken {
            memory.drain();
            let now = group.oom_kill_count().unwrap_or(kills);
            if now > kills {
                print(&format!(
                    "{}\n",
                    serde_json::json!({"type": "oom", "id": container.entry.id()})
                ))?;
                kills = now;
            }
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            show_stats()?;
            next = Instant::now() + interval;
        }
    }
}

/// Reads a whole number with `ms`, `s`, `m` or `h`.
fn parse_interval(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    unit.checked_mul(u32::try_from(number).ok()?)
        .filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(parse_interval("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_interval("500ms"), Some(Duration::from_millis(500)));
        for text in ["", "0s", "5", "s", "5x", "é", "99999999999h"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }
}
