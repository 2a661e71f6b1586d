//! Which containers there are: by id, by name, by prefix; and which slots of host ids are taken.
//!
//! The lock is held for map operations only, never across an await and never while another lock is taken.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base::id::ContainerId;
use tokio::sync::Notify;

use crate::container::{Container, LookupError};

/// The first host id of slot 0.
pub(crate) const FIRST_ID: u32 = 0x1000_0000;

/// Host ids in a slot.
pub(crate) const SLOT_SIZE: u32 = 65_536;

/// Slots between [`FIRST_ID`] and the largest id; the last one stays free, because -1 is no id.
const SLOTS: u32 = (u32::MAX - FIRST_ID) / SLOT_SIZE;

/// Returns the host id of root of a slot.
pub(crate) fn slot_base(slot: u32) -> u32 {
    FIRST_ID + slot * SLOT_SIZE
}

/// All containers of the engine.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
    /// Told when a name of [`Maps::leaving`] is free.
    left: Notify,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: BTreeMap<String, Arc<Container>>,
    names: HashMap<String, ContainerId>,
    /// Containers that nobody sees any more, and whose names are free in a moment.
    leaving: HashSet<ContainerId>,
    /// How many containers live in each slot; one that joins another's user namespace counts too.
    slots: BTreeMap<u32, usize>,
}

/// Why nothing could be reserved.
#[derive(Debug)]
pub(crate) enum ReserveError {
    /// The name is taken.
    Name(ContainerId),
    /// No slot is free.
    Slots,
}

impl Registry {
    /// As [`Registry::try_reserve_name`], but waits for a name whose container nobody sees any more.
    pub(crate) async fn reserve_name(&self, name: &str, id: &ContainerId) -> Result<(), ReserveError> {
        loop {
            let left = self.left.notified();
            match self.try_reserve_name(name, id) {
                Err(ReserveError::Name(holder)) if self.read().leaving.contains(&holder) => left.await,
                result => return result,
            }
        }
    }

    /// Takes a name for a container that is being made.
    pub(crate) fn try_reserve_name(&self, name: &str, id: &ContainerId) -> Result<(), ReserveError> {
        let mut maps = self.write();
        match maps.names.get(name) {
            Some(holder) => Err(ReserveError::Name(holder.clone())),
            None => {
                maps.names.insert(name.to_owned(), id.clone());
                Ok(())
            }
        }
    }

    /// Gives a name back, if it is `id`'s.
    pub(crate) fn release_name(&self, name: &str, id: &ContainerId) {
        let mut maps = self.write();
        if maps.names.get(name) == Some(id) {
            maps.names.remove(name);
        }
    }

    /// Takes the lowest free slot.
    pub(crate) fn take_slot(&self) -> Result<u32, ReserveError> {
        let mut maps = self.write();
        let mut free = 0;
        for &slot in maps.slots.keys() {
            if slot != free {
                break;
            }
            free += 1;
        }
        if free >= SLOTS {
            return Err(ReserveError::Slots);
        }
        maps.slots.insert(free, 1);
        Ok(free)
    }

    /// Counts one more container in the slot with this base.
    pub(crate) fn use_base(&self, base: u32) {
        *self.write().slots.entry(slot_of(base)).or_default() += 1;
    }

    /// Counts one container less in the slot with this base.
    pub(crate) fn leave_base(&self, base: u32) {
        let mut maps = self.write();
        let slot = slot_of(base);
        match maps.slots.get_mut(&slot) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(maps.slots.remove(&slot)),
        }
    }

    /// Shows a container whose name and slot are reserved.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        let id = container.id.as_str().to_owned();
        self.write().by_id.insert(id, container);
    }

    /// Hides a container and gives its name back.
    pub(crate) fn remove(&self, container: &Container) {
        self.hide(container);
        self.forget(container);
    }

    /// Hides a container whose record is still there: who asks for its name waits until [`Registry::forget`].
    pub(crate) fn hide(&self, container: &Container) {
        let mut maps = self.write();
        maps.by_id.remove(container.id.as_str());
        maps.leaving.insert(container.id.clone());
    }

    /// Gives the name of a hidden container back.
    pub(crate) fn forget(&self, container: &Container) {
        self.release_name(&container.view().name, &container.id);
        self.keep_name(container);
    }

    /// Lets nobody wait any longer for the name of a hidden container.
    pub(crate) fn keep_name(&self, container: &Container) {
        self.write().leaving.remove(&container.id);
        self.left.notify_waiters();
    }

    /// Returns the container with this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Container>> {
        self.read().by_id.get(id).cloned()
    }

    /// Finds a container by id, name (with or without docker's slash) or a unique start of its id.
    pub(crate) fn find(&self, wanted: &str) -> Result<Arc<Container>, LookupError> {
        let not_found = || LookupError::NotFound {
            name: wanted.chars().take(256).collect(),
        };
        let maps = self.read();
        if let Some(container) = maps.by_id.get(wanted) {
            return Ok(Arc::clone(container));
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(container) = maps.names.get(name).and_then(|id| maps.by_id.get(id.as_str())) {
            return Ok(Arc::clone(container));
        }
        if wanted.is_empty() {
            return Err(not_found());
        }
        let mut fitting = maps
            .by_id
            .range(wanted.to_owned()..)
            .take_while(|(id, _)| id.starts_with(wanted));
        match (fitting.next(), fitting.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(LookupError::Ambiguous {
                prefix: wanted.to_owned(),
            }),
            (None, _) => Err(not_found()),
        }
    }

    /// Returns all containers, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the slot of which this is the first host id.
pub(crate) fn slot_of(base: u32) -> u32 {
    base.saturating_sub(FIRST_ID) / SLOT_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_shared_ones_are_not() {
        let registry = Registry::default();
        assert_eq!(registry.take_slot().unwrap(), 0);
        assert_eq!(registry.take_slot().unwrap(), 1);
        registry.use_base(slot_base(0));
        registry.leave_base(slot_base(0));
        assert_eq!(registry.take_slot().unwrap(), 2);
        registry.leave_base(slot_base(0));
        assert_eq!(registry.take_slot().unwrap(), 0);
        assert!(
            slot_base(SLOTS - 1)
                .checked_add(SLOT_SIZE - 1)
                .is_some_and(|last| last < u32::MAX)
        );
    }

    #[test]
    fn a_name_belongs_to_one() {
        let registry = Registry::default();
        let (first, second) = (ContainerId::generate().unwrap(), ContainerId::generate().unwrap());
        registry.try_reserve_name("a", &first).unwrap();
        assert!(
            matches!(registry.try_reserve_name("a", &second), Err(ReserveError::Name(holder)) if holder == first)
        );
        registry.release_name("a", &second);
        assert!(registry.try_reserve_name("a", &second).is_err());
        registry.release_name("a", &first);
        registry.try_reserve_name("a", &second).unwrap();
    }
}
