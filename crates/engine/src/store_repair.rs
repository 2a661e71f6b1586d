//! The store when its file is damaged or gone: set aside as a whole, made anew, and filled with what lies beside it.
//!
//! Containers, networks and volumes have their records in files as well (`container/record_file.rs`,
//! `network/record_file.rs`, `volume`); images never were in the store. So what is lost is where a container was in its life, which recovery finds out.

use std::path::PathBuf;

use base::error::chain;
use base::file::FileError;
use db::{Store, StoreError};

use crate::check::{Damage, Outcome};
use crate::container::record_file;
use crate::files::Layout;

/// Opens the store; what had to be repaired is told.
pub(crate) fn open(layout: &Layout, boot_id: &str) -> Result<(Store, Option<Damage>), StoreError> {
    let (store, problem) = match open_and_read(layout) {
        Ok(store) => (store, None),
        Err(error) if error.is_damage() => {
            let mut problem = chain(&error).to_string();
            match set_aside(layout) {
                Ok(aside) => problem += &format!("; it was set aside as \"{}\"", aside.display()),
                Err(failed) => {
                    tracing::error!(error = %chain(&failed), "a damaged store cannot be set aside");
                    return Err(error);
                }
            }
            (Store::open(&layout.store())?, Some(problem))
        }
        Err(error) => return Err(error),
    };
    let found = find_lost(&store, layout, boot_id)?;
    let volumes = find_lost_volumes(&store, layout)?;
    let networks = find_lost_networks(&store, layout)?;
    if problem.is_none() && found.is_empty() && volumes.is_empty() && networks.is_empty() {
        return Ok((store, None));
    }
    let mut problems: Vec<String> = problem.into_iter().collect();
    if !found.is_empty() {
        problems.push(format!(
            "containers were missing in it, and found again by their files: {}",
            found.len()
        ));
    }
    if !volumes.is_empty() {
        problems.push(format!(
            "volumes were missing in it, and found again by their files: {}",
            volumes.join(", ")
        ));
    }
    if !networks.is_empty() {
        problems.push(format!(
            "networks were missing in it, and found again by their files: {}",
            networks.join(", ")
        ));
    }
    for problem in &problems {
        tracing::error!(problem, "the store was damaged");
    }
    let damage = Damage {
        kind: "store",
        object: "state.db".to_owned(),
        problems,
        images: Vec::new(),
        containers: found,
        outcome: Outcome::Repaired,
    };
    Ok((store, Some(damage)))
}

/// Opens the store and reads each of its tables once: a damaged schema shows only then.
fn open_and_read(layout: &Layout) -> Result<Store, StoreError> {
    let store = Store::open(&layout.store())?;
    store.containers()?;
    store.volumes()?;
    store.networks()?;
    store.meta("id")?;
    Ok(store)
}

/// Puts the file and its log under a name that nothing uses, and returns it.
fn set_aside(layout: &Layout) -> Result<PathBuf, FileError> {
    let path = layout.store();
    let named = |number: u32| path.with_extension(format!("db.damaged-{number}"));
    let free = (1..=u32::MAX).map(named).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| named(0));
    for suffix in ["", "-wal", "-shm"] {
        let with = |path: &PathBuf| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        match std::fs::rename(with(&path), with(&aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::new("set aside", &with(&path), error));
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// Records the volumes that the store does not know; returns their names.
fn find_lost_volumes(store: &Store, layout: &Layout) -> Result<Vec<String>, StoreError> {
    let (rows, damaged) = store.volumes()?;
    let known =
        |name: &str| rows.iter().any(|row| row.name == name) || damaged.iter().any(|row| row.key == name);
    let found = volume::lost(&layout.volumes(), &known);
    if !found.is_empty() {
        store.write(db::Durability::Power, |batch| {
            found.iter().try_for_each(|row| batch.put_volume(row))
        })?;
    }
    Ok(found.into_iter().map(|row| row.name).collect())
}

/// Records the networks that the store does not know; returns their names.
fn find_lost_networks(store: &Store, layout: &Layout) -> Result<Vec<String>, StoreError> {
    let (rows, damaged) = store.networks()?;
    let known = |id: &str| rows.iter().any(|row| row.id == id) || damaged.iter().any(|row| row.key == id);
    let mut found = Vec::new();
    for row in crate::network::record_file::lost(layout, &known) {
        match store.write(db::Durability::Power, |batch| batch.insert_network(&row)) {
            Ok(()) => found.push(row.name),
            // Its name belongs to another one: its file stays, and it is told.
            Err(error) => {
                tracing::error!(network = row.id, error = %chain(&error), "a network could not be recorded again");
            }
        }
    }
    Ok(found)
}

/// Records the containers that the store does not know and whose files say what they are; returns their ids.
fn find_lost(store: &Store, layout: &Layout, boot_id: &str) -> Result<Vec<String>, StoreError> {
    let (rows, damaged) = store.containers()?;
    let quarantined = store.quarantined("containers")?;
    let known = |id: &str| {
        rows.iter().any(|row| row.id == id)
            || damaged.iter().any(|row| row.key == id)
            || quarantined.iter().any(|key| key == id)
    };
    let mut found = Vec::new();
    for row in record_file::lost(layout, boot_id, &known) {
        match store.write(db::Durability::Power, |batch| batch.insert_container(&row)) {
            Ok(()) => found.push(row.id),
            // Its name or its ids belong to another one: it stays where it is, and is told.
            Err(error) => {
                tracing::error!(container = row.id, error = %chain(&error), "a container could not be recorded again");
            }
        }
    }
    Ok(found)
}
