//! `system check`: everything that is kept, read again and compared with what it should be; and mended, if asked for.
//!
//! ```text
//! what is read                       is compared with                 is mended by
//! the index of images                its own digest (at start)        its copy (at start)
//! blobs                              their names                      setting them aside, pulling again
//! unpacked layers, every file        the layer's tar, unpacked again  putting the new tree in its place
//! what is recorded of snapshots      the container's record           writing it again
//! records                            their types (at start)           quarantine (at start)
//! ```
//!
//! What a container wrote, and what is in volumes, is theirs: no one else knows what it should be.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::error::chain;
use image::BlobDamage;
use oci::{ChainId, Reference};
use registry::client::Credentials;
use storage::{Base, LayerSource};
use tokio::sync::mpsc;

use crate::Engine;
use crate::container::{Container, snapshot_options};
use crate::image::{ImageError, PullRequest, blocking, pull, step};

/// What to check, and whether to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckMode {
    /// Read only.
    Report,
    /// Mend what can be mended.
    Repair,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many blobs were read.
    pub blobs: u64,
    /// How many unpacked layers were compared.
    pub layers: u64,
    /// How many containers were looked at.
    pub containers: u64,
    /// Each damaged object.
    pub damage: Vec<Damage>,
}

/// A damaged object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `image`, `blob`, `layer`, `container`, `store` or `record`.
    pub kind: &'static str,
    /// Its name: a digest, a chain id, a container's id, a file.
    pub object: String,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// The images that need it, by name or id.
    pub images: Vec<String>,
    /// The containers that need it, by id.
    pub containers: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a damaged object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was found.
    Damaged,
    /// It is whole again.
    Repaired,
    /// It could not be mended here; the text says why, and what would help.
    Failed(String),
}

/// Checks everything; takes as long as reading all of it, and unpacking every layer once more. One check at a time.
pub async fn check(engine: &Arc<Engine>, mode: CheckMode) -> Result<CheckReport, ImageError> {
    let _one = engine.checking.lock().await;
    let mut report = CheckReport::default();
    report_start(engine, mode, &mut report);
    blobs(engine, mode, &mut report).await?;
    layers(engine, mode, &mut report).await?;
    snapshots(engine, mode, &mut report).await?;
    if mode == CheckMode::Repair {
        let worker = Arc::clone(engine);
        blocking("tidy up after the check", move || {
            worker.images.forget_gone();
            let used = used_layers(&worker);
            let released = worker.storage.release_set_aside(&|layer| used.contains(layer));
            released.map_err(|error| step("remove what was replaced", error))
        })
        .await?;
    }
    Ok(report)
}

/// What was found, and dealt with, when the daemon started: told once, and kept until somebody repairs.
fn report_start(engine: &Engine, mode: CheckMode, report: &mut CheckReport) {
    let mut found = engine
        .found_at_start
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report.damage.extend(found.iter().cloned());
    if mode == CheckMode::Repair {
        found.clear();
    }
}

async fn blobs(engine: &Arc<Engine>, mode: CheckMode, report: &mut CheckReport) -> Result<(), ImageError> {
    let found = check_blobs(engine).await?;
    report.blobs = found.checked;
    let damage = |found: &BlobDamage, outcome| Damage {
        kind: "blob",
        object: found.digest.to_string(),
        problems: vec![format!("{} {}", found.role, found.problem)],
        images: found.images.clone(),
        containers: Vec::new(),
        outcome,
    };
    if mode == CheckMode::Report || found.damage.is_empty() {
        let all = found.damage.iter().map(|found| damage(found, Outcome::Damaged));
        report.damage.extend(all);
        report_images(engine, report).await?;
        return Ok(());
    }
    let mut sources = BTreeSet::new();
    for one in &found.damage {
        let (worker, digest) = (Arc::clone(engine), one.digest.clone());
        blocking("set a damaged blob aside", move || {
            let aside = worker.images.set_aside(&digest);
            aside.map_err(|error| step("set a damaged blob aside", error))
        })
        .await?;
        sources.extend(one.sources.iter().cloned());
    }
    let mut reasons = Vec::new();
    for source in sources {
        if let Err(error) = pull_again(engine, &source).await {
            reasons.push(format!("{source}: {}", chain(&error)));
        }
    }
    // What came with the images makes others whole as well.
    let worker = Arc::clone(engine);
    blocking("look at damaged images again", move || {
        let reclaimed = worker.images.reclaim();
        reclaimed.map_err(|error| step("look at damaged images again", error))
    })
    .await?;
    let left: BTreeSet<_> = check_blobs(engine)
        .await?
        .damage
        .into_iter()
        .map(|damage| damage.digest)
        .collect();
    for one in &found.damage {
        let outcome = if !left.contains(&one.digest) {
            Outcome::Repaired
        } else if one.sources.is_empty() {
            Outcome::Failed("no registry is known that has it: load or pull the image again".to_owned())
        } else {
            Outcome::Failed(format!("pull the image again ({})", reasons.join("; ")))
        };
        report.damage.push(damage(one, outcome));
    }
    report_images(engine, report).await
}

/// Names images that are left out because their documents are damaged, unless a damaged blob names them already.
async fn report_images(engine: &Arc<Engine>, report: &mut CheckReport) -> Result<(), ImageError> {
    let worker = Arc::clone(engine);
    let problems = blocking("look at damaged images again", move || {
        let reclaimed = worker.images.reclaim();
        reclaimed.map_err(|error| step("look at damaged images again", error))
    })
    .await?;
    for problem in problems {
        let digest = problem
            .manifest
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        report.damage.push(Damage {
            kind: "image",
            object: problem.name.clone().unwrap_or_else(|| digest.clone()),
            problems: vec![problem.problem],
            images: problem.name.into_iter().collect(),
            containers: Vec::new(),
            outcome: Outcome::Failed("pull or load the image again".to_owned()),
        });
    }
    Ok(())
}

async fn check_blobs(engine: &Arc<Engine>) -> Result<image::BlobReport, ImageError> {
    let worker = Arc::clone(engine);
    blocking("read the blobs", move || {
        let found = worker.images.check();
        found.map_err(|error| step("read the blobs", error))
    })
    .await
}

/// Pulls what an image was pulled as: what is here and sound is not fetched again.
async fn pull_again(engine: &Arc<Engine>, source: &Reference) -> Result<(), ImageError> {
    let request = PullRequest {
        name: source.to_string(),
        tag: String::new(),
        platform: None,
        credentials: Credentials::Anonymous,
    };
    let (sender, mut receiver) = mpsc::channel(64);
    let drain = async { while receiver.recv().await.is_some() {} };
    let (pulled, ()) = tokio::join!(pull(engine, request, sender), drain);
    pulled
}

async fn layers(engine: &Arc<Engine>, mode: CheckMode, report: &mut CheckReport) -> Result<(), ImageError> {
    let worker = Arc::clone(engine);
    let (checked, damage) = blocking("check the layers", move || Ok(check_layers(&worker, mode))).await?;
    report.layers = checked;
    report.damage.extend(damage);
    Ok(())
}

/// Compares each layer that is unpacked, the lowest first: the others stand on it.
fn check_layers(engine: &Engine, mode: CheckMode) -> (u64, Vec<Damage>) {
    let used = used_layers(engine);
    let (mut checked, mut all) = (0, Vec::new());
    let mut broken: BTreeSet<ChainId> = BTreeSet::new();
    for (layer, images) in engine.images.layers() {
        let is_there = engine.storage.has_layer(&layer.chain_id).unwrap_or(true);
        // A layer that is not unpacked is unpacked when it is needed; a container needs it now.
        if !is_there && !used.contains(&layer.chain_id) {
            continue;
        }
        checked += 1;
        let below = layer.parent.as_ref().filter(|below| broken.contains(below));
        let (problems, outcome) = if below.is_some() && engine.storage.needs_parent() {
            (
                vec!["the layer below is damaged".to_owned()],
                Outcome::Failed("it cannot be checked".to_owned()),
            )
        } else {
            check_layer(engine, mode, &layer)
        };
        if problems.is_empty() {
            continue;
        }
        if outcome != Outcome::Repaired {
            broken.insert(layer.chain_id.clone());
        }
        all.push(Damage {
            kind: "layer",
            object: layer.chain_id.to_string(),
            problems,
            images,
            containers: users(engine, &layer.chain_id),
            outcome,
        });
    }
    (checked, all)
}

fn check_layer(engine: &Engine, mode: CheckMode, layer: &image::Layer) -> (Vec<String>, Outcome) {
    let failed = |problem: String| {
        (
            vec![problem],
            Outcome::Failed("its blob is needed first".to_owned()),
        )
    };
    let tar = match engine.images.open_layer(layer) {
        Ok(tar) => tar,
        Err(error) => return failed(format!("it cannot be checked: {}", chain(&error))),
    };
    let source = LayerSource {
        chain_id: &layer.chain_id,
        parent: layer.parent.as_ref(),
        diff_id: &layer.diff_id,
    };
    let check = match storage::check_layer(&*engine.storage, &source, tar) {
        Ok(check) => check,
        Err(error) => return failed(format!("it cannot be checked: {}", chain(&error))),
    };
    let problems = check.problems();
    if problems.is_empty() || mode == CheckMode::Report {
        return (problems, Outcome::Damaged);
    }
    match check.repair(&*engine.storage) {
        Ok(()) => (problems, Outcome::Repaired),
        Err(error) => (problems, Outcome::Failed(chain(&error).to_string())),
    }
}

async fn snapshots(
    engine: &Arc<Engine>,
    mode: CheckMode,
    report: &mut CheckReport,
) -> Result<(), ImageError> {
    let worker = Arc::clone(engine);
    let (checked, damage) = blocking("check the containers", move || {
        let mut all = Vec::new();
        let containers = worker.registry.all();
        for container in &containers {
            all.extend(check_snapshot(&worker, mode, container));
        }
        Ok((containers.len(), all))
    })
    .await?;
    report.containers = u64::try_from(checked).unwrap_or(u64::MAX);
    report.damage.extend(damage);
    Ok(())
}

fn check_snapshot(engine: &Engine, mode: CheckMode, container: &Container) -> Option<Damage> {
    let record = container.record();
    let base = match &record.host.rootfs {
        // The directory itself is the root file system.
        Some(rootfs) if !rootfs.overlay => return None,
        Some(rootfs) => Base::Directory(&rootfs.path),
        None => Base::Layers(&record.layers),
    };
    let options = snapshot_options(&record);
    let checked = engine.storage.check_snapshot(&container.id, &base, &options);
    let problems = checked.unwrap_or_else(|error| vec![chain(&error).to_string()]);
    if problems.is_empty() {
        return None;
    }
    let outcome = match mode {
        CheckMode::Report => Outcome::Damaged,
        CheckMode::Repair => match engine.storage.repair_snapshot(&container.id, &base, &options) {
            Ok(()) => Outcome::Repaired,
            Err(error) => Outcome::Failed(format!(
                "what it wrote is gone, remove the container ({})",
                chain(&error)
            )),
        },
    };
    Some(Damage {
        kind: "container",
        object: container.id.to_string(),
        problems,
        images: Vec::new(),
        containers: vec![container.id.to_string()],
        outcome,
    })
}

/// Returns the layers on which containers stand.
fn used_layers(engine: &Engine) -> BTreeSet<ChainId> {
    let containers = engine.registry.all();
    containers
        .iter()
        .flat_map(|container| container.record().layers.clone())
        .collect()
}

fn users(engine: &Engine, layer: &ChainId) -> Vec<String> {
    let containers = engine.registry.all();
    let stand_on = containers
        .iter()
        .filter(|container| container.record().layers.contains(layer));
    stand_on.map(|container| container.id.to_string()).collect()
}
