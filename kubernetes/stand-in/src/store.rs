//! The objects, and everything that ever happened to them, in one order. It knows neither kinds nor requests.
//!
//! Nothing is ever forgotten; `compacted` only says from where on it may be asked for. Watches that were there before
//! a compaction go on undisturbed, as they do at a real server.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// Where an object is. In this order lists are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) collection: String,
    /// Empty for objects of no namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Which objects of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) collection: String,
    /// All, where there is none.
    pub(crate) namespace: Option<String>,
}

/// One thing that happened to one object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    /// With the revision of this change even where it was removed.
    pub(crate) object: Arc<Value>,
    pub(crate) removed: bool,
}

/// The objects and their history.
#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: Vec<Change>,
}

impl Store {
    /// Of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision that may be asked for.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Stores the object with the next revision in it.
    pub(crate) fn put(&mut self, key: &Key, object: Value) -> Arc<Value> {
        let before = self.objects.get(key).cloned();
        let object = self.change(key, before, object, false);
        self.objects.insert(key.clone(), Arc::clone(&object));
        object
    }

    /// Removes the object; what it was at last becomes part of the history.
    pub(crate) fn remove(&mut self, key: &Key, last: Value) -> Arc<Value> {
        let before = self.objects.remove(key);
        self.change(key, before, last, true)
    }

    /// The objects as they are.
    pub(crate) fn list(&self, extent: &Extent) -> BTreeMap<Key, Arc<Value>> {
        let all = self.objects.iter().filter(|(key, _)| extent.contains(key));
        all.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    /// The objects as they were.
    pub(crate) fn list_at(&self, extent: &Extent, revision: u64) -> BTreeMap<Key, Arc<Value>> {
        let mut objects = self.list(extent);
        for change in self.history.iter().rev().take_while(|change| change.revision > revision) {
            match &change.before {
                _ if !extent.contains(&change.key) => None,
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// What happened after this revision.
    pub(crate) fn since(&self, revision: u64) -> &[Change] {
        let first = self.history.partition_point(|change| change.revision <= revision);
        &self.history[first..]
    }

    /// From now on nobody may ask for a revision handed out so far.
    pub(crate) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
    }

    fn change(&mut self, key: &Key, before: Option<Arc<Value>>, mut object: Value, removed: bool) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let (key, now) = (key.clone(), Arc::clone(&object));
        self.history.push(Change { revision: self.revision, key, before, object: now, removed });
        object
    }
}

impl Extent {
    pub(crate) fn contains(&self, key: &Key) -> bool {
        key.collection == self.collection && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }
}
