//! The embedded default: a command that finds no daemon starts one and goes on.
//!
//! The daemon is a detached `berth daemon --on-demand`. Its standard output is a pipe on which it says one line: that
//! it is ready, or why it failed; so nobody polls and nobody guesses. A lock keeps two commands from starting two.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cli::StartDaemon;

/// What the daemon says on its standard output once it accepts clients.
pub(crate) const READY: &str = "ready\n";

/// The data root of a daemon that is started on demand.
pub(crate) const DATA_ROOT: &str = "/var/lib/berth";

/// Starts daemons for the command line.
#[derive(Debug)]
pub(crate) struct OnDemand;

/// Starting a daemon failed.
#[derive(Debug, thiserror::Error)]
enum StartDaemonError {
    #[error(
        "no daemon listens on \"{}\" and only root may start one: use sudo, or ask an administrator to start \"berth daemon\" with --group",
        socket.display()
    )]
    NotRoot { socket: PathBuf },
    #[error("{doing} \"{}\"", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("start \"berth daemon\"")]
    Spawn { source: io::Error },
    #[error("{text}")]
    Daemon { text: String },
    #[error("\"berth daemon\" ended before it was ready; \"{}\" may say why", log.display())]
    Silent { log: PathBuf },
}

impl StartDaemon for OnDemand {
    fn start_daemon(&self, socket: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
        start(socket).map_err(Into::into)
    }
}

fn start(socket: &Path) -> Result<(), StartDaemonError> {
    if !rustix::process::geteuid().is_root() {
        return Err(StartDaemonError::NotRoot {
            socket: socket.to_owned(),
        });
    }
    let directory = socket.parent().unwrap_or(Path::new("/"));
    make_directory(directory, 0o755)?;
    make_directory(Path::new(DATA_ROOT), 0o700)?;
    // Held until the daemon answers, and given back by the end of this process at the latest.
    let _lock = lock(&directory.join("start.lock"))?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let log = Path::new(DATA_ROOT).join("daemon.log");
    let log_file = open_log(&log)?;
    let mut address = std::ffi::OsString::from("unix://");
    address.push(socket);
    let spawned = Command::new("/proc/self/exe")
        .arg0("berth")
        .args(["daemon", "--on-demand", "--data-root", DATA_ROOT, "--exec-root"])
        .arg(directory)
        .arg("--host")
        .arg(address)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn();
    let mut daemon = spawned.map_err(|source| StartDaemonError::Spawn { source })?;
    let mut said = String::new();
    if let Some(mut output) = daemon.stdout.take() {
        // An unreadable answer is no answer.
        drop(output.read_to_string(&mut said));
    }
    if said == READY {
        return Ok(());
    }
    // It has closed its output without being ready, so it ends by itself.
    drop(daemon.wait());
    match said.trim_end() {
        "" => Err(StartDaemonError::Silent { log }),
        text => Err(StartDaemonError::Daemon {
            text: text.to_owned(),
        }),
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), StartDaemonError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| StartDaemonError::File {
        doing: "create directory",
        path: path.to_owned(),
        source,
    })
}

fn lock(path: &Path) -> Result<File, StartDaemonError> {
    let failed = |doing| {
        move |source| StartDaemonError::File {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open lock"))?;
    file.lock().map_err(failed("lock"))?;
    Ok(file)
}

/// The most bytes of a log that is continued; a larger one is put aside.
const LOG_LIMIT: u64 = 4 << 20;

fn open_log(path: &Path) -> Result<File, StartDaemonError> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_LIMIT) {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        std::fs::rename(path, &old).map_err(|source| StartDaemonError::File {
            doing: "put aside",
            path: path.to_owned(),
            source,
        })?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StartDaemonError::File {
            doing: "open",
            path: path.to_owned(),
            source,
        })
}
