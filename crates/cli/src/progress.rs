//! Progress of pull, push and load: one line per layer with docker's bars on a terminal, plain lines elsewhere.

use api_types::stream::{Progress, ProgressDetail};
use base::size::HumanSize;
use client::JsonStream;

use crate::failure::Failure;
use crate::format::text::harmless;
use crate::output;
use crate::terminal;

/// Columns that a terminal needs for a bar beside the numbers.
const BAR_NEEDS: u16 = 110;
/// Marks in a full bar.
const BAR: usize = 50;

/// Prints messages until the daemon has done or failed.
pub(crate) async fn show(messages: JsonStream<Progress>) -> Result<(), Failure> {
    show_on(Screen::stdout(), messages).await
}

/// As [`show`], on the stream that the screen is for.
pub(crate) async fn show_on(mut screen: Screen, mut messages: JsonStream<Progress>) -> Result<(), Failure> {
    while let Some(message) = messages.next().await {
        let message = succeeded(message?)?;
        let text = screen.print(&message);
        match screen.stream {
            _ if text.is_empty() => {}
            Stream::Stdout => output::out(&text)?,
            Stream::Stderr => output::err(&text),
        }
    }
    Ok(())
}

/// Waits until the daemon has done or failed.
pub(crate) async fn wait(mut messages: JsonStream<Progress>) -> Result<(), Failure> {
    while let Some(message) = messages.next().await {
        drop(succeeded(message?)?);
    }
    Ok(())
}

fn succeeded(message: Progress) -> Result<Progress, Failure> {
    if let Some(detail) = &message.error_detail {
        return Err(Failure::message(harmless(&detail.message)));
    }
    if !message.error.is_empty() {
        return Err(Failure::message(harmless(&message.error)));
    }
    Ok(message)
}

/// What is on the terminal: a line for each id, the last above the cursor.
#[derive(Debug)]
pub(crate) struct Screen {
    stream: Stream,
    /// The terminal's columns, 0 if they are not known; `None`: not a terminal.
    columns: Option<u16>,
    ids: Vec<String>,
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Screen {
    /// Returns the screen of standard output.
    pub(crate) fn stdout() -> Self {
        Self {
            stream: Stream::Stdout,
            columns: terminal::stdout_is_terminal().then(|| terminal::size().1),
            ids: Vec::new(),
        }
    }

    /// Returns the screen of standard error.
    pub(crate) fn stderr() -> Self {
        Self {
            stream: Stream::Stderr,
            columns: terminal::stderr_is_terminal().then(|| terminal::size().1),
            ids: Vec::new(),
        }
    }

    /// Returns what to write for a message.
    fn print(&mut self, message: &Progress) -> String {
        let bar = match (&message.progress_detail, self.columns) {
            (Some(detail), Some(columns)) => bar(detail, columns),
            // Numbers that change all the time are noise in a file.
            (Some(detail), None) if detail.current > 0 || detail.total > 0 => return String::new(),
            _ => String::new(),
        };
        if !message.stream.is_empty() {
            // Its line feeds are its own.
            let lines = message
                .stream
                .split_inclusive('\n')
                .map(|line| match line.strip_suffix('\n') {
                    Some(line) => format!("{}\n", harmless(line)),
                    None => harmless(line),
                });
            return lines.collect();
        }
        if message.status.is_empty() {
            return String::new();
        }
        let mut line = harmless(&message.status);
        if !bar.is_empty() {
            line = format!("{line} {bar}");
        }
        if message.id.is_empty() {
            // What follows begins a new block of lines.
            self.ids.clear();
            return format!("{line}\n");
        }
        line = format!("{}: {line}", harmless(&message.id));
        if self.columns.is_none() {
            return format!("{line}\n");
        }
        let mut text = String::new();
        let at = match self.ids.iter().position(|id| *id == message.id) {
            Some(at) => at,
            None => {
                self.ids.push(message.id.clone());
                text.push('\n');
                self.ids.len() - 1
            }
        };
        let up = self.ids.len() - at;
        text.push_str(&format!("\u{1b}[{up}A\u{1b}[2K\r{line}\r\u{1b}[{up}B"));
        text
    }
}

/// Returns `[=====>     ]  1.2MB/3MB`, without the bar where there is no room for it.
fn bar(detail: &ProgressDetail, columns: u16) -> String {
    let size = |bytes: i64| HumanSize(u64::try_from(bytes).unwrap_or_default()).to_string();
    if detail.current <= 0 && detail.total <= 0 {
        return String::new();
    }
    if detail.total <= 0 {
        return format!("{:>8}", size(detail.current));
    }
    let numbers = format!("{:>8}/{}", size(detail.current), size(detail.total));
    if columns != 0 && columns <= BAR_NEEDS {
        return numbers;
    }
    let current = detail.current.clamp(0, detail.total);
    let marks = usize::try_from(i128::from(current) * 50 / i128::from(detail.total)).unwrap_or(BAR);
    let (full, empty) = ("=".repeat(marks), " ".repeat(BAR - marks.min(BAR)));
    format!("[{full}>{empty}] {numbers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, numbers: Option<(i64, i64)>) -> Progress {
        Progress {
            id: id.to_owned(),
            status: status.to_owned(),
            progress_detail: numbers.map(|(current, total)| ProgressDetail { current, total }),
            ..Progress::default()
        }
    }

    #[test]
    fn a_file_gets_plain_lines() {
        let mut screen = Screen {
            stream: Stream::Stdout,
            columns: None,
            ids: Vec::new(),
        };
        let printed: String = [
            message("", "The push refers to repository [h/x]", None),
            message("a", "Preparing", None),
            message("a", "Pushing", Some((1, 2))),
            message("a", "Pushed", None),
            message("b", "esc\u{1b}[2J", None),
            Progress {
                stream: "Loaded image: x\u{1b}\n".to_owned(),
                ..Progress::default()
            },
        ]
        .iter()
        .map(|message| screen.print(message))
        .collect();
        assert_eq!(
            printed,
            "The push refers to repository [h/x]\na: Preparing\na: Pushed\nb: esc\u{fffd}[2J\nLoaded image: x\u{fffd}\n"
        );
    }

    #[test]
    fn a_terminal_gets_a_line_for_each_id() {
        let mut screen = Screen {
            stream: Stream::Stdout,
            columns: Some(200),
            ids: Vec::new(),
        };
        assert_eq!(
            screen.print(&message("a", "Waiting", None)),
            "\n\u{1b}[1A\u{1b}[2K\ra: Waiting\r\u{1b}[1B"
        );
        screen.print(&message("b", "Waiting", None));
        let moved = screen.print(&message("a", "Pushing", Some((500, 1000))));
        assert_eq!(
            moved,
            format!(
                "\u{1b}[2A\u{1b}[2K\ra: Pushing [{}>{}]     500B/1kB\r\u{1b}[2B",
                "=".repeat(25),
                " ".repeat(25)
            )
        );
        for (current, total) in [(i64::MAX, 1), (-5, 10), (5, -1), (0, 0), (i64::MAX, i64::MAX)] {
            let detail = ProgressDetail { current, total };
            assert!(bar(&detail, 0).len() < 100);
        }
    }
}
