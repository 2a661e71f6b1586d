//! One layer on its way, for all pulls that want it.
//!
//! ```text
//! waiting ─▶ downloading and extracting at once ─▶ waiting for the layer below ─▶ shown
//!    └──────────────┴── nobody wants it any more, or it failed ──▶ failed
//! ```

use std::sync::Arc;

use oci::image::Descriptor;
use oci::{ChainId, Digest};
use registry::client::Repository;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fetch::{self, Fetched};
use super::progress::LayerState;
use super::{PullError, Puller};

/// A layer that an image wants.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The blob.
    pub(super) blob: Descriptor,
    /// The digest of the uncompressed tar.
    pub(super) diff_id: Digest,
    /// The layer's name.
    pub(super) chain_id: ChainId,
    /// The layer below.
    pub(super) parent: Option<ChainId>,
}

/// A layer on its way. It is given up when the last one who wants it drops it.
#[derive(Debug)]
pub(super) struct Job {
    present: watch::Receiver<Present>,
    total: u64,
    _wanted: DropGuard,
}

/// How far a layer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Present {
    /// Whether it has its turn.
    pub(super) has_begun: bool,
    /// Seconds until the next try, while it waits for one.
    pub(super) retry: Option<u64>,
    /// Bytes of the blob that came.
    pub(super) downloaded: u64,
    /// Bytes of the blob that were unpacked.
    pub(super) extracted: u64,
    /// The size of its files, or why there is none.
    pub(super) result: Option<Result<u64, Arc<PullError>>>,
}

/// What makes a layer come. A job whose work is dropped has failed.
#[derive(Debug)]
pub(super) struct Work {
    plan: Plan,
    below: Option<watch::Receiver<Present>>,
    told: watch::Sender<Present>,
    given_up: CancellationToken,
}

/// Begins what makes layers come, as many at a time as the puller allows. Where a layer needs none below it, the largest
/// come first: what is left at the end has the processors for itself, and should be small.
pub(super) async fn begin(puller: Arc<Puller>, repository: Repository, mut all: Vec<Work>) {
    let in_any_order = !puller.sink.needs_parent();
    if in_any_order {
        all.sort_by_key(|work| std::cmp::Reverse(work.plan.blob.size));
    }
    for work in all {
        let permit = if in_any_order {
            puller.permit().await.ok()
        } else {
            None
        };
        tokio::spawn(work.go_on(Arc::clone(&puller), repository.clone(), permit));
    }
}

impl Work {
    async fn go_on(self, puller: Arc<Puller>, repository: Repository, permit: Option<OwnedSemaphorePermit>) {
        let work = run(&puller, &repository, &self.plan, self.below, permit, &self.told);
        let result = tokio::select! {
            biased;
            () = self.given_up.cancelled() => Err(PullError::Cancelled),
            result = work => result,
        };
        self.told
            .send_modify(|present| present.result = Some(result.map_err(Arc::new)));
    }
}

impl Job {
    /// Returns the job of a layer, and its work; `below` is the job of the layer below, unless that one is there.
    pub(super) fn new(plan: Plan, below: Option<&Self>) -> (Arc<Self>, Work) {
        let (told, present) = watch::channel(Present::default());
        let given_up = CancellationToken::new();
        let job = Arc::new(Self {
            present,
            total: plan.blob.size,
            _wanted: given_up.clone().drop_guard(),
        });
        let work = Work {
            plan,
            below: below.map(|below| below.present.clone()),
            told,
            given_up,
        };
        (job, work)
    }

    /// Returns the size of the layer's files when it is shown.
    pub(super) async fn finished(&self) -> Result<u64, PullError> {
        result(&mut self.present.clone()).await
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.present.borrow().result, Some(Err(_)))
    }

    pub(super) fn state(&self) -> LayerState {
        let present = self.present.borrow();
        let total = self.total;
        match &*present {
            Present { has_begun: false, .. } => LayerState::Waiting,
            Present {
                retry: Some(seconds), ..
            } => LayerState::Retrying { seconds: *seconds },
            Present { downloaded, .. } if *downloaded < total => LayerState::Downloading {
                current: *downloaded,
                total,
            },
            Present { extracted, .. } => LayerState::Extracting {
                current: *extracted,
                total,
            },
        }
    }
}

async fn result(present: &mut watch::Receiver<Present>) -> Result<u64, PullError> {
    let finished = present.wait_for(|present| present.result.is_some()).await;
    match finished.ok().and_then(|present| present.result.clone()) {
        Some(Ok(size)) => Ok(size),
        Some(Err(error)) => Err(PullError::Shared(error)),
        // Its task vanished: the daemon ends.
        None => Err(PullError::Cancelled),
    }
}

async fn run(
    puller: &Arc<Puller>,
    repository: &Repository,
    plan: &Plan,
    mut below: Option<watch::Receiver<Present>>,
    permit: Option<OwnedSemaphorePermit>,
    told: &watch::Sender<Present>,
) -> Result<u64, PullError> {
    if puller.sink.needs_parent()
        && let Some(below) = &mut below
    {
        result(below).await?;
    }
    let permit = match permit {
        Some(permit) => permit,
        None => puller.permit().await?,
    };
    let lock = puller.blob_lock(&plan.blob.digest).lock_owned().await;
    told.send_modify(|present| present.has_begun = true);
    let fetched = fetch::layer(puller, repository, plan, told, Arc::new(lock)).await?;
    // Others may go on: what is left needs no registry, and may take as long as the layers below need.
    drop(permit);
    if let Some(below) = &mut below {
        result(below).await?;
    }
    match fetched {
        Fetched::There { size } => Ok(size),
        Fetched::Staged(staged) => {
            let plan = plan.clone();
            let showing = tokio::task::spawn_blocking(move || {
                let size = staged.size();
                staged
                    .show(&plan.chain_id, plan.parent.as_ref(), &plan.diff_id)
                    .map(|()| size)
            });
            Ok(showing.await.map_err(PullError::task)??)
        }
    }
}
