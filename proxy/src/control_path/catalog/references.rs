//! Every reference must lead somewhere.
//!
//! What a reference needs and had before is kept. An object whose reference never led anywhere goes back to its last
//! good version, or waits. What such an object is missing may be wrong itself: that is one problem and not two.

use std::collections::BTreeSet;
use std::sync::Arc;

use routing_rules::rules::{Dangling, Lack, Name, RuleSet};

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
        if let Some(kept) = self.kept(&from, &to, &reference.lack) {
            self.put_back(to, Arc::clone(kept));
            let change = if reference.lack == Lack::Missing { "was removed but" } else { "was edited but" };
            let reason = format!("{}; it {change} is still used, and stays as it was", error.reason);
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
            Some(last_good) => return self.put_back(key, last_good),
            None => {
                self.rules.remove(key.0, &key.1);
                self.entries.remove(&key);
                self.check.extend(users(self.rules, &key));
            }
        }
        self.unsettled.insert(key);
    }

    /// The version before, if that is what a reference leads to: it is needed as it was, or there is no other and it fits.
    fn kept(&self, from: &Key, to: &Key, lack: &Lack) -> Option<&Arc<Entry>> {
        let kept = self.before.get(to)?;
        let (is_new, is_template) = match (self.before.get(from), self.entries.get(from)) {
            (Some(before), Some(now)) => (!before.object.is_same(&now.object), now.object.is_template()),
            (_, now) => (true, now.is_some_and(|now| now.object.is_template())),
        };
        match lack {
            // What refers as it did before has what it did before.
            _ if !is_new => Some(kept),
            Lack::Missing if is_template || kept.object.is_template() => {
                Some(kept).filter(|kept| self.fits(from, kept))
            }
            Lack::Missing => Some(kept),
            Lack::Template | Lack::NoTemplate | Lack::Captures(..) => None,
        }
    }

    /// Whether all would be well with what an object says of another, if that one were there.
    fn fits(&self, from: &Key, to: &Entry) -> bool {
        let mut rules = self.rules.clone();
        rules.insert(to.object.clone());
        let (kind, name) = (to.object.kind(), to.object.name());
        rules.dangling_of(from.0, &from.1).iter().all(|other| (other.to, &other.to_name) != (kind, name))
    }

    fn put_back(&mut self, key: Key, entry: Arc<Entry>) {
        // Whoever names a template would not fit what is none, and the other way round.
        if entry.object.is_template() || self.entries.get(&key).is_some_and(|now| now.object.is_template()) {
            self.check.extend(users(self.rules, &key));
        }
        self.rules.insert(entry.object.clone());
        self.entries.insert(key.clone(), entry);
        self.check.insert(key.clone());
        self.unsettled.insert(key);
    }

    /// The version before this one, if this one is new.
    fn last_good(&self, key: &Key) -> Option<Arc<Entry>> {
        let (now, before) = (self.entries.get(key)?, self.before.get(key)?);
        (!before.object.is_same(&now.object)).then(|| {
            let (document, origin) = (Arc::clone(&now.document), now.origin);
            Arc::new(Entry { document, origin, ..Entry::clone(before) })
        })
    }
}

/// The objects that name this one.
pub(super) fn users(rules: &RuleSet, (kind, name): &Key) -> Vec<Key> {
    let Ok(name) = Name::new(name) else { return Vec::new() };
    rules.users(*kind, &name).map(|(kind, name)| (*kind, name.as_str().into())).collect()
}
