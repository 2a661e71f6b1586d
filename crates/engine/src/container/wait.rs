//! Wait: the exit of a container.

use std::sync::Arc;

use tokio::sync::watch;

use super::view::{LookupError, View};
use crate::Engine;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// That it does not run; true at once for one that is created or exited.
    NotRunning,
    /// Its next exit, also of a restart by policy.
    NextExit,
    /// Its removal.
    Removed,
}

/// How the wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i64,
    /// Why the container could not be removed, if so.
    pub error: Option<String>,
}

/// A wait in progress. The condition is watched from the moment [`wait`] returned, so the caller can send its
/// headers first and then start the container.
#[derive(Debug)]
pub struct Waiter {
    view: watch::Receiver<Arc<View>>,
    condition: Condition,
    /// Exits before the wait began.
    exits: u64,
}

impl Waiter {
    /// Waits until the condition holds.
    pub async fn ended(mut self) -> Ended {
        let (condition, exits) = (self.condition, self.exits);
        let holds = |view: &Arc<View>| match condition {
            Condition::NotRunning => view.gone || !view.status.is_running(),
            Condition::NextExit => view.gone || view.exits > exits,
            Condition::Removed => view.gone || view.removal_error.is_some(),
        };
        // An error means that the container is gone; its last snapshot stays readable.
        drop(self.view.wait_for(holds).await);
        let view = self.view.borrow();
        Ended {
            code: view.exit.code,
            // Why a start failed is told to who started it: `docker run` would say it a second time.
            error: view.removal_error.clone(),
        }
    }
}

/// Begins to wait.
pub fn wait(engine: &Arc<Engine>, name: &str, condition: Condition) -> Result<Waiter, LookupError> {
    let container = engine.registry.find(name)?;
    let view = container.view.subscribe();
    let exits = view.borrow().exits;
    Ok(Waiter {
        view,
        condition,
        exits,
    })
}
