//! The command line against a daemon that is played by the test: sequences of calls, output, exit codes, terminals.
//!
//! This program is both sides: with `BERTH_TEST_CLI` set it is the command line, otherwise it runs the tests, each of which starts
//! it again. So what is tested is a process with its own standard streams, signals and exit code.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; without libtest clippy does not see that this is one"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() -> ExitCode {
    if std::env::var_os("BERTH_TEST_CLI").is_some() {
        return cli::run(std::env::args_os().skip(1).collect(), &NoDaemon);
    }
    let tests: &[(&str, fn())] = &[
        (
            "run_shows_both_streams_and_returns_the_exit_code",
            run_shows_both_streams_and_returns_the_exit_code,
        ),
        ("run_calls_in_order", run_calls_in_order),
        (
            "run_in_the_background_prints_the_id",
            run_in_the_background_prints_the_id,
        ),
        (
            "run_sends_standard_input_to_its_end",
            run_sends_standard_input_to_its_end,
        ),
        (
            "run_returns_dockers_codes_when_it_cannot_start",
            run_returns_dockers_codes_when_it_cannot_start,
        ),
        (
            "run_waits_for_the_removal_after_a_failed_start",
            run_waits_for_the_removal_after_a_failed_start,
        ),
        ("run_writes_the_id_to_a_new_file", run_writes_the_id_to_a_new_file),
        ("run_passes_signals_on", run_passes_signals_on),
        (
            "run_leaves_by_detach_keys_and_mends_the_terminal",
            run_leaves_by_detach_keys_and_mends_the_terminal,
        ),
        ("exec_returns_the_exit_code", exec_returns_the_exit_code),
        ("a_berth_runs_in_one_call", a_berth_runs_in_one_call),
        ("a_berth_refuses_in_one_call", a_berth_refuses_in_one_call),
        ("a_berth_that_dies_is_told_of", a_berth_that_dies_is_told_of),
        (
            "a_berth_executes_in_one_call_and_takes_input",
            a_berth_executes_in_one_call_and_takes_input,
        ),
        (
            "a_berth_is_told_of_signals_by_docker_s_call",
            a_berth_is_told_of_signals_by_docker_s_call,
        ),
        ("refused_flags_touch_nothing", refused_flags_touch_nothing),
        ("missing_images_say_what_to_do", missing_images_say_what_to_do),
        ("usage_errors_have_dockers_codes", usage_errors_have_dockers_codes),
        ("lists_in_all_formats", lists_in_all_formats),
        (
            "networks_are_spoken_of_as_docker_does",
            networks_are_spoken_of_as_docker_does,
        ),
        (
            "inspect_keeps_order_and_takes_templates",
            inspect_keeps_order_and_takes_templates,
        ),
        ("remove_with_force_forgives", remove_with_force_forgives),
        (
            "logs_end_quietly_when_nobody_reads",
            logs_end_quietly_when_nobody_reads,
        ),
        (
            "older_daemons_are_spoken_to_in_their_version",
            older_daemons_are_spoken_to_in_their_version,
        ),
        (
            "no_daemon_is_an_error_that_names_the_socket",
            no_daemon_is_an_error_that_names_the_socket,
        ),
    ];
    harness(tests)
}

/// Understands as much of libtest's command line as `cargo test` and nextest use.
fn harness(tests: &[(&str, fn())]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut output = std::io::stdout();
    let mut say = |line: String| drop(writeln!(output, "{line}"));
    if has("--list") {
        if !has("--ignored") {
            tests.iter().for_each(|(name, _)| say(format!("{name}: test")));
        }
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| {
        let fits = |filter: &&String| {
            if has("--exact") {
                **filter == name
            } else {
                name.contains(filter.as_str())
            }
        };
        filters.is_empty() || has("--format") || filters.iter().any(fits)
    };
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        match std::panic::catch_unwind(test) {
            Ok(()) => say(format!("test {name} ... ok")),
            Err(_) => {
                failed += 1;
                say(format!("test {name} ... FAILED"));
            }
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

struct NoDaemon;

impl cli::StartDaemon for NoDaemon {
    fn start_daemon(&self, _socket: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("the tests have no daemon".into())
    }
}

/// One request as the fake daemon saw it.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    body: String,
}

/// What the fake daemon answers.
enum Reply {
    /// A status and a body.
    Json(u16, String),
    /// The answer to a ping by a daemon of that version.
    Ping(&'static str),
    /// A body that comes when the flag is raised; the head comes at once.
    Later(Arc<Flag>, String),
    /// A raw stream.
    Hijack(Box<dyn FnOnce(UnixStream) + Send>),
    /// The stream of one of Berth's own calls, with what of the client's came together with the request.
    Session(Box<dyn FnOnce(Vec<u8>, UnixStream) + Send>),
    /// A chunked body, piece by piece until the function or the reader ends.
    Chunks(&'static str, Box<dyn FnMut() -> Option<Vec<u8>> + Send>),
}

/// Something that happens once.
#[derive(Default)]
struct Flag(Mutex<bool>, Condvar);

impl Flag {
    fn raise(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let raised = self.0.lock().unwrap();
        drop(self.1.wait_while(raised, |raised| !*raised).unwrap());
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A daemon that is played by a function.
struct Fake {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("berth-cli-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let log = Arc::clone(&seen);
        drop(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                drop(std::thread::spawn(move || drop(serve(stream, &*handler, &log))));
            }
        }));
        Self { socket, seen }
    }

    /// Returns what was asked, without pings and the version in front.
    fn calls(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let calls = seen.iter().filter(|request| !request.path.ends_with("/_ping"));
        calls
            .map(|request| format!("{} {}", request.method, without_version(&request.path)))
            .collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(arguments)
            .env("BERTH_TEST_CLI", "1")
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env_remove("BERTH_HOST")
            .env_remove("DOCKER_API_VERSION")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.socket));
    }
}

fn without_version(path: &str) -> &str {
    match path.strip_prefix("/v1.") {
        Some(rest) => &rest[rest.find('/').unwrap_or_default()..],
        None => path,
    }
}

/// Speaks HTTP/1.1 on one connection.
fn serve(stream: UnixStream, handler: &Handler, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let (method, path) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        let request = Request { method, path, body };
        let asked = Request {
            path: without_version(&request.path).to_owned(),
            ..request.clone()
        };
        if request.path.starts_with("/berth/") {
            // A daemon without Berth's own calls says so whatever it is asked; then the command goes Docker's way.
            if let Reply::Session(talk) = handler(&asked) {
                log.lock().unwrap().push(request);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.berth.session\r\n\r\n")?;
                talk(reader.buffer().to_vec(), stream);
            } else {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            }
            return Ok(());
        }
        log.lock().unwrap().push(request.clone());
        let reply = handler(&asked);
        match reply {
            Reply::Json(status, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\nApi-Version: 1.50\r\nOstype: linux\r\n");
                if status != 204 {
                    let _infallible = write!(
                        head,
                        "Content-Type: application/json\r\nContent-Length: {}\r\n",
                        body.len()
                    );
                }
                let body = if request.method == "HEAD" || status == 204 {
                    ""
                } else {
                    &body
                };
                stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
            }
            Reply::Ping(version) => {
                stream.write_all(
                    format!("HTTP/1.1 200 OK\r\nApi-Version: {version}\r\nContent-Length: 0\r\n\r\n")
                        .as_bytes(),
                )?;
            }
            Reply::Later(flag, body) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                flag.wait();
                stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes())?;
            }
            Reply::Session(_) => return Ok(()),
            Reply::Hijack(talk) => {
                stream.write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")?;
                talk(stream);
                return Ok(());
            }
            Reply::Chunks(kind, mut next) => {
                stream.write_all(
                    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n")
                        .as_bytes(),
                )?;
                while let Some(chunk) = next() {
                    stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                    stream.write_all(&chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
        }
    }
}

fn json(status: u16, body: &str) -> Reply {
    Reply::Json(status, body.to_owned())
}

fn error(status: u16, message: &str) -> Reply {
    Reply::Json(status, format!("{{\"message\":{message:?}}}"))
}

/// A frame of a multiplexed stream.
fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(text);
    frame
}

/// Plays a container: `talk` gets the attached stream once the container is started; then the wait returns `code`.
fn container(
    code: u8,
    talk: impl Fn(UnixStream) + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply + Send + Sync {
    let (started, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let talk = Arc::new(talk);
    move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let id = format!("/containers/{ID}");
        match path.strip_prefix(&id).unwrap_or(path) {
            "/_ping" => json(200, ""),
            "/containers/create" => {
                Reply::Json(201, format!("{{\"Id\":\"{ID}\",\"Warnings\":[\"careful\"]}}"))
            }
            "/attach" => {
                let (started, ended, talk) = (Arc::clone(&started), Arc::clone(&ended), Arc::clone(&talk));
                Reply::Hijack(Box::new(move |stream| {
                    started.wait();
                    talk(stream);
                    ended.raise();
                }))
            }
            "/wait" => Reply::Later(Arc::clone(&ended), format!("{{\"StatusCode\":{code}}}")),
            "/start" => {
                started.raise();
                json(204, "")
            }
            "/resize" => json(200, ""),
            other => error(404, &format!("no such path: {other}")),
        }
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        stdout(output),
        stderr(output)
    );
}

fn run_shows_both_streams_and_returns_the_exit_code() {
    let fake = Fake::new(container(7, |mut stream| {
        let mut bytes = frame(1, b"out\n");
        bytes.extend(frame(2, b"err\n"));
        bytes.extend(frame(1, &[b'x'; 100_000]));
        // Cut where it hurts.
        for piece in bytes.chunks(4099) {
            stream.write_all(piece).unwrap();
        }
    }));
    let output = fake.run(&["run", "busybox", "true"]);
    assert_code(&output, 7);
    assert_eq!(stdout(&output), format!("out\n{}", "x".repeat(100_000)));
    assert_eq!(stderr(&output), "WARNING: careful\nerr\n");
}

fn run_calls_in_order() {
    let fake = Fake::new(container(0, drop));
    let output = fake.run(&["run", "--rm", "--name", "n", "busybox", "true"]);
    assert_code(&output, 0);
    let mut calls = fake.calls();
    // These two are sent at once.
    calls[1..3].sort();
    assert_eq!(
        calls,
        [
            "POST /containers/create?name=n".to_owned(),
            format!("POST /containers/{ID}/attach?stream=1&stdout=1&stderr=1"),
            format!("POST /containers/{ID}/wait?condition=removed"),
            format!("POST /containers/{ID}/start"),
        ]
    );
    let body = fake.seen.lock().unwrap()[1].body.clone();
    assert!(
        body.contains("\"AutoRemove\":true") && body.contains("\"Cmd\":[\"true\"]"),
        "{body}"
    );
}

fn run_in_the_background_prints_the_id() {
    let fake = Fake::new(container(0, drop));
    let output = fake.run(&["run", "-d", "busybox", "sleep", "1"]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output), format!("{ID}\n"));
    assert_eq!(fake.calls()[1..], [format!("POST /containers/{ID}/start")]);
}

fn run_sends_standard_input_to_its_end() {
    let fake = Fake::new(container(0, |mut stream| {
        let mut input = Vec::new();
        stream.read_to_end(&mut input).unwrap();
        stream.write_all(&frame(1, &input)).unwrap();
    }));
    let mut child = fake
        .command(&["run", "-i", "busybox", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "line\n".repeat(50_000);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert!(stdout(&output) == text, "{} bytes came back", output.stdout.len());
}

fn run_returns_dockers_codes_when_it_cannot_start() {
    for (message, code) in [
        ("exec: \\\"nope\\\": executable file not found in $PATH", 127),
        ("exec: \\\"/etc\\\": permission denied", 126),
        ("something else", 125),
    ] {
        let inner = container(0, drop);
        let fake = Fake::new(move |request| {
            if request.path.ends_with("/start") {
                json(500, &format!("{{\"message\":\"{message}\"}}"))
            } else {
                inner(request)
            }
        });
        let output = fake.run(&["run", "busybox", "nope"]);
        assert_code(&output, code);
        let expected = format!(
            "berth: Error response from daemon: {}\n",
            message.replace('\\', "")
        );
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

fn run_waits_for_the_removal_after_a_failed_start() {
    let removed = Arc::new(Flag::default());
    let flag = Arc::clone(&removed);
    let inner = container(0, drop);
    let fake = Fake::new(
        move |request| match request.path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/start") => {
                flag.raise();
                error(500, "no")
            }
            path if path.ends_with("/wait") => {
                Reply::Later(Arc::clone(&flag), "{\"StatusCode\":0}".to_owned())
            }
            _ => inner(request),
        },
    );
    assert_code(&fake.run(&["run", "--rm", "busybox"]), 125);
    removed.wait();
}

fn run_writes_the_id_to_a_new_file() {
    let path = std::env::temp_dir().join(format!("berth-cli-{}.cid", std::process::id()));
    let fake = Fake::new(container(0, drop));
    let arguments = ["run", "-d", "--cidfile", path.to_str().unwrap(), "busybox"];
    assert_code(&fake.run(&arguments), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ID);
    let again = fake.run(&arguments);
    std::fs::remove_file(&path).unwrap();
    assert_code(&again, 125);
    assert!(
        stderr(&again).contains("container ID file found"),
        "{}",
        stderr(&again)
    );
}

fn run_passes_signals_on() {
    let (ready, killed) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let (on_ready, on_killed) = (Arc::clone(&ready), Arc::clone(&killed));
    let inner = container(143, move |mut stream| {
        stream.write_all(&frame(1, b"up\n")).unwrap();
        on_ready.wait();
    });
    let fake = Fake::new(move |request| {
        if request.path.contains("/kill?signal=TERM") {
            on_killed.raise();
            return json(204, "");
        }
        inner(request)
    });
    let mut child: Child = fake
        .command(&["run", "busybox"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    killed.wait();
    ready.raise();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Opens a terminal: the user's end and the program's.
fn open_terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let program = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (user, program)
}

fn run_leaves_by_detach_keys_and_mends_the_terminal() {
    let left = Arc::new(Flag::default());
    let on_left = Arc::clone(&left);
    let fake = Fake::new(container(0, move |mut stream| {
        stream.write_all(b"$ ").unwrap();
        let mut typed = [0; 2];
        stream.read_exact(&mut typed).unwrap();
        stream.write_all(&typed).unwrap();
        on_left.wait();
    }));
    let (user, program) = open_terminal();
    let size = rustix::termios::Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&user, size).unwrap();
    let before = rustix::termios::tcgetattr(&program).unwrap();
    let end = || Stdio::from(program.try_clone().unwrap());
    let mut child = fake
        .command(&["run", "-it", "busybox"])
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut screen = std::fs::File::from(user.try_clone().unwrap());
    let mut read_until = |wanted: &str| {
        let mut text = String::new();
        while !text.ends_with(wanted) {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
    };
    read_until("$ ");
    let raw = rustix::termios::tcgetattr(&program).unwrap();
    assert_ne!(raw.local_modes, before.local_modes, "the terminal is raw");
    rustix::io::write(user.as_fd(), b"hi").unwrap();
    read_until("hi");
    rustix::io::write(user.as_fd(), &[16, 17]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    left.raise();
    let after = rustix::termios::tcgetattr(&program).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    let resize = format!("POST /containers/{ID}/resize?h=24&w=80");
    assert!(fake.calls().contains(&resize), "{:?}", fake.calls());
}

fn exec_returns_the_exit_code() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/_ping" => json(200, ""),
        "/containers/x/exec" => json(201, "{\"Id\":\"e1\"}"),
        "/exec/e1/start" => Reply::Hijack(Box::new(|mut stream| {
            stream.write_all(&frame(2, b"sh: no\n")).unwrap();
        })),
        "/exec/e1/json" => json(200, "{\"ExitCode\":127,\"Running\":false}"),
        other => error(404, other),
    });
    let output = fake.run(&["exec", "-e", "A=b", "-w", "/tmp", "x", "nope"]);
    assert_code(&output, 127);
    assert_eq!((stdout(&output), stderr(&output)), ("", "sh: no\n"));
    let body: serde_json::Value = serde_json::from_str(&fake.seen.lock().unwrap()[1].body).unwrap();
    assert_eq!(body["Cmd"], serde_json::json!(["nope"]));
    assert_eq!(body["Env"], serde_json::json!(["A=b"]));
    assert_eq!(
        (&body["AttachStdin"], &body["AttachStdout"]),
        (&false.into(), &true.into())
    );
}

fn refused_flags_touch_nothing() {
    let fake = Fake::new(|_| error(500, "nothing may be asked"));
    for (arguments, named) in [
        (&["run", "--gpus", "all", "x"][..], "--gpus"),
        (&["run", "--health-cmd", "true", "x"], "--health-cmd"),
        (&["--tls", "ps"], "--tls"),
        (&["build", "."], "build"),
        (&["swarm", "join"], "swarm join"),
    ] {
        let output = fake.run(arguments);
        assert_code(&output, 125);
        assert!(
            stderr(&output).contains(named),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
    assert!(fake.seen.lock().unwrap().is_empty());
}

fn missing_images_say_what_to_do() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/_ping" => json(200, ""),
        _ => error(404, "No such image: nope:latest"),
    });
    let output = fake.run(&["run", "nope"]);
    assert_code(&output, 125);
    assert!(
        stderr(&output).starts_with("Unable to find image 'nope:latest' locally\n"),
        "{}",
        stderr(&output)
    );
    let output = fake.run(&["run", "--pull=never", "nope"]);
    assert_code(&output, 125);
    assert!(stderr(&output).starts_with("berth: Error response from daemon: No such image: nope:latest\n"));
    assert_code(&fake.run(&["create", "--pull=never", "nope"]), 1);
}

const STARTED: u8 = 16;
const REFUSED: u8 = 17;
const ENDED: u8 = 18;

/// Answers Berth's own calls with these frames.
fn berth(frames: &[(u8, &str)]) -> impl Fn(&Request) -> Reply + Send + Sync + use<> {
    let frames: Vec<u8> = frames
        .iter()
        .flat_map(|(kind, content)| frame(*kind, content.as_bytes()))
        .collect();
    move |request| {
        assert!(request.path.starts_with("/berth/"), "{}", request.path);
        let frames = frames.clone();
        Reply::Session(Box::new(move |_, mut stream| {
            for piece in frames.chunks(5) {
                stream.write_all(piece).unwrap();
            }
        }))
    }
}

fn a_berth_runs_in_one_call() {
    let started = format!("{{\"Id\":\"{ID}\",\"Warnings\":[\"careful\"]}}");
    let fake = Fake::new(berth(&[
        (STARTED, &started),
        (1, "out\n"),
        (2, "err\n"),
        (ENDED, "{\"StatusCode\":7}"),
    ]));
    let file = std::env::temp_dir().join(format!("berth-cli-{}-direct.cid", std::process::id()));
    let cid = format!("--cidfile={}", file.display());
    let output = fake.run(&["run", "--rm", "--name", "n", &cid, "busybox", "true"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ID);
    std::fs::remove_file(&file).unwrap();
    assert_code(&output, 7);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("out\n", "WARNING: careful\nerr\n")
    );
    assert_eq!(fake.calls(), ["POST /berth/run"]);
    let body: serde_json::Value = serde_json::from_str(&fake.seen.lock().unwrap()[0].body).unwrap();
    assert_eq!(body["Name"], "n");
    assert_eq!(body["Container"]["Image"], "busybox");
    assert_eq!(body["Container"]["HostConfig"]["AutoRemove"], true);
    assert_eq!((&body["Stdin"], &body["Stdout"]), (&false.into(), &true.into()));

    let detached = fake.run(&["run", "-d", "busybox"]);
    assert_code(&detached, 0);
    assert_eq!(stdout(&detached), format!("{ID}\n"));
}

fn a_berth_refuses_in_one_call() {
    let refused = "{\"Id\":\"x\",\"Status\":400,\"Message\":\"exec: \\\"y\\\": permission denied\"}";
    let fake = Fake::new(berth(&[(REFUSED, refused)]));
    let output = fake.run(&["run", "busybox", "y"]);
    assert_code(&output, 126);
    assert!(
        stderr(&output).starts_with("berth: Error response from daemon: exec: \"y\": permission denied\n"),
        "{}",
        stderr(&output)
    );
}

fn a_berth_that_dies_is_told_of() {
    let fake = Fake::new(berth(&[(STARTED, "{\"Id\":\"x\"}"), (1, "half")]));
    let output = fake.run(&["run", "busybox"]);
    assert_code(&output, 125);
    assert_eq!(stdout(&output), "half");
    assert!(
        stderr(&output).contains("the daemon went away"),
        "{}",
        stderr(&output)
    );
    let rubbish = Fake::new(berth(&[(STARTED, "{\"Id\":\"x\"}"), (b'?', "half")]));
    let output = rubbish.run(&["run", "busybox"]);
    assert_code(&output, 125);
    assert!(stderr(&output).contains("makes no sense"), "{}", stderr(&output));
}

fn a_berth_executes_in_one_call_and_takes_input() {
    let fake = Fake::new(|request| {
        assert_eq!(request.path, "/berth/containers/c%2F1/exec");
        Reply::Session(Box::new(|mut input, mut stream| {
            stream.read_to_end(&mut input).unwrap();
            stream.write_all(&frame(1, &input)).unwrap();
            stream.write_all(&frame(ENDED, b"{\"StatusCode\":3}")).unwrap();
        }))
    });
    let mut child = fake
        .command(&["exec", "-i", "c/1", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = vec![b'x'; 300_000];
    input.write_all(&text).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 3);
    assert!(output.stdout == text);
}

fn a_berth_is_told_of_signals_by_docker_s_call() {
    let ended = Arc::new(Flag::default());
    let fake = Fake::new(move |request| {
        let ended = Arc::clone(&ended);
        if request.path.ends_with("/kill?signal=TERM") {
            assert!(request.path.contains(ID));
            ended.raise();
            return json(204, "");
        }
        Reply::Session(Box::new(move |_, mut stream| {
            let started = format!("{{\"Id\":\"{ID}\"}}");
            stream.write_all(&frame(STARTED, started.as_bytes())).unwrap();
            stream.write_all(&frame(1, b"ready\n")).unwrap();
            ended.wait();
            stream.write_all(&frame(ENDED, b"{\"StatusCode\":143}")).unwrap();
        }))
    });
    let mut child = fake
        .command(&["run", "busybox"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

fn usage_errors_have_dockers_codes() {
    let fake = Fake::new(|_| error(500, "nothing may be asked"));
    for (arguments, code, text) in [
        (
            &["run", "--bogus", "x"][..],
            125,
            "unknown flag: --bogus\n\nUsage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'berth run --help' for more information\n",
        ),
        (
            &["run"],
            1,
            "berth: 'berth run' requires at least 1 argument\n\nUsage:  berth run ",
        ),
        (&["ps", "x"], 1, "berth: 'berth ps' accepts no arguments\n"),
        (&["stop", "-t"], 125, "flag needs an argument: 't' in -t\n"),
        (&["bogus"], 1, "berth: unknown command: berth bogus\n"),
        (
            &["container", "bogus"],
            125,
            "berth: unknown command: berth container bogus\n",
        ),
        (
            &["run", "-m", "x", "y"],
            125,
            "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'\n",
        ),
    ] {
        let output = fake.run(arguments);
        assert_code(&output, code);
        assert!(
            stderr(&output).starts_with(text),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["help", "ps"],
        &["volume"],
        &["--version"],
    ] {
        let output = fake.run(arguments);
        assert_code(&output, 0);
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
    assert!(fake.seen.lock().unwrap().is_empty());
}

/// Requests and output as docker 28.2.2 had them for the same answers.
fn networks_are_spoken_of_as_docker_does() {
    let answer = |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.method.as_str(), path) {
            (_, "/_ping") => json(200, ""),
            (_, "/networks/create") => json(201, "{\"Id\":\"d00d\",\"Warning\":\"careful\"}"),
            (_, "/networks/prune") => json(200, "{\"NetworksDeleted\":[\"a\",\"b\"]}"),
            (_, "/containers/prune") => json(200, "{\"ContainersDeleted\":[\"c1\"],\"SpaceReclaimed\":5}"),
            (_, "/images/prune") => json(
                200,
                "{\"ImagesDeleted\":[{\"Untagged\":\"u\"}],\"SpaceReclaimed\":5}",
            ),
            ("GET", "/networks/x") => json(200, "{\"Name\":\"x\",\"Ingress\":false}"),
            ("DELETE", "/networks/x") | ("POST", "/networks/x/connect" | "/networks/x/disconnect") => {
                json(200, "")
            }
            ("DELETE", "/networks/act") => error(403, "network act has active endpoints"),
            (_, other) => error(
                404,
                &format!("network {} not found", other.trim_start_matches("/networks/")),
            ),
        }
    };
    for (arguments, code, out, err, calls) in [
        (
            &["network", "create", "n"][..],
            0,
            "d00d\n",
            "WARNING: careful\n",
            &["POST /networks/create"][..],
        ),
        (
            &["network", "rm", "x", "miss", "act"],
            1,
            "x\n",
            "Error response from daemon: network miss not found\n\
            Error response from daemon: network act has active endpoints\n",
            &[
                "DELETE /networks/x",
                "DELETE /networks/miss",
                "DELETE /networks/act",
            ],
        ),
        (
            &["network", "rm", "-f", "x", "miss"],
            0,
            "x\n",
            "",
            &["DELETE /networks/x", "DELETE /networks/miss"],
        ),
        (
            &["network", "rm", ""],
            1,
            "",
            "invalid network name or ID: value is empty\n",
            &[],
        ),
        (
            &["network", "prune", "-f", "--filter", "label=a"],
            0,
            "Deleted Networks:\na\nb\n\n",
            "",
            &["POST /networks/prune?filters=%7B%22label%22%3A%7B%22a%22%3Atrue%7D%7D"],
        ),
        (
            &["network", "connect", "x", "c"],
            0,
            "",
            "",
            &["POST /networks/x/connect"],
        ),
        (
            &["network", "disconnect", "-f", "x", "c"],
            0,
            "",
            "",
            &["POST /networks/x/disconnect"],
        ),
        (
            &["network", "inspect", "-v", "-f", "{{.Name}}", "x"],
            0,
            "x\n",
            "",
            &["GET /networks/x?verbose=true"],
        ),
        (
            &["inspect", "--type", "network", "-f", "{{.Ingress}}", "x"],
            0,
            "false\n",
            "",
            &["GET /networks/x"],
        ),
        (
            &["system", "prune", "-f"],
            0,
            "Deleted Containers:\nc1\n\nDeleted Networks:\na\nb\n\nDeleted Images:\nuntagged: u\n\n\
            Total reclaimed space: 10B\n",
            "",
            &[
                "POST /containers/prune",
                "POST /networks/prune",
                "POST /images/prune?filters=%7B%22dangling%22%3A%7B%22true%22%3Atrue%7D%7D",
            ],
        ),
    ] {
        let fake = Fake::new(answer);
        let output = fake.run(arguments);
        assert_code(&output, code);
        assert_eq!((stdout(&output), stderr(&output)), (out, err), "{arguments:?}");
        assert_eq!(fake.calls(), calls, "{arguments:?}");
    }
}

fn lists_in_all_formats() {
    let fake = Fake::new(
        |request| match request.path.split('?').next().unwrap_or_default() {
            "/_ping" => json(200, ""),
            "/containers/json" => Reply::Json(
                200,
                format!(
                    "[{{\"Id\":\"{ID}\",\"Names\":[\"/web\"],\"Image\":\"busybox\",\"Command\":\"sleep 1\",\"Created\":1,\
                 \"State\":\"running\",\"Status\":\"Up 3 seconds\",\"Labels\":{{\"a\":\"b\"}}}}]"
                ),
            ),
            other => error(404, other),
        },
    );
    let output = fake.run(&[
        "ps",
        "-a",
        "--filter",
        "name=web",
        "--format",
        "table {{.ID}}\t{{.Names}}\t{{.Status}}",
    ]);
    assert_code(&output, 0);
    assert_eq!(
        stdout(&output),
        "CONTAINER ID   NAMES     STATUS\n0123456789ab   web       Up 3 seconds\n"
    );
    assert_eq!(
        fake.calls(),
        ["GET /containers/json?all=1&filters=%7B%22name%22%3A%7B%22web%22%3Atrue%7D%7D"]
    );
    assert_eq!(stdout(&fake.run(&["ps", "-q", "--no-trunc"])), format!("{ID}\n"));
    assert_eq!(
        stdout(&fake.run(&["ps", "--format", "{{.Label \"a\"}} {{.State}}"])),
        "b running\n"
    );
    let parsed: serde_json::Value =
        serde_json::from_str(stdout(&fake.run(&["ps", "--format", "json"]))).unwrap();
    assert_eq!(parsed["Names"], "web");
    let output = fake.run(&["container", "ls"]);
    let text = stdout(&output);
    assert!(
        text.starts_with(
            "CONTAINER ID   IMAGE     COMMAND     CREATED        STATUS         PORTS     NAMES\n"
        ),
        "{text}"
    );
}

fn inspect_keeps_order_and_takes_templates() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/_ping" => json(200, ""),
        "/containers/x/json" => json(
            200,
            "{\"Id\":\"1\",\"Alpha\":[],\"State\":{\"Pid\":42,\"Running\":true},\"Args\":[\"a\",\"b\"]}",
        ),
        "/images/img/json" => json(200, "{\"Id\":\"sha256:2\"}"),
        _ => error(404, "No such thing"),
    });
    let output = fake.run(&["inspect", "x"]);
    assert_eq!(
        stdout(&output),
        "[\n    {\n        \"Id\": \"1\",\n        \"Alpha\": [],\n        \"State\": {\n            \"Pid\": 42,\n            \
         \"Running\": true\n        },\n        \"Args\": [\n            \"a\",\n            \"b\"\n        ]\n    }\n]\n"
    );
    let output = fake.run(&[
        "inspect",
        "-f",
        "{{.State.Pid}} {{join .Args \"+\"}}{{if .State.Health}}h{{end}}",
        "x",
    ]);
    assert_eq!(stdout(&output), "42 a+b\n");
    let output = fake.run(&["inspect", "nope", "img"]);
    assert_code(&output, 1);
    assert_eq!(
        stdout(&output),
        "[\n    {\n        \"Id\": \"sha256:2\"\n    }\n]\n"
    );
    assert_eq!(stderr(&output), "Error: No such object: nope\n");
    assert_code(&fake.run(&["inspect", "-f", "{{.Nope}}", "x"]), 1);
}

fn remove_with_force_forgives() {
    let fake = Fake::new(|request| match (request.method.as_str(), request.path.as_str()) {
        ("HEAD", _) => json(200, ""),
        (_, "/containers/a" | "/containers/a?v=1&force=1") => json(204, ""),
        _ => error(404, "No such container: b"),
    });
    let output = fake.run(&["rm", "a", "b"]);
    assert_code(&output, 1);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("a\n", "Error response from daemon: No such container: b\n")
    );
    let output = fake.run(&["rm", "-vf", "a", "b"]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output), "a\n");
}

fn logs_end_quietly_when_nobody_reads() {
    let fake = Fake::new(
        |request| match request.path.split('?').next().unwrap_or_default() {
            "/_ping" => json(200, ""),
            "/containers/x/logs" => Reply::Chunks(
                "application/vnd.docker.multiplexed-stream",
                Box::new(|| Some(frame(1, b"again and again\n"))),
            ),
            other => error(404, other),
        },
    );
    let mut child = fake
        .command(&["logs", "-f", "x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    // The reader is gone now.
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!((line.as_str(), stderr(&output)), ("again and again\n", ""));
}

fn older_daemons_are_spoken_to_in_their_version() {
    for (theirs, used) in [("1.41", "/v1.41/"), ("1.99", "/v1.50/")] {
        let fake = Fake::new(move |request| match request.path.as_str() {
            "/_ping" => Reply::Ping(theirs),
            _ => json(200, "[]"),
        });
        assert_code(&fake.run(&["ps"]), 0);
        let path = fake.seen.lock().unwrap()[1].path.clone();
        assert!(path.starts_with(used), "{path}");
    }
    let fake = Fake::new(|_| Reply::Ping("1.12"));
    let output = fake.run(&["ps"]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("1.12"), "{}", stderr(&output));
    let fake = Fake::new(|_| json(200, "[]"));
    let output = fake
        .command(&["ps"])
        .env("DOCKER_API_VERSION", "1.30")
        .output()
        .unwrap();
    assert_code(&output, 0);
    assert_eq!(fake.seen.lock().unwrap()[0].path, "/v1.30/containers/json");
}

fn no_daemon_is_an_error_that_names_the_socket() {
    let fake = Fake::new(|_| error(500, "never"));
    let output = fake.run(&["-H", "unix:///nowhere/x.sock", "ps"]);
    assert_code(&output, 1);
    assert!(
        stderr(&output).contains("unix:///nowhere/x.sock"),
        "{}",
        stderr(&output)
    );
    assert_code(&fake.run(&["-H", "unix:///nowhere/x.sock", "run", "x"]), 125);
}
