//! A persistent map by text that is small while it has few entries.
//!
//! Most hosts have a handful of paths, and a node of a hash trie is a kilobyte; a hundred thousand hosts would
//! fill the caches with empty places. Up to [`FEW`] entries are therefore a plain list, and short texts, as nearly all hosts
//! and segments are, lie in the entries themselves: with many routes each look elsewhere is a wait for memory.

use foldhash::quality::FixedState;
use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use smol_str::SmolStr;

/// Up to here comparing lengths and then texts is about as fast as hashing one, and waits less for memory.
const FEW: usize = 16;

/// The seed is fixed, as everything here must be the same on every instance. That is safe because the keys are
/// those of the rules: a client chooses what is looked up, never what is stored.
type HashMap<V> = GenericHashMap<SmolStr, V, FixedState, DefaultSharedPtr>;

#[derive(Clone, Debug)]
pub(super) enum TextMap<V: Clone> {
    Few(Vec<(SmolStr, V)>),
    Many(HashMap<V>),
}

impl<V: Clone> Default for TextMap<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<V: Clone> TextMap<V> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(entries) => entries.is_empty(),
            Self::Many(map) => map.is_empty(),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        match self {
            Self::Few(entries) => entries.iter().find(|(text, _)| **text == *key).map(|(_, value)| value),
            Self::Many(map) => map.get(key),
        }
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        match self {
            Self::Few(entries) => entries.iter_mut().find(|(text, _)| **text == *key).map(|(_, value)| value),
            Self::Many(map) => map.get_mut(key),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        match self {
            Self::Few(entries) => entries.retain(|(text, _)| **text != *key),
            Self::Many(map) => {
                map.remove(key);
                // Half of the limit, so that a number that swings around it does not rebuild the map each time.
                if map.len() <= FEW / 2 {
                    *self = Self::Few(map.iter().map(|(text, value)| (text.clone(), value.clone())).collect());
                }
            }
        }
    }
}

impl<V: Clone + Default> TextMap<V> {
    pub(super) fn get_or_default(&mut self, key: &str) -> &mut V {
        if let Self::Few(entries) = self
            && entries.len() >= FEW
            && entries.iter().all(|(text, _)| **text != *key)
        {
            let mut map = HashMap::with_hasher(FixedState::with_seed(0));
            map.extend(entries.drain(..));
            *self = Self::Many(map);
        }
        match self {
            Self::Few(entries) => {
                let index = entries.iter().position(|(text, _)| **text == *key).unwrap_or_else(|| {
                    entries.push((key.into(), V::default()));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            Self::Many(map) => map.entry(key.into()).or_default(),
        }
    }
}
