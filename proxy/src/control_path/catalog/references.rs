//! Every reference must lead somewhere.
//!
//! What a reference needs and had before is kept. An object whose reference never led anywhere goes back to its last
//! good version, or waits. What such an object is missing may be wrong itself: that is one problem and not two.

use std::collections::BTreeSet;
use std::sync::Arc;

use routing_rules::rules::{Dangling, Name, RuleSet};

use super::findings::Findings;
use super::{Entries, Entry, Key, Places};

/// Objects on their way into force.
pub(super) struct Mending<'m, 'r> {
    /// What was in force.
    pub(super) before: &'m Entries,
    pub(super) entries: &'m mut Entries,
    /// The rules made of the entries.
    pub(super) rules: &'m mut RuleSet,
    pub(super) places: &'m mut Places<'r>,
    pub(super) findings: &'m mut Findings,
    /// Objects whose references may lead nowhere now.
    pub(super) check: BTreeSet<Key>,
    /// Objects that are not in force as they are written, because of references.
    pub(super) unsettled: &'m mut BTreeSet<Key>,
}

impl Mending<'_, '_> {
    /// Mends until all references lead somewhere. What was in force had no loose ends, so every round takes something new
    /// out or puts something old back, and there is only so much of either.
    pub(super) fn run(mut self) {
        loop {
            let check = std::mem::take(&mut self.check);
            let dangling: Vec<Dangling> =
                check.iter().flat_map(|(kind, name)| self.rules.dangling_of(*kind, name)).collect();
            if dangling.is_empty() {
                return;
            }
            // An object with several loose ends goes back once, after all of them are reported.
            let loose: BTreeSet<Key> = dangling.iter().filter_map(|reference| self.mend(reference)).collect();
            loose.into_iter().for_each(|key| self.take_back(key));
        }
    }

    /// Keeps what is missing, if it was there before; else returns the object that refers to it.
    fn mend(&mut self, reference: &Dangling) -> Option<Key> {
        let from: Key = (reference.from, reference.from_name.as_str().into());
        let to: Key = (reference.to, reference.to_name.as_str().into());
        let document = Arc::clone(&self.entries.get(&from)?.document);
        let error = reference.error();
        if let Some(kept) = self.before.get(&to) {
            self.rules.insert(kept.object.clone());
            self.entries.insert(to.clone(), Arc::clone(kept));
            self.unsettled.insert(to.clone());
            self.check.insert(to);
            let reason = format!("{}; it was removed but is still used, and stays as it was", error.reason);
            self.findings.add(self.places.problem(&document, error.at, reason));
            return None;
        }
        let is_kept = self.last_good(&from).is_some();
        if self.findings.follows(&from, &to, is_kept) {
            return Some(from);
        }
        let consequence = match is_kept {
            true => "the last good version stays in force",
            false => "not in force until there is one",
        };
        let reason = format!("{}; {consequence}", error.reason);
        let problem = self.findings.add(self.places.problem(&document, error.at, reason));
        self.findings.blame(from.clone(), problem);
        Some(from)
    }

    fn take_back(&mut self, key: Key) {
        match self.last_good(&key) {
            Some(last_good) => {
                self.rules.insert(last_good.object.clone());
                self.entries.insert(key.clone(), last_good);
                self.check.insert(key.clone());
            }
            None => {
                self.rules.remove(key.0, &key.1);
                self.entries.remove(&key);
                self.check.extend(users(self.rules, &key));
            }
        }
        self.unsettled.insert(key);
    }

    /// The version before this one, if this one is new.
    fn last_good(&self, key: &Key) -> Option<Arc<Entry>> {
        let (now, before) = (self.entries.get(key)?, self.before.get(key)?);
        (!before.object.is_same(&now.object)).then(|| {
            let (document, is_stored) = (Arc::clone(&now.document), now.is_stored);
            Arc::new(Entry { document, is_stored, ..Entry::clone(before) })
        })
    }
}

/// The objects that name this one.
pub(super) fn users(rules: &RuleSet, (kind, name): &Key) -> Vec<Key> {
    let Ok(name) = Name::new(name) else { return Vec::new() };
    rules.users(*kind, &name).map(|(kind, name)| (*kind, name.as_str().into())).collect()
}
