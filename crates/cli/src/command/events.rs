//! `events`: shows what happens, as it happens.

use api_types::event::Event;
use base::clock::Timestamp;
use client::EventsOptions;

use crate::command::{FILTER, filters};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one};
use crate::format::template::{Program, from_json};
use crate::format::text::harmless;
use crate::format::time::parse_moment;
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["system", "events"],
    aliases: &[&["events"]],
    usage: "[OPTIONS]",
    about: "Show events as they happen",
    flags: &[&[
        FILTER.short('f'),
        one(
            "format",
            "string",
            "Format of the output: 'json' or 'TEMPLATE' (a Go template)",
        ),
        one("since", "string", "From that time on"),
        one("until", "string", "Up to that time"),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let moment = |flag: &str| parse_moment(arguments.text(flag), now).map_err(Failure::message);
    let options = EventsOptions {
        since: moment("since")?,
        until: moment("until")?,
        filters: filters(arguments),
    };
    let program = match arguments.text("format") {
        "" => None,
        "json" => Some(Program::parse("{{json .}}")?),
        template => Some(Program::parse(template)?),
    };
    let client = session.connect().await?;
    let mut events = client.events(&options).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        match &program {
            None => output::out_line(&line(&event))?,
            Some(program) => {
                let mut value = serde_json::to_value(&event)
                    .map_err(|error| Failure::message(format!("format the event: {error}")))?;
                spell_for_go(&mut value, &event);
                output::out_line(&program.execute(&from_json(&value))?)?;
            }
        }
    }
    Ok(0)
}

/// Docker's templates know these fields by the names of Go's struct.
fn spell_for_go(value: &mut serde_json::Value, event: &Event) {
    let Some(map) = value.as_object_mut() else { return };
    for (name, text) in [
        ("Status", &event.status),
        ("ID", &event.id),
        ("From", &event.from),
        ("Scope", &event.scope),
    ] {
        map.insert(name.to_owned(), text.as_str().into());
    }
    map.insert("Time".to_owned(), event.time.into());
    map.insert("TimeNano".to_owned(), event.time_nano.into());
}

/// Returns `TIME TYPE ACTION ID (NAME=VALUE, …)`.
fn line(event: &Event) -> String {
    let nanos = if event.time_nano != 0 {
        event.time_nano
    } else {
        event.time.saturating_mul(1_000_000_000)
    };
    let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
    let time = Timestamp::from_unix(nanos.div_euclid(1_000_000_000), fraction);
    let mut text = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes = event
            .actor
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        text.push_str(&format!(" ({})", attributes.collect::<Vec<_>>().join(", ")));
    }
    harmless(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::event::Actor;

    #[test]
    fn a_line_for_each_event() {
        let event = Event {
            kind: "container".to_owned(),
            action: "start".to_owned(),
            actor: Actor {
                id: "abc".to_owned(),
                attributes: [("image", "x"), ("name", "n")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            },
            time: 1,
            time_nano: 1_500_000_000,
            ..Event::default()
        };
        assert_eq!(
            line(&event),
            "1970-01-01T00:00:01.500000000Z container start abc (image=x, name=n)"
        );
    }
}
