//! Pull and unpack of a five-layer Debian image from docker's registry on loopback.
//!
//! The image is made once by `benches/image/layers.sh DIR` and `layouts.py DIR`; `BERTH_BENCH_IMAGE` names the directory,
//! `/tmp/bench-image` by default. Before each pull the engine has nothing of the image, all that was written is synced and
//! the disks have been left alone for a second; the registry's blobs are in the page cache. The floor has no registry: it
//! inflates and untars the same blobs, two at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::{Daemon, RegistryServer, command, has};

use super::Effort;
use crate::sample::{ratio, show};
use crate::table::Table;

/// Measures Berth, docker, podman and the floor in turn; the best of each is shown.
pub fn measure(effort: Effort) -> Result<Table> {
    let image = image_directory()?;
    let server = RegistryServer::docker("")?.context("docker-registry is not installed")?;
    for tag in ["gzip", "gzip-changed", "zstd"] {
        publish(&image, &server, tag)?;
    }
    let subjects = Subjects {
        place: Place::create()?,
        berth: Daemon::start()?,
        docker: Dockerd::start()?,
        address: server.address().to_owned(),
        image,
    };
    let mut times: [Vec<Duration>; ROWS] = Default::default();
    let before = peak_memory(subjects.berth.pid()?)?;
    for turn in 0..effort.of(1, 3) {
        // What one has written may still cost the next one something: none is always behind the same.
        for at in (0..ROWS).map(|at| (at + 4 * turn) % ROWS) {
            let took = match at {
                0 => Some(subjects.berth("gzip")?),
                1 => subjects.docker("gzip")?,
                2 => subjects.podman("gzip")?,
                3 => Some(subjects.floor("gzip")?),
                4 => Some(subjects.berth("zstd")?),
                5 => subjects.podman("zstd")?,
                _ => Some(subjects.berth_changed()?),
            };
            times[at].extend(took);
        }
    }
    let after = peak_memory(subjects.berth.pid()?)?;
    let mut table = Table::new(
        "Pull of a five-layer Debian image from loopback",
        &["what", "best", "of berth's gzip"],
    );
    let best = |at: usize| times[at].iter().min().copied();
    let own = best(0).context("nothing was measured")?;
    let names = [
        "berth, gzip",
        "docker, gzip",
        "podman, gzip",
        "floor, gzip: inflate and untar, two at a time",
        "berth, zstd",
        "podman, zstd",
        "berth, gzip, the fifth layer only",
    ];
    for (at, name) in names.iter().enumerate() {
        match best(at) {
            Some(time) => table.row([(*name).to_owned(), show(time), format!("{} ×", ratio(own, time))]),
            None => table.row([*name, "not installed"]),
        }
    }
    table.row([
        "memory of berth's daemon".to_owned(),
        format!("+ {} MiB at most", after.saturating_sub(before) >> 10),
    ]);
    subjects.berth.finish()?;
    Ok(table)
}

/// What is measured in each turn.
const ROWS: usize = 7;

/// Returns where the image is.
pub(super) fn image_directory() -> Result<PathBuf> {
    let image = std::env::var_os("BERTH_BENCH_IMAGE")
        .map_or_else(|| PathBuf::from("/tmp/bench-image"), PathBuf::from);
    if !image.join("gzip/index.json").exists() {
        bail!(
            "no image in {}: make it with benches/image/layers.sh and layouts.py",
            image.display()
        );
    }
    Ok(image)
}

fn publish(image: &Path, server: &RegistryServer, tag: &str) -> Result<()> {
    let layout = image.join(tag.trim_end_matches("-changed"));
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:{tag}", layout.display()))
        .arg(format!("docker://{}/bench:{tag}", server.address()));
    command::run(&mut copy, b"")?.expect(0)?;
    Ok(())
}

struct Subjects {
    place: Place,
    berth: Daemon,
    docker: Option<Dockerd>,
    address: String,
    image: PathBuf,
}

impl Subjects {
    fn name(&self, tag: &str) -> String {
        format!("{}/bench:{tag}", self.address)
    }

    fn berth(&self, tag: &str) -> Result<Duration> {
        let name = self.name(tag);
        let took = timed(&mut self.berth.command(["pull", "-q", &name])?)?;
        self.berth.ok(&["rmi", &name])?;
        Ok(took)
    }

    /// Pulls the image with another fifth layer when the first one is there.
    fn berth_changed(&self) -> Result<Duration> {
        let (name, changed) = (self.name("gzip"), self.name("gzip-changed"));
        self.berth.ok(&["pull", "-q", &name])?;
        let took = timed(&mut self.berth.command(["pull", "-q", &changed])?)?;
        self.berth.ok(&["rmi", &name, &changed])?;
        Ok(took)
    }

    fn docker(&self, tag: &str) -> Result<Option<Duration>> {
        let Some(docker) = &self.docker else {
            return Ok(None);
        };
        let name = self.name(tag);
        let took = timed(&mut docker.command(&["pull", "-q", &name]))?;
        docker.docker(&["rmi", &name], b"")?.expect(0)?;
        Ok(Some(took))
    }

    fn podman(&self, tag: &str) -> Result<Option<Duration>> {
        if !has("podman") {
            return Ok(None);
        }
        let podman = |arguments: &[&str]| {
            let mut command = Command::new("podman");
            command
                .arg("--root")
                .arg(self.place.directory().join("podman"))
                .arg("--runroot")
                .arg(self.place.directory().join("podman-run"))
                .args(["--storage-driver", "overlay"])
                .args(arguments);
            command
        };
        let name = self.name(tag);
        let took = timed(&mut podman(&["pull", "-q", "--tls-verify=false", &name]))?;
        command::run(&mut podman(&["rmi", &name]), b"")?.expect(0)?;
        Ok(Some(took))
    }

    fn floor(&self, tag: &str) -> Result<Duration> {
        let directory = self.place.directory().join("floor");
        std::fs::create_dir(&directory)?;
        let inflate = if has("igzip") { "igzip" } else { "gzip" };
        // The five largest blobs of the layout are the layers.
        let script = format!(
            "ls -S {}/blobs/sha256/* | head -5 | xargs -P 2 -n 1 sh -c \
             'd=$(mktemp -d -p \"$0\") && {inflate} -d -c \"$1\" | tar --extract --numeric-owner --directory \"$d\"' {}",
            self.image.join(tag).display(),
            directory.display()
        );
        let took = timed(Command::new("sh").args(["-c", &script]))?;
        let mut remove = Command::new("rm");
        command::run(remove.arg("-rf").arg(&directory), b"")?.expect(0)?;
        Ok(took)
    }
}

/// Runs a command to its end, once everything is on the disks and they rest.
pub(super) fn timed(command: &mut Command) -> Result<Duration> {
    command::run_within(&mut Command::new("sync"), b"", PATIENCE)?.expect(0)?;
    rest()?;
    let start = Instant::now();
    command::run_within(command, b"", PATIENCE)?.expect(0)?;
    Ok(start.elapsed())
}

/// Waits until no disk was written to for a second: removed files are discarded and logs written back after a sync.
fn rest() -> Result<()> {
    let begin = Instant::now();
    let mut before = written()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = written()?;
        if now == before || begin.elapsed() > PATIENCE {
            return Ok(());
        }
        before = now;
    }
}

/// Returns how many writes and discards all disks have ended and have begun (Documentation/admin-guide/iostats.rst).
fn written() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/diskstats").context("read /proc/diskstats")?;
    let counts = text.lines().flat_map(|line| {
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(3)
            .map_while(|field| field.parse().ok())
            .collect();
        // Ended writes, those in flight, ended discards.
        [4, 8, 11].map(|at| fields.get(at).copied().unwrap_or_default())
    });
    Ok(counts.sum())
}

/// How long a whole image may take on its way.
const PATIENCE: Duration = Duration::from_secs(300);

/// Returns the most memory that a process ever had, in KiB.
fn peak_memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line
        .and_then(|line| line.trim().split(' ').next())
        .context("no VmHWM")?;
    number.parse().context("VmHWM is no number")
}
