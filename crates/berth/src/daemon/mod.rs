//! `berth daemon`: from options to an engine that answers on its sockets, and back.
//!
//! The start is ordered for the first answer: sockets are bound before the engine opens, so that clients wait in the
//! backlog instead of failing. Containers do not depend on this process; its end stops none of them.

mod hosts;
mod idle;
mod logging;
mod notify;
mod options;
mod pid_file;
mod reload;
mod settle;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use base::error::chain;
use engine::{Engine, OpenError};
use server::{Server, ServerFacts};
use tokio::signal::unix::{SignalKind, signal};

use options::{Command, Options};

/// Runs the daemon; `arguments` are those after `daemon`.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let options = match options::parse(arguments) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Print(text)) => {
            // A reader that has gone away is no error.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&chain(&error).to_string()),
    };
    let is_on_demand = options.on_demand;
    match run(*options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = chain(error.as_ref()).to_string();
            if is_on_demand {
                // The command that started this daemon shows it.
                drop(std::io::stdout().write_all(text.as_bytes()));
            }
            tracing::error!(error = text, "the daemon failed");
            fail(&text)
        }
    }
}

fn fail(text: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "berth daemon: {text}"));
    ExitCode::FAILURE
}

fn run(options: Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "the daemon makes mounts, namespaces and cgroups and so must run as root: use sudo"
    );
    detach(&options)?;
    let reload = logging::start(&options.logging);
    raise_fd_limit();
    make_directory(&options.data_root, 0o700)?;
    make_directory(&options.exec_root, 0o755)?;
    let listeners = hosts::listen(&options.hosts, options.group.as_deref())?;
    let pid_file = pid_file::PidFile::write(&options.pid_file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("berth")
        // Blocking work comes in bursts, and each thread is memory.
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("start the runtime")?;
    let served = runtime.block_on(serve(&options, listeners, &reload, begun));
    runtime.shutdown_timeout(Duration::from_secs(1));
    hosts::unlink(&options.hosts);
    drop(pid_file);
    served
}

/// A daemon that was started by a command leaves that command's session, directory and descriptors.
fn detach(options: &Options) -> anyhow::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if options.on_demand {
        // Fails only for a leader of a group, which is then started by hand and stays where it is.
        let _already_a_leader = rustix::process::setsid();
        std::env::set_current_dir("/").context("change to \"/\"")?;
        sys::fd::close_range(3, i32::MAX, sys::fd::CloseRange::Now).context("close inherited descriptors")?;
    }
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.with_context(|| format!("create directory \"{}\"", path.display()))
}

/// Each connection, container and attached stream takes a descriptor.
fn raise_fd_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn serve(
    options: &Options,
    listeners: Vec<server::Listener>,
    reload: &logging::Reload,
    begun: Instant,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("watch for SIGHUP")?;
    let engine = tokio::select! {
        engine = open(options) => engine?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let facts = ServerFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: option_env!("BERTH_GIT_COMMIT").unwrap_or_default().to_owned(),
        build_time: option_env!("BERTH_BUILD_TIME").unwrap_or_default().to_owned(),
    };
    let server = Arc::new(Server::new(Arc::clone(&engine), facts));
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let server = Arc::clone(&server);
        serving.spawn(async move { server.serve(listener).await });
    }
    tracing::info!(milliseconds = elapsed(begun), "the daemon is ready");
    notify::send("READY=1");
    if options.on_demand {
        say_ready()?;
    }

    let mut idle = std::pin::pin!(idle::wait(options, &engine, &server));
    let mut settling = std::pin::pin!(settle::settle(&server));
    loop {
        tokio::select! {
            never = settling.as_mut() => match never {},
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload::reload(options, reload),
            () = idle.as_mut() => {
                tracing::info!("nothing is left to keep");
                // Whoever comes now starts a new daemon, which waits for this one's lock.
                hosts::unlink(&options.hosts);
                server.close();
                let mut connections = server.connections();
                while serving.join_next().await.is_some() {}
                drop(connections.wait_for(|count| *count == 0).await);
                break;
            }
            Some(served) = serving.join_next() => {
                served.context("serve clients")?.context("accept clients")?;
            }
        }
    }
    tracing::info!("the daemon stops; containers go on");
    notify::send("STOPPING=1");
    tokio::select! {
        () = stop(options, &server, &engine) => {}
        _ = terminate.recv() => tracing::warn!("stopped at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

async fn stop(options: &Options, server: &Server, engine: &Arc<Engine>) {
    server.stop(options.shutdown_timeout).await;
    engine.close().await;
}

/// How long a daemon that is started on demand waits for one that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

async fn open(options: &Options) -> anyhow::Result<Arc<Engine>> {
    let begun = Instant::now();
    loop {
        match Engine::open(options.engine()?).await {
            Ok(engine) => return Ok(engine),
            Err(OpenError::InUse { .. }) if options.on_demand && begun.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn elapsed(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Tells the command that waits, and lets go of its pipe.
fn say_ready() -> anyhow::Result<()> {
    // A command that was interrupted does not listen any more.
    let mut output = std::io::stdout();
    drop(output.write_all(crate::on_demand::READY.as_bytes()));
    drop(output.flush());
    let null = std::fs::File::open("/dev/null").context("open \"/dev/null\"")?;
    rustix::stdio::dup2_stdout(&null).context("let go of the standard output")?;
    Ok(())
}
