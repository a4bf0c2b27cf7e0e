//! The keys under a prefix, as one moment had them.

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_client::KeyValue;
use imbl::OrdMap;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it says.
    pub bytes: Arc<[u8]>,
    /// The revision that wrote it.
    pub mod_revision: i64,
    /// The revision since which it has been there.
    pub create_revision: i64,
    /// The lease it hangs on; 0 for none.
    pub lease: i64,
}

/// Keys and values at a revision. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The revision of the cluster up to which all is known.
    pub revision: i64,
    /// Which cluster this is of.
    pub cluster: u64,
    /// By key, the prefix included.
    pub entries: OrdMap<Arc<[u8]>, Value>,
}

/// One step of a key's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: Arc<[u8]>,
    /// Nothing if it is gone.
    pub(super) value: Option<Value>,
    pub(super) revision: i64,
}

impl Value {
    /// As an answer has it, with the first so many bytes of what it says.
    pub(super) fn of(pair: &KeyValue, most_bytes: usize) -> Self {
        Self {
            bytes: first(pair.value(), most_bytes),
            mod_revision: pair.mod_revision(),
            create_revision: pair.create_revision(),
            lease: pair.lease(),
        }
    }
}

/// The first bytes of a value.
pub(super) fn first(value: &[u8], most_bytes: usize) -> Arc<[u8]> {
    value.get(..most_bytes).unwrap_or(value).into()
}

impl Keys {
    /// Takes what a watch says, in its order. Returns the keys that are others now.
    pub(super) fn follow(&mut self, steps: Vec<Step>) -> BTreeSet<Arc<[u8]>> {
        let mut changed = BTreeSet::new();
        let known = self.revision;
        // What a listing has told already is told once more by a watch that began before.
        for Step { key, value, revision } in steps.into_iter().filter(|step| step.revision > known) {
            self.revision = self.revision.max(revision);
            match value {
                Some(value) => drop(self.entries.insert(Arc::clone(&key), value)),
                None => drop(self.entries.remove(&key)),
            }
            changed.insert(key);
        }
        changed
    }

    /// Takes a whole listing in the place of what was known. Returns the keys that are others now.
    pub(in crate::control_path) fn replace(&mut self, listed: Self) -> BTreeSet<Arc<[u8]>> {
        let before = std::mem::replace(self, listed);
        let is_same = |key: &Arc<[u8]>, value: &Value| {
            self.entries.get(key).is_some_and(|now| now.bytes == value.bytes && now.lease == value.lease)
        };
        let gone_or_changed = before.entries.iter().filter(|(key, value)| !is_same(key, value)).map(|(key, _)| key);
        let mut changed: BTreeSet<_> = gone_or_changed.cloned().collect();
        changed.extend(self.entries.keys().filter(|key| !before.entries.contains_key(*key)).cloned());
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &str, mod_revision: i64) -> Option<Value> {
        Some(Value { bytes: bytes.as_bytes().into(), mod_revision, create_revision: mod_revision, lease: 0 })
    }

    fn step(key: &str, value: Option<Value>, revision: i64) -> Step {
        Step { key: key.as_bytes().into(), value, revision }
    }

    fn text(keys: &BTreeSet<Arc<[u8]>>) -> Vec<&str> {
        keys.iter().map(|key| std::str::from_utf8(key).unwrap()).collect()
    }

    #[test]
    fn steps_change_what_they_name() {
        let mut keys = Keys::default();
        let changed = keys.follow(vec![step("a", value("1", 3), 3), step("b", value("2", 3), 3), step("a", None, 4)]);
        assert_eq!(text(&changed), ["a", "b"]);
        assert_eq!((keys.revision, keys.entries.len()), (4, 1));
        assert!(keys.follow(vec![step("b", value("old", 4), 4)]).is_empty(), "it is known up to revision 4");
        assert_eq!(&*keys.entries.iter().next().unwrap().1.bytes, b"2");
    }

    #[test]
    fn a_listing_tells_what_is_different() {
        let mut keys = Keys::default();
        keys.follow(["a", "b", "c"].map(|key| step(key, value("1", 3), 3)).into());
        let mut listed = Keys { revision: 2, ..Keys::default() };
        listed.follow(vec![step("a", value("1", 9), 9), step("b", value("2", 9), 9), step("d", value("1", 9), 9)]);
        listed.revision = 2;
        assert_eq!(text(&keys.replace(listed)), ["b", "c", "d"], "written anew is not changed");
        assert_eq!((keys.revision, keys.entries.len()), (2, 3));
    }
}
