//! A registry of a test's own: `berth registry serve`, or the machine's `docker-registry` to compare with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::place::Place;
use crate::{binary, command, wait};

/// A running (or killed) registry; dropping it ends it and removes what it made.
#[derive(Debug)]
pub struct RegistryServer {
    place: Place,
    kind: Kind,
    process: Option<Child>,
    /// `127.0.0.1:PORT`; stays when it is started again.
    address: String,
    environment: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Berth(Vec<String>),
    Docker(PathBuf),
}

impl RegistryServer {
    /// Starts Berth's on a free port, with more arguments.
    pub fn berth(arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut registry = Self::prepare(Kind::Berth(arguments))?;
        registry.launch()?;
        Ok(registry)
    }

    /// Starts docker's on a free port, with more lines of configuration; `None` when the machine has none.
    pub fn docker(configuration: &str) -> Result<Option<Self>> {
        let Some(program) = binary::find("docker-registry") else {
            return Ok(None);
        };
        let mut registry = Self::prepare(Kind::Docker(program))?;
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
             http: {{addr: 127.0.0.1:0}}\n{configuration}",
            registry.root().display()
        );
        crate::image::put(&registry.place.directory().join("config.yml"), &text)?;
        registry.launch()?;
        Ok(Some(registry))
    }

    fn prepare(kind: Kind) -> Result<Self> {
        Ok(Self {
            place: Place::create()?,
            kind,
            process: None,
            address: "127.0.0.1:0".to_owned(),
            environment: Vec::new(),
        })
    }

    /// Starts it (again) and waits until it listens, at the address that it had.
    pub fn launch(&mut self) -> Result<()> {
        let before = self.log().len();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.place.log())
            .context("open the registry's log")?;
        let mut command = match &self.kind {
            Kind::Berth(arguments) => {
                let mut command = Command::new(binary::berth()?);
                command
                    .args(["registry", "serve", "--addr", &self.address, "--root"])
                    .arg(self.root())
                    .args(arguments);
                command
            }
            Kind::Docker(program) => {
                let mut command = Command::new(program);
                command
                    .arg("serve")
                    .arg(self.place.directory().join("config.yml"));
                command.env("REGISTRY_HTTP_ADDR", &self.address);
                command
            }
        };
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("BERTH_TEST_PLACE", self.place.directory())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(command.spawn().context("start the registry")?);
        let mut address = None;
        wait::until("the registry to listen", Duration::from_secs(20), || {
            let text = self.log();
            address = text.get(before..).and_then(listening);
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("the registry ended at once: {status}\n{text}");
            }
            Ok(address.is_some())
        })?;
        self.address = address.unwrap_or_default();
        Ok(())
    }

    /// Changes the arguments of Berth's registry for the next launch.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.kind = Kind::Berth(arguments.iter().map(|&argument| argument.to_owned()).collect());
    }

    /// Changes the environment of the next launch.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns a directory for what a test makes.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// Returns where the registry keeps its content.
    pub fn root(&self) -> PathBuf {
        self.place.directory().join("registry")
    }

    /// Returns what it has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.place.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns its process.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().context("kill the registry")?;
            process.wait()?;
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Result<i32> {
        let Some(mut process) = self.process.take() else {
            bail!("the registry does not run");
        };
        command::wait(&mut process, "registry")
    }

    /// Asks it to end; returns its exit code.
    pub fn stop(&mut self) -> Result<i32> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        rustix::process::kill_process(pid.context("the registry does not run")?, signal)?;
        Ok(())
    }

    /// Sends one request and reads the answer to its end.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).context("connect to the registry")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.address
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream
            .write_all(format!("{head}\r\n").as_bytes())
            .context("send")?;
        // A server may refuse a body without reading it.
        let sent = stream.write_all(body);
        let mut bytes = Vec::new();
        let received = stream.read_to_end(&mut bytes);
        match Answer::parse(&bytes) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                sent.context("send")?;
                received.context("receive")?;
                Err(error)
            }
        }
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            drop(self.signal(Signal::TERM));
            drop(self.wait());
        }
    }
}

/// Finds the address in `… listening on http://127.0.0.1:5000` and `… msg="listening on 127.0.0.1:5000" …`.
fn listening(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("listening on ")?;
    let rest = rest
        .split_once("://")
        .map_or(rest, |(scheme, after)| match scheme {
            "http" | "https" => after,
            _ => rest,
        });
    let end =
        rest.find(|character: char| character == '"' || character == ',' || character.is_whitespace())?;
    Some(rest[..end].to_owned())
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines.
    pub head: String,
    /// The body as it came; short if the server cut it off.
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let split = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .context("an answer without a head")?;
        let head = std::str::from_utf8(&bytes[..split]).context("a head that is not UTF-8")?;
        let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Self {
            status: status.with_context(|| format!("status line \"{line}\""))?,
            head: head.to_owned(),
            body: bytes[split + 4..].to_vec(),
        })
    }

    /// Fails unless the status is `status`.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!(
                "status {} instead of {status}\n{}\n\n{}",
                self.status,
                self.head,
                self.text()
            );
        }
        Ok(self)
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// Returns the code of the first error in the body.
    pub fn code(&self) -> String {
        let document = self.json().unwrap_or_default();
        document["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_logs() {
        for (log, expected) in [
            ("x listening on http://127.0.0.1:5\n", Some("127.0.0.1:5")),
            ("t msg=\"listening on 127.0.0.1:6\" a=b\n", Some("127.0.0.1:6")),
            ("nothing", None),
            ("listening on http://127", None),
        ] {
            assert_eq!(listening(log).as_deref(), expected, "{log}");
        }
    }
}
