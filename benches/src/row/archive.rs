//! Load and save of the image of the row `pull`, from and to a `docker save` archive with plain tars, as docker writes them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::{Daemon, command};

use super::Effort;
use super::pull::{image_directory, timed};
use crate::sample::{ratio, show};
use crate::table::Table;

/// Makes the command line of one engine.
pub(super) type Engine<'a> = &'a dyn Fn(&[&str]) -> Result<Command>;

/// Measures Berth and docker in turn; the best of each is shown.
pub fn measure(effort: Effort) -> Result<Table> {
    let place = Place::create()?;
    let archive = write_archive(place.directory())?;
    let saved = place.directory().join("saved.tar");
    let berth = Daemon::start()?;
    let docker = Dockerd::start()?;
    let mut own: [Vec<Duration>; 2] = Default::default();
    let mut theirs: [Vec<Duration>; 2] = Default::default();
    for _ in 0..effort.of(1, 3) {
        turn(&mut own, &archive, &saved, &|arguments| berth.command(arguments))?;
        if let Some(docker) = &docker {
            turn(&mut theirs, &archive, &saved, &|arguments| {
                Ok(docker.command(arguments))
            })?;
        }
    }
    berth.finish()?;
    compared(
        "Load and save of a five-layer Debian image",
        &["load of plain tars", "save"],
        &own,
        &theirs,
    )
}

/// Loads the archive, saves the image again and removes it.
fn turn(times: &mut [Vec<Duration>; 2], archive: &Path, saved: &Path, engine: Engine<'_>) -> Result<()> {
    times[0].push(load(archive, engine)?);
    times[1].push(timed(&mut engine(&["save", "-o", &text(saved), "bench:whole"])?)?);
    std::fs::remove_file(saved)?;
    done(engine, &["rmi", "bench:whole"])
}

/// Writes the image with the name `bench:whole` as an archive below `directory`.
pub(super) fn write_archive(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("image.tar");
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet"])
        .arg(format!("oci:{}:gzip", image_directory()?.join("gzip").display()))
        .arg(format!("docker-archive:{}:bench:whole", archive.display()));
    command::run(&mut copy, b"")?.expect(0)?;
    Ok(archive)
}

/// Loads the archive; returns how long that took.
pub(super) fn load(archive: &Path, engine: Engine<'_>) -> Result<Duration> {
    timed(engine(&["load", "-q", "-i", &text(archive)])?.stdout(Stdio::null()))
}

/// Runs a command that is not timed.
pub(super) fn done(engine: Engine<'_>, arguments: &[&str]) -> Result<()> {
    command::run(&mut engine(arguments)?, b"")?.expect(0).map(drop)
}

/// Makes the table of what Berth and docker took: one column of `own` and `theirs` for each name.
pub(super) fn compared(
    title: &str,
    names: &[&str],
    own: &[Vec<Duration>],
    theirs: &[Vec<Duration>],
) -> Result<Table> {
    let mut table = Table::new(title, &["what", "berth", "docker", "docker's of berth's"]);
    for ((name, own), theirs) in names.iter().zip(own).zip(theirs) {
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

fn text(path: &Path) -> String {
    path.display().to_string()
}
