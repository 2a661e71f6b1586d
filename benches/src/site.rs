//! An engine with networks, on a host of its own that has one neighbour.
//!
//! ```text
//! machine 198.51.100.2  (the engine, its bridges, its rules) ──── outside 198.51.100.3
//! ```
//!
//! Both are network namespaces, so engines that are measured in one run share neither bridges nor a packet filter.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::lab::{Host, MACHINE, NEIGHBOUR};
use testkit::place::Place;
use testkit::{Daemon, Start, command};

/// An engine and its host.
#[derive(Debug)]
pub struct Site {
    /// The engine's name in a table.
    pub name: &'static str,
    /// Where it runs; it is [`MACHINE`].
    pub machine: Host,
    /// A neighbour of the machine, who knows nothing of the networks on it.
    pub outside: Host,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Berth(Daemon),
    Docker(Dockerd),
}

impl Site {
    /// Starts Berth's daemon.
    pub fn berth() -> Result<Self> {
        let (machine, outside) = hosts()?;
        let start = Start {
            host: Some(machine.clone()),
            ..Start::default()
        };
        Ok(Self {
            name: "berth",
            engine: Engine::Berth(Daemon::start_with(start)?),
            machine,
            outside,
        })
    }

    /// Starts docker's daemon without its proxies; `None` if it is not installed.
    pub fn docker() -> Result<Option<Self>> {
        let (machine, outside) = hosts()?;
        let dockerd = Dockerd::start_on_with(&machine, &["--userland-proxy=false"])?;
        Ok(dockerd.map(|dockerd| Self {
            name: "docker",
            engine: Engine::Docker(dockerd),
            machine,
            outside,
        }))
    }

    /// Starts both, and gives both an image of the tar archive that `archive` makes in an empty directory.
    pub fn both(image: &str, archive: impl FnOnce(&Path) -> Result<std::path::PathBuf>) -> Result<Vec<Self>> {
        let place = Place::create()?;
        let archive = archive(place.directory())?;
        let archive = archive.to_str().context("a path that is no text")?;
        let mut sites = vec![Self::berth()?];
        sites.extend(Self::docker()?);
        for site in &sites {
            site.ok(&["import", archive, image])?;
        }
        Ok(sites)
    }

    /// Returns a command line of the engine.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        match &self.engine {
            Engine::Berth(daemon) => daemon.command(arguments),
            Engine::Docker(dockerd) => Ok(dockerd.command(arguments)),
        }
    }

    /// Runs a command of the engine, which must succeed, and returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        command::run(&mut self.command(arguments)?, b"")?.text()
    }

    /// Starts a container in the background; returns the first process's host and its address on its only network.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Result<(Host, Ipv4Addr)> {
        self.ok(&[&["run", "-d", "--name", name], arguments].concat())?;
        let template = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let facts = self.ok(&["inspect", "-f", template, name])?;
        let (pid, address) = facts.split_once(' ').context("a pid and an address")?;
        Ok((Host::of_process(pid.parse()?, name)?, address.parse()?))
    }

    /// Returns where the engine keeps what is its own.
    pub fn place(&self) -> &Place {
        match &self.engine {
            Engine::Berth(daemon) => daemon.place(),
            Engine::Docker(dockerd) => dockerd.place(),
        }
    }

    /// Returns the daemon's pid.
    pub fn pid(&self) -> Result<u32> {
        match &self.engine {
            Engine::Berth(daemon) => daemon.pid(),
            Engine::Docker(dockerd) => Ok(dockerd.pid()),
        }
    }

    /// Starts Berth's daemon anew; docker's stays.
    pub fn restart(&mut self) -> Result<()> {
        if let Engine::Berth(daemon) = &mut self.engine {
            daemon.terminate()?;
            daemon.launch()?;
        }
        Ok(())
    }

    /// Removes all containers and stops the daemon; fails if Berth has left anything.
    pub fn finish(self) -> Result<()> {
        match self.engine {
            Engine::Berth(daemon) => daemon.finish(),
            Engine::Docker(ref dockerd) => {
                let all = dockerd.docker(&["ps", "-aq"], b"")?.text()?;
                for id in all.lines() {
                    dockerd.docker(&["rm", "-f", id], b"")?.expect(0)?;
                }
                Ok(())
            }
        }
    }
}

fn hosts() -> Result<(Host, Host)> {
    let (machine, outside) = (Host::new("machine")?, Host::new("outside")?);
    machine.wire("uplink", &outside, "uplink")?;
    for (host, address) in [(&machine, MACHINE), (&outside, NEIGHBOUR)] {
        host.ip(&format!("addr add {address}/24 dev uplink"))?;
    }
    Ok((machine, outside))
}
