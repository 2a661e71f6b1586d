//! Numbered things: a key that was given away is never another thing's.

use std::fmt;

/// Where something is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// Generations are counted in so many bits, so that a key and the kind of its thing fit 64.
    const GENERATION_BITS: u32 = 24;
    const GENERATIONS: u32 = 1 << Self::GENERATION_BITS;

    /// Returns the lower 56 bits of a token.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// Returns the key of a token.
    pub(crate) fn from_bits(bits: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        Self {
            slot: half(bits),
            generation: half(bits >> 32) % Self::GENERATIONS,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.slot, self.generation)
    }
}

/// How many empty slots are kept.
const KEPT: usize = 64;

/// Things by key.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// Where new slots begin to count.
    first_generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    thing: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            first_generation: 0,
        }
    }
}

impl<T> Slab<T> {
    /// Adds what `make` returns, which may know its key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: self.first_generation,
                thing: None,
            });
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.entry(slot).map_or(0, |entry| entry.generation);
        let key = Key { slot, generation };
        let thing = make(key);
        if let Some(entry) = self.entry(slot) {
            entry.thing = Some(thing);
        }
        key
    }

    pub(crate) fn insert(&mut self, thing: T) -> Key {
        self.insert_with(|_key| thing)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(usize::try_from(key.slot).ok()?)?;
        entry
            .thing
            .as_ref()
            .filter(|_thing| entry.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entry(key.slot)?;
        let is_same = entry.generation == key.generation;
        entry.thing.as_mut().filter(|_thing| is_same)
    }

    /// Takes a thing out; its key is nothing's from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entry(key.slot)?;
        if entry.generation != key.generation {
            return None;
        }
        let thing = entry.thing.take()?;
        entry.generation = (entry.generation + 1) % Key::GENERATIONS;
        self.free.push(key.slot);
        if self.free.len() == self.entries.len() && self.entries.len() > KEPT {
            // What a busy hour needed is given back; old keys stay nothing's.
            let generations = self.entries.iter().map(|entry| entry.generation);
            self.first_generation = (generations.max().unwrap_or(0) + 1) % Key::GENERATIONS;
            self.entries = Vec::new();
            self.free = Vec::new();
        }
        Some(thing)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let entries = self.entries.iter().zip(0u32..);
        entries.filter_map(|(entry, slot)| {
            let generation = entry.generation;
            let thing = entry.thing.as_ref()?;
            Some((Key { slot, generation }, thing))
        })
    }

    /// Returns the keys of those that `wanted` is true for.
    pub(crate) fn keys(&self, wanted: impl Fn(&T) -> bool) -> Vec<Key> {
        self.iter()
            .filter(|(_, thing)| wanted(thing))
            .map(|(key, _)| key)
            .collect()
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_new() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        let second = slab.insert("second");
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.remove(first), None);
        let third = slab.insert("third");
        assert_eq!((slab.get(first), slab.get(third)), (None, Some(&"third")));
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.len(), 2);
        assert_eq!(Key::from_bits(third.to_bits()), third);
        assert_ne!(first, third);
    }

    #[test]
    fn memory_is_given_back() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..1000).map(|number| slab.insert(number)).collect();
        for &key in &keys {
            slab.remove(key);
        }
        assert!(slab.is_empty() && slab.entries.is_empty());
        let key = slab.insert(1);
        assert!(!keys.contains(&key));
    }
}
