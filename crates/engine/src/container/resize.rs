//! Resize: the terminal's size.

use std::sync::Arc;

use super::finish;
use super::state::{Answer, Ask, decide};
use super::view::ChangeError;
use crate::Engine;

/// Sets the terminal size of a running container.
pub async fn resize(engine: &Arc<Engine>, name: &str, rows: u16, columns: u16) -> Result<(), ChangeError> {
    let container = engine.registry.find(name)?;
    let refused = match decide(container.view().status, Ask::Resize) {
        Answer::Refuse(refusal) => Some(refusal),
        Answer::Accept | Answer::Already => None,
    };
    let (None, Some(shim)) = (refused, container.shim()) else {
        return Err(ChangeError::State {
            text: format!("container {} is not running", container.id),
        });
    };
    // A container without a terminal has no size to set; docker says yes.
    if !container.view().config.tty {
        return Ok(());
    }
    shim.resize(None, rows, columns)
        .await
        .map_err(|error| ChangeError::Step {
            doing: "resize the terminal of",
            id: container.id.to_string(),
            source: Box::new(error),
        })?;
    finish::tell(
        engine,
        &container,
        "resize",
        &[("height", rows.to_string()), ("width", columns.to_string())],
    );
    Ok(())
}
