//! `system check`: reads again everything that the daemon keeps, names what is damaged, and mends it. Berth's own.

use api_types::system::{SystemCheck, SystemDamage};

use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["system", "check"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Read everything that is kept again, and name what is damaged",
    flags: &[&[switch(
        "repair",
        "Mend it: unpack layers again, pull again what images lack",
    )]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

/// Succeeds when nothing is damaged, or everything that was is whole again.
async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let report = client
        .check_system(arguments.switch("repair"))
        .await
        .map_err(|error| Failure::message(describe(&error)))?;
    output::out(&text(&report))?;
    Ok(u8::from(report.damage.iter().any(is_damaged)))
}

fn is_damaged(damage: &SystemDamage) -> bool {
    damage.outcome != "repaired"
}

fn text(report: &SystemCheck) -> String {
    let mut text = String::new();
    for damage in &report.damage {
        text += &format!("{}: {} {}\n", damage.outcome, damage.kind, damage.object);
        for problem in &damage.problems {
            text += &format!("    {problem}\n");
        }
        for (what, names) in [("images", &damage.images), ("containers", &damage.containers)] {
            if !names.is_empty() {
                text += &format!("    {what}: {}\n", names.join(", "));
            }
        }
        if !damage.reason.is_empty() {
            text += &format!("    {}\n", damage.reason);
        }
    }
    let left = report.damage.iter().filter(|damage| is_damaged(damage)).count();
    text += &format!(
        "Checked {} blobs, {} layers, {} containers: {left} damaged, {} repaired\n",
        report.blobs,
        report.layers,
        report.containers,
        report.damage.len() - left
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_with_those_who_need_it() {
        let damage = SystemDamage {
            kind: "layer".to_owned(),
            object: "sha256:00".to_owned(),
            problems: vec!["\"bin/x\" has another content".to_owned()],
            images: vec!["a:1".to_owned(), "b:2".to_owned()],
            outcome: "failed".to_owned(),
            reason: "its blob is needed first".to_owned(),
            ..SystemDamage::default()
        };
        let report = SystemCheck {
            blobs: 3,
            layers: 1,
            damage: vec![
                damage.clone(),
                SystemDamage {
                    outcome: "repaired".to_owned(),
                    ..damage
                },
            ],
            ..SystemCheck::default()
        };
        let text = text(&report);
        assert!(text.starts_with(
            "failed: layer sha256:00\n    \"bin/x\" has another content\n    images: a:1, b:2\n    its blob is needed first\n"
        ));
        assert!(text.ends_with("Checked 3 blobs, 1 layers, 0 containers: 1 damaged, 1 repaired\n"));
    }
}
