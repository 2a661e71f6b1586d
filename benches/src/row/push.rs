//! Load, push and save of the image of the row `pull`, from and to a `docker save` archive and docker's registry on loopback.
//!
//! The archive has plain tars, as docker writes them, so a push has to compress all layers. Every push goes to a registry
//! that has nothing of the image, but for the last one: there only one small layer is new.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::{Daemon, RegistryServer, command};

use super::Effort;
use super::pull::{image_directory, timed};
use crate::sample::{ratio, show};
use crate::table::Table;

/// Measures Berth and docker in turn; the best of each is shown.
pub fn measure(effort: Effort) -> Result<Table> {
    let place = Place::create()?;
    let archive = place.directory().join("image.tar");
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet"])
        .arg(format!("oci:{}:gzip", image_directory()?.join("gzip").display()))
        .arg(format!("docker-archive:{}:bench:whole", archive.display()));
    command::run(&mut copy, b"")?.expect(0)?;
    let berth = Daemon::start()?;
    let docker = Dockerd::start()?;
    let mut own: [Vec<Duration>; 4] = Default::default();
    let mut theirs: [Vec<Duration>; 4] = Default::default();
    for _ in 0..effort.of(1, 3) {
        own[0].push(timed(
            berth
                .command(["load", "-q", "-i", &text(&archive)])?
                .stdout(null()),
        )?);
        if let Some(docker) = &docker {
            theirs[0].push(timed(
                docker
                    .command(&["load", "-q", "-i", &text(&archive)])
                    .stdout(null()),
            )?);
        }
        pushes(&mut own, &|arguments| berth.command(arguments))?;
        if let Some(docker) = &docker {
            pushes(&mut theirs, &|arguments| Ok(docker.command(arguments)))?;
        }
        let saved = place.directory().join("saved.tar");
        own[3].push(timed(&mut berth.command([
            "save",
            "-o",
            &text(&saved),
            "bench:whole",
        ])?)?);
        std::fs::remove_file(&saved)?;
        if let Some(docker) = &docker {
            theirs[3].push(timed(&mut docker.command(&[
                "save",
                "-o",
                &text(&saved),
                "bench:whole",
            ]))?);
            std::fs::remove_file(&saved)?;
        }
        clear(&|arguments| berth.command(arguments))?;
        if let Some(docker) = &docker {
            clear(&|arguments| Ok(docker.command(arguments)))?;
        }
    }
    berth.finish()?;
    let mut table = Table::new(
        "Load, push and save of a five-layer Debian image",
        &["what", "berth", "docker", "docker's of berth's"],
    );
    let names = [
        "load of plain tars",
        "push of the whole image, compressing",
        "push of one small layer more",
        "save",
    ];
    for ((name, own), theirs) in names.iter().zip(&own).zip(&theirs) {
        let own = *own.iter().min().context("nothing was measured")?;
        match theirs.iter().min() {
            Some(theirs) => table.row([
                (*name).to_owned(),
                show(own),
                show(*theirs),
                format!("{} ×", ratio(own, *theirs)),
            ]),
            None => table.row([(*name).to_owned(), show(own), "not installed".to_owned()]),
        }
    }
    Ok(table)
}

/// Makes the command line of one engine.
type Engine<'a> = &'a dyn Fn(&[&str]) -> Result<Command>;

/// Pushes the whole image to a registry of its own, then the same with one layer more.
fn pushes(times: &mut [Vec<Duration>; 4], engine: Engine<'_>) -> Result<()> {
    let server = RegistryServer::docker("")?.context("docker-registry is not installed")?;
    let whole = format!("{}/bench:whole", server.address());
    let more = format!("{}/bench:more", server.address());
    done(engine, &["tag", "bench:whole", &whole])?;
    times[1].push(timed(engine(&["push", "-q", &whole])?.stdout(null()))?);
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
    let mut copy = engine(&["cp", "/etc/hostname", "more:/more"])?;
    command::run(&mut copy, b"")?.expect(0)?;
    done(engine, &["commit", "more", &more])?;
    done(engine, &["rm", "more"])?;
    times[2].push(timed(engine(&["push", "-q", &more])?.stdout(null()))?);
    done(engine, &["rmi", &more, &whole])
}

fn clear(engine: Engine<'_>) -> Result<()> {
    done(engine, &["rmi", "bench:whole"])
}

fn done(engine: Engine<'_>, arguments: &[&str]) -> Result<()> {
    command::run(&mut engine(arguments)?, b"")?.expect(0).map(drop)
}

fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}
