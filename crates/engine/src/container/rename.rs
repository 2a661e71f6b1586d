//! Rename.

use std::sync::Arc;

use super::create::{CreateError, check_name, taken};
use super::finish;
use super::view::LookupError;
use crate::Engine;

/// Renaming failed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// There is no such container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The new name is wrong or taken.
    #[error(transparent)]
    Name(CreateError),
}

impl base::error::Kinded for RenameError {
    fn kind(&self) -> base::error::Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::Name(error) => error.kind(),
        }
    }
}

/// Gives a container another name.
pub async fn rename(engine: &Arc<Engine>, name: &str, new_name: &str) -> Result<(), RenameError> {
    let container = engine.registry.find(name)?;
    let new_name = new_name.strip_prefix('/').unwrap_or(new_name);
    check_name(new_name).map_err(RenameError::Name)?;
    let old_name = container.view().name.clone();
    if old_name == new_name {
        return Err(RenameError::Name(CreateError::Invalid {
            text: "Renaming a container with the same name as its current name".to_owned(),
        }));
    }
    engine
        .registry
        .reserve_name(new_name, &container.id)
        .await
        .map_err(|error| RenameError::Name(taken(new_name, error)))?;
    let recorded = engine.write_of(&container, |batch| {
        batch.rename_container(container.id.as_str(), new_name)
    });
    if let Err(error) = recorded {
        engine.registry.release_name(new_name, &container.id);
        return Err(RenameError::Name(CreateError::Step {
            doing: "record the new name",
            kind: base::error::Kind::Internal,
            source: Box::new(error),
        }));
    }
    engine.registry.release_name(&old_name, &container.id);
    container.publish(|view| new_name.clone_into(&mut view.name));
    super::record_file::update(&engine.layout, &container, &container.record());
    finish::tell(
        engine,
        &container,
        "rename",
        &[("oldName", format!("/{old_name}"))],
    );
    crate::network::renamed(engine, &container, &old_name, new_name).await;
    Ok(())
}
