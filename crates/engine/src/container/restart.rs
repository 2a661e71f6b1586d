//! Restart: stop and start.

use std::sync::Arc;

use super::finish;
use super::start::{StartError, start};
use super::stop::{StopRequest, stop};
use super::view::ChangeError;
use crate::Engine;

/// Stops a container if it runs and starts it again.
pub async fn restart(engine: &Arc<Engine>, name: &str, request: StopRequest) -> Result<(), StartError> {
    let container = engine.registry.find(name)?;
    stop(engine, container.id.as_str(), request)
        .await
        .map_err(|error| match error {
            ChangeError::Lookup(error) => StartError::Lookup(error),
            ChangeError::Invalid { text } => StartError::Invalid { text },
            ChangeError::State { text } => StartError::State { text },
            error => StartError::step("stop the container", error),
        })?;
    start(engine, container.id.as_str()).await?;
    finish::tell(engine, &container, "restart", &[]);
    Ok(())
}
