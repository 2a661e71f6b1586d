//! Events: what happened, and what happens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Timestamp;
use tokio::sync::broadcast;

use crate::Engine;

/// How many events are remembered.
const HISTORY: usize = 1024;

/// How many events a slow reader may be behind.
const BACKLOG: usize = 256;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The daemon.
    Daemon,
}

impl EventKind {
    /// Returns docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// docker's word, such as `start` or `exec_create: ls -l`.
    pub action: String,
    /// The id of what it is about.
    pub id: String,
    /// Names, labels, exit codes.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// Tells everybody and remembers.
#[derive(Debug)]
pub(crate) struct EventHub {
    history: Mutex<VecDeque<Arc<Event>>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventHub {
    pub(crate) fn new() -> Self {
        Self {
            history: Mutex::default(),
            sender: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Tells that something happened.
    pub(crate) fn tell(
        &self,
        kind: EventKind,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Arc::new(Event {
            kind,
            action: action.into(),
            id: id.into(),
            attributes,
            time: Timestamp::now(),
        });
        let mut history = self.lock();
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(Arc::clone(&event));
        // Nobody may be listening. Sent under the lock, so that a new listener gets each event once.
        drop(self.sender.send(event));
    }

    /// Tells that a prune ended; `bytes` became free.
    pub(crate) fn tell_pruned(&self, kind: EventKind, bytes: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]);
        self.tell(kind, "prune", "", attributes);
    }

    /// Returns how many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events in order; the server filters.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
    until: Option<Timestamp>,
}

impl EventStream {
    /// Returns the next event; `None` once `until` has come (or the engine closed). A reader that is too slow loses
    /// the oldest events.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            let left = match self.until {
                Some(until) => until.since(Timestamp::now()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return None;
            }
            let received = match self.until {
                Some(_) => tokio::time::timeout(left, self.receiver.recv()).await.ok()?,
                None => self.receiver.recv().await,
            };
            match received {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Returns events from `since` (history is bounded; `None`: from now on) to `until` (`None`: for ever).
pub fn events(engine: &Arc<Engine>, since: Option<Timestamp>, until: Option<Timestamp>) -> EventStream {
    let hub = &engine.events;
    let history = hub.lock();
    let receiver = hub.sender.subscribe();
    let past = match since {
        Some(since) => history
            .iter()
            .filter(|event| event.time >= since && until.is_none_or(|until| event.time <= until))
            .cloned()
            .collect(),
        None => VecDeque::new(),
    };
    EventStream {
        past,
        receiver,
        until,
    }
}
