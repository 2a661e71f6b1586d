//! How each engine is set up and called. Each gets the same program, static busybox, and says `None` where it is not
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::dockerd::Dockerd;
use testkit::place::Place;
use testkit::{Daemon, binary, command};

use crate::runner::{Hierarchies, Line};

/// What every subject runs.
const PROGRAM: [&str; 2] = ["/bin/busybox", "true"];

/// One engine and its command line for one whole run of [`PROGRAM`].
#[derive(Debug)]
pub struct Subject {
    /// Its name in the table.
    pub name: String,
    /// The command that is timed.
    pub line: Line,
    /// Where it must run.
    pub hierarchies: Hierarchies,
    /// How many of its runs are one turn of the others: 1 for fast engines, more where one run takes long.
    pub every: usize,
}

/// The directory, image and daemons of one comparison.
#[derive(Debug)]
pub struct Bench {
    /// Berth, the release build.
    pub berth: Daemon,
    /// docker, if installed.
    pub docker: Option<Dockerd>,
    place: Place,
}

impl Bench {
    /// Starts the daemons that `docker` asks for and gives them their image.
    pub fn set_up(docker: bool) -> Result<Self> {
        let place = Place::create()?;
        // User namespaces other than the machine's must be able to walk to the root file systems.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o755))?;
        testkit::image::busybox_tree(&place.directory().join("rootfs"))?;
        let berth = Daemon::start()?;
        berth.ok(&["image", "pack", "-t", "busybox", testkit::image::busybox()?])?;
        let docker = if docker { Dockerd::start()? } else { None };
        let bench = Self { berth, docker, place };
        if let Some(docker) = &bench.docker {
            docker
                .docker(&["import", &bench.tar()?, "busybox"], b"")?
                .expect(0)?;
        }
        Ok(bench)
    }

    /// Returns a directory for what a row makes.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    fn rootfs(&self) -> PathBuf {
        self.directory().join("rootfs")
    }

    fn tar(&self) -> Result<String> {
        let archive = self.directory().join("rootfs.tar");
        if !archive.exists() {
            let mut tar = Command::new("tar");
            tar.arg("--create")
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(self.rootfs())
                .arg(".");
            command::run(&mut tar, b"")?.expect(0)?;
        }
        Ok(archive.to_string_lossy().into_owned())
    }

    /// The floor program with the given optional namespaces.
    pub fn floor(&self, name: &str, flags: &[&str]) -> Result<Subject> {
        let own = std::env::current_exe().context("find this program")?;
        let program = own.with_file_name("floor");
        let rootfs = self.rootfs();
        let mut words = vec![text(&program), "--rootfs".into(), text(&rootfs)];
        words.extend(["--scratch".into(), text(self.directory())]);
        words.extend(flags.iter().map(|&flag| flag.to_owned()));
        words.extend(["--".into()]);
        words.extend(PROGRAM.map(str::to_owned));
        Ok(subject(name, Line::new(words), 1))
    }

    /// `berth run`, daemon warm, the whole process of the command line.
    pub fn berth_run(&self, flags: &[&str]) -> Result<Subject> {
        let arguments = [
            &["run", "--rm", "--network", "none"],
            flags,
            &["busybox"],
            &PROGRAM,
        ]
        .concat();
        Ok(subject("berth", Line::of(&self.berth.command(arguments)?), 1))
    }

    /// `docker run` of the machine's docker.
    pub fn docker_run(&self) -> Option<Subject> {
        let arguments = [&["run", "--rm", "--network", "none", "busybox"], &PROGRAM[..]].concat();
        let line = Line::of(&self.docker.as_ref()?.command(&arguments));
        Some(subject("docker", line, 10))
    }

    /// `podman run` of an imported image, if podman is installed.
    pub fn podman_run(&self) -> Result<Option<Subject>> {
        let Some(podman) = binary::find("podman") else {
            return Ok(None);
        };
        let mut global = vec![text(&podman)];
        let run = self.place.exec_root();
        for (flag, directory) in [
            ("--root", self.directory().join("pr")),
            ("--runroot", run.join("prr")),
            ("--tmpdir", run.join("pt")),
        ] {
            global.extend([flag.to_owned(), text(&directory)]);
        }
        global.extend(["--cgroup-manager", "cgroupfs", "--events-backend", "none"].map(str::to_owned));
        if binary::has("runc") {
            // Debian's crun refuses hybrid cgroups.
            global.extend(["--runtime", "runc"].map(str::to_owned));
        }
        let mut import = Command::new(&global[0]);
        import
            .args(&global[1..])
            .args(["import", &self.tar()?, "busybox"]);
        command::run(&mut import, b"")?
            .expect(0)
            .context("podman import")?;
        let mut words = global;
        words.extend(["run", "--rm", "--network", "none"].map(str::to_owned));
        // podman's own limits cannot be set without CAP_SYS_RESOURCE.
        words.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"].map(str::to_owned));
        words.push("--cgroup-parent".into());
        words.push(self.place.cgroup_parent());
        words.push("busybox".into());
        words.extend(PROGRAM.map(str::to_owned));
        Ok(Some(subject("podman", Line::new(words), 10)))
    }

    /// `crun run` or `runc run` of a bare bundle: no image, no network, no log, no daemon.
    pub fn bundle_run(&self, runtime: &str, users: Users) -> Result<Option<Subject>> {
        let Some(program) = binary::find(runtime) else {
            return Ok(None);
        };
        let (label, hierarchies) = match runtime {
            "crun" => ("crun", Hierarchies::WithoutUnified),
            other => (other, Hierarchies::AsTheyAre),
        };
        let name = match users {
            Users::Own => format!("{label}, user namespace"),
            Users::Host => label.to_owned(),
        };
        let bundle = self.directory().join(format!("{runtime}-{users:?}"));
        std::fs::create_dir(&bundle)?;
        write_bundle(
            &program,
            &bundle,
            &self.rootfs(),
            &self.place.cgroup_parent(),
            users,
        )?;
        let state = self.place.exec_root().join(format!("{runtime}-state"));
        let words = [
            text(&program),
            "--root".into(),
            text(&state),
            "run".into(),
            "--bundle".into(),
            text(&bundle),
            format!("bench-{users:?}").to_lowercase(),
        ];
        let mut subject = subject(&name, Line::new(words), 2);
        subject.hierarchies = hierarchies;
        Ok(Some(subject))
    }

    /// Stops everything and fails if Berth left anything.
    pub fn finish(self) -> Result<()> {
        let Self { berth, docker, place } = self;
        drop(docker);
        let left = testkit::residue::remove(&place)?;
        if !left.is_empty() {
            anyhow::bail!("the peers left {}", left.join(", "));
        }
        berth.finish()
    }
}

/// Whether a bundle has a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// 65,536 ids, as Berth's containers have.
    Own,
    /// The host's ids.
    Host,
}

fn write_bundle(
    runtime: &Path,
    bundle: &Path,
    rootfs: &Path,
    cgroup_parent: &str,
    users: Users,
) -> Result<()> {
    command::run(Command::new(runtime).arg("spec").current_dir(bundle), b"")?.expect(0)?;
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(PROGRAM);
    config["root"] = serde_json::json!({ "path": rootfs, "readonly": true });
    config["linux"]["cgroupsPath"] = format!("{cgroup_parent}/{users:?}").into();
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount", "cgroup"];
    if users == Users::Own {
        namespaces.push("user");
        let map = serde_json::json!([{ "containerID": 0, "hostID": 0x2000_0000, "size": 65_536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    }
    config["linux"]["namespaces"] = namespaces
        .iter()
        .map(|kind| serde_json::json!({ "type": kind }))
        .collect();
    std::fs::remove_file(&file)?;
    testkit::image::put(&file, &config.to_string())
}

fn subject(name: &str, line: Line, every: usize) -> Subject {
    Subject {
        name: name.to_owned(),
        line,
        hierarchies: Hierarchies::AsTheyAre,
        every,
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
