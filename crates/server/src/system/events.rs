//! `GET /events`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::event::{Actor, Event};
use bytes::Bytes;
use engine::system::EventKind;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::time;

pub(crate) async fn events(call: Call) -> Result<Reply, ApiError> {
    let since = time::from_query(&call.query, "since")?;
    let until = time::from_query(&call.query, "until")?;
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(ApiError::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            call.query.get("since").unwrap_or_default(),
            call.query.get("until").unwrap_or_default()
        )));
    }
    let filters = call.query.filters()?;
    if let Some(name) = filters.keys().find(|name| !FILTERS.contains(&name.as_str())) {
        return Err(ApiError::invalid(format!("invalid filter '{name}'")));
    }
    let stream = engine::system::events(call.engine(), since, until);
    let lines = futures_util::stream::unfold((stream, filters), |(mut stream, filters)| async move {
        loop {
            let event = stream.next().await?;
            if fits(&event, &filters) {
                return Some((line(&event), (stream, filters)));
            }
        }
    });
    Ok(reply::stream("application/json", lines))
}

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

fn line(event: &Arc<engine::system::Event>) -> std::io::Result<Bytes> {
    let mut line = serde_json::to_vec(&to_api(event))?;
    line.push(b'\n');
    Ok(line.into())
}

fn to_api(event: &engine::system::Event) -> Event {
    let is_legacy = matches!(event.kind, EventKind::Container | EventKind::Image);
    let legacy = |text: &str| if is_legacy { text.to_owned() } else { String::new() };
    Event {
        status: legacy(&event.action),
        id: legacy(&event.id),
        from: match event.kind {
            EventKind::Container => event.attributes.get("image").cloned().unwrap_or_default(),
            _ => String::new(),
        },
        kind: event.kind.as_str().to_owned(),
        action: event.action.clone(),
        actor: Actor {
            id: event.id.clone(),
            attributes: event.attributes.clone(),
        },
        scope: "local".to_owned(),
        time: event.time.unix_seconds(),
        time_nano: event.time.unix_nanos(),
    }
}

/// Returns whether an event passes Docker's filters: one value of each filter must fit, but every label.
fn fits(event: &engine::system::Event, filters: &BTreeMap<String, Vec<String>>) -> bool {
    filters
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .all(|(name, values)| {
            let any = |fits: &dyn Fn(&str) -> bool| values.iter().any(|value| fits(value));
            let object = |kind: EventKind| {
                any(&|value| {
                    event.kind == kind
                        && (event.id.starts_with(value)
                            || event.attributes.get("name").is_some_and(|name| name == value))
                })
            };
            match name.as_str() {
                // `exec_create: ls` is an `exec_create`.
                "event" => {
                    any(&|value| event.action == value || event.action.split(':').next() == Some(value))
                }
                "type" => any(&|value| event.kind.as_str() == value),
                "scope" => any(&|value| value == "local"),
                "label" => values.iter().all(|value| match value.split_once('=') {
                    Some((name, value)) => event.attributes.get(name).is_some_and(|have| have == value),
                    None => event.attributes.contains_key(value),
                }),
                "container" => object(EventKind::Container),
                "volume" => object(EventKind::Volume),
                "network" => object(EventKind::Network),
                "daemon" => object(EventKind::Daemon),
                "image" => any(&|value| {
                    let named = |name: &str| name == value || without_tag(name) == value;
                    match event.kind {
                        EventKind::Image => {
                            named(&event.id) || event.attributes.get("name").is_some_and(|name| named(name))
                        }
                        EventKind::Container => event.attributes.get("image").is_some_and(|name| named(name)),
                        _ => false,
                    }
                }),
                _ => false,
            }
        })
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use base::clock::Timestamp;

    use super::*;

    fn event() -> engine::system::Event {
        engine::system::Event {
            kind: EventKind::Container,
            action: "exec_create: ls".to_owned(),
            id: "abc".to_owned(),
            attributes: [("image", "busybox:1"), ("name", "c"), ("l", "v")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            time: Timestamp::from_unix(3, 4),
        }
    }

    #[test]
    fn filters() {
        for (name, value, expected) in [
            ("event", "exec_create", true),
            ("event", "start", false),
            ("type", "container", true),
            ("type", "image", false),
            ("container", "c", true),
            ("container", "ab", true),
            ("container", "x", false),
            ("image", "busybox", true),
            ("image", "busybox:1", true),
            ("image", "busy", false),
            ("label", "l", true),
            ("label", "l=v", true),
            ("label", "l=x", false),
            ("volume", "c", false),
        ] {
            let filters = [(name.to_owned(), vec![value.to_owned()])].into();
            assert_eq!(fits(&event(), &filters), expected, "{name}={value}");
        }
    }

    #[test]
    fn wire_form() {
        let json = serde_json::to_value(to_api(&event())).unwrap();
        let expected = serde_json::json!({
            "status": "exec_create: ls", "id": "abc", "from": "busybox:1", "Type": "container",
            "Action": "exec_create: ls",
            "Actor": {"ID": "abc", "Attributes": {"image": "busybox:1", "name": "c", "l": "v"}},
            "scope": "local", "time": 3, "timeNano": 3_000_000_004_i64,
        });
        assert_eq!(json, expected);
    }
}
