//! `POST /system/check`, Berth's own: `?repair=1` mends what can be mended.

use api_types::system::{SystemCheck, SystemDamage};
use engine::check::{CheckMode, Damage, Outcome};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn check(call: Call) -> Result<Reply, ApiError> {
    let mode = if call.query.flag("repair") {
        CheckMode::Repair
    } else {
        CheckMode::Report
    };
    let report = engine::check::check(call.engine(), mode).await?;
    Ok(reply::ok(&SystemCheck {
        blobs: report.blobs,
        layers: report.layers,
        containers: report.containers,
        damage: report.damage.into_iter().map(to_api).collect(),
    }))
}

fn to_api(damage: Damage) -> SystemDamage {
    let (outcome, reason) = match damage.outcome {
        Outcome::Damaged => ("damaged", String::new()),
        Outcome::Repaired => ("repaired", String::new()),
        Outcome::Failed(reason) => ("failed", reason),
    };
    SystemDamage {
        kind: damage.kind.to_owned(),
        object: damage.object,
        problems: damage.problems,
        images: damage.images,
        containers: damage.containers,
        outcome: outcome.to_owned(),
        reason,
    }
}
