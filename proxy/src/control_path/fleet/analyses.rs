//! What the fleet keeps of analyses: one text a release, which whoever leads writes and everybody follows. What it means is others'
//! business.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::OrdMap;

use crate::control_path::etcd::{Keys, Value};

/// The newest texts, by release.
#[derive(Default)]
pub(super) struct Analyses(Mutex<Texts>);

#[derive(Default)]
struct Texts {
    all: OrdMap<Box<str>, Value>,
    /// The revision of what this instance has read or written itself while it leads: nothing older comes after it.
    known: i64,
}

impl Analyses {
    /// Takes what a watch says, which may be behind what this instance has written.
    pub(super) fn hear(&self, prefix: &str, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) {
        let mut texts = self.lock();
        for key in changed {
            let Some(release) = release(prefix, key) else { continue };
            match keys.entries.get(key) {
                Some(value) if value.mod_revision < texts.known => {}
                Some(value) => drop(texts.all.insert(release.into(), value.clone())),
                None => drop(texts.all.remove(release)),
            }
        }
    }

    /// All there are at this moment.
    pub(super) fn set(&self, prefix: &str, keys: &Keys) {
        let named = keys
            .entries
            .iter()
            .filter_map(|(key, value)| Some((Box::<str>::from(release(prefix, key)?), value.clone())));
        *self.lock() = Texts { all: named.collect(), known: keys.revision };
    }

    /// This instance has written one, which nobody else has done since it read.
    pub(super) fn keep(&self, release: &str, text: &[u8], revision: i64) {
        let value = Value { bytes: text.into(), mod_revision: revision, create_revision: revision, lease: 0 };
        let mut texts = self.lock();
        texts.known = revision;
        texts.all.insert(release.into(), value);
    }

    /// Whether this instance has read all there are, and nobody else has written any since.
    pub(super) fn are_known(&self) -> bool {
        self.lock().known > 0
    }

    /// From now on others write.
    pub(super) fn end_term(&self) {
        self.lock().known = 0;
    }

    pub(super) fn all(&self) -> OrdMap<Box<str>, Value> {
        self.lock().all.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Texts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn release<'k>(prefix: &str, key: &'k [u8]) -> Option<&'k str> {
    from_utf8(key).ok()?.strip_prefix(prefix)?.strip_prefix(KEPT_ANALYSES)
}

/// What keys of analyses begin with, behind the prefix.
pub const KEPT_ANALYSES: &str = "state/analysis/";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(revision: i64, all: &[(&str, i64)]) -> Keys {
        let value = |revision: i64| Value {
            bytes: revision.to_string().as_bytes().into(),
            mod_revision: revision,
            create_revision: 1,
            lease: 0,
        };
        let entry = |(key, revision): &(&str, i64)| (Arc::<[u8]>::from(key.as_bytes()), value(*revision));
        Keys { revision, cluster: 1, entries: all.iter().map(entry).collect() }
    }

    #[test]
    fn what_was_written_here_is_not_undone_by_a_watch_that_is_behind() {
        let analyses = Analyses::default();
        let hear = |revision: i64| {
            let keys = keys(revision, &[("/s/state/analysis/r", revision), ("/s/state/releases/r", 1)]);
            analyses.hear("/s/", &keys, &keys.entries.keys().cloned().collect());
            analyses.all().get("r").map(|value| value.mod_revision)
        };
        assert_eq!((hear(5), analyses.are_known(), analyses.all().len()), (Some(5), false, 1));
        analyses.set("/s/", &keys(8, &[("/s/state/analysis/r", 7)]));
        assert_eq!((hear(6), analyses.are_known()), (Some(7), true));
        analyses.keep("r", b"9", 9);
        assert_eq!([hear(8), hear(9), hear(10)], [Some(9), Some(9), Some(10)]);
        analyses.end_term();
        assert_eq!((hear(3), analyses.are_known()), (Some(3), false), "another etcd, with other revisions");
        let gone = keys(11, &[]);
        analyses.hear("/s/", &gone, &BTreeSet::from([Arc::from(&b"/s/state/analysis/r"[..])]));
        assert!(analyses.all().is_empty());
    }
}
