//! Push of the image of the row `pull` to docker's registry on loopback.
//!
//! The image comes from an archive with plain tars, so a push has to compress all layers. Every push goes to a registry
//! that has nothing of the image, but for the last one: there only one small layer is new.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::{Daemon, RegistryServer};

use super::Effort;
use super::archive::{Engine, compared, done, load, write_archive};
use super::pull::timed;
use crate::table::Table;

/// Measures Berth and docker in turn; the best of each is shown.
pub fn measure(effort: Effort) -> Result<Table> {
    let place = Place::create()?;
    let archive = write_archive(place.directory())?;
    let berth = Daemon::start()?;
    let docker = Dockerd::start()?;
    let mut own: [Vec<Duration>; 2] = Default::default();
    let mut theirs: [Vec<Duration>; 2] = Default::default();
    for _ in 0..effort.of(1, 3) {
        let engine: Engine<'_> = &|arguments| berth.command(arguments);
        load(&archive, engine)?;
        pushes(&mut own, engine)?;
        if let Some(docker) = &docker {
            let engine: Engine<'_> = &|arguments| Ok(docker.command(arguments));
            load(&archive, engine)?;
            pushes(&mut theirs, engine)?;
        }
    }
    berth.finish()?;
    compared(
        "Push of a five-layer Debian image",
        &[
            "push of the whole image, compressing",
            "push of one small layer more",
        ],
        &own,
        &theirs,
    )
}

/// Pushes the whole image to a registry of its own, then the same with one layer more, and removes both.
fn pushes(times: &mut [Vec<Duration>; 2], engine: Engine<'_>) -> Result<()> {
    let server = RegistryServer::docker("")?.context("docker-registry is not installed")?;
    let whole = format!("{}/bench:whole", server.address());
    let more = format!("{}/bench:more", server.address());
    done(engine, &["tag", "bench:whole", &whole])?;
    times[0].push(timed(engine(&["push", "-q", &whole])?.stdout(Stdio::null()))?);
    done(
        engine,
        &[
            "create",
            "--network",
            "none",
            "--name",
            "more",
            "bench:whole",
            "true",
        ],
    )?;
    done(engine, &["cp", "/etc/hostname", "more:/more"])?;
    done(engine, &["commit", "more", &more])?;
    done(engine, &["rm", "more"])?;
    times[1].push(timed(engine(&["push", "-q", &more])?.stdout(Stdio::null()))?);
    done(engine, &["rmi", &more, &whole, "bench:whole"])
}
