//! Which text decides about an object.
//!
//! The first document that names an object wins, also when what it says is wrong or cannot be read now: otherwise a slip
//! of the pen in one file would put another file's version in force. A change costs what the changed texts say, not what
//! all of them do.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, hashmap};

use super::findings::Findings;
use super::reading::Reading;
use super::{Entries, Entry, Key, Origin};
use crate::control_path::decode::Problem;
use crate::control_path::source::{Difference, Place, Text, Texts};

/// What the texts say, and which of them name an object. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Claims {
    pub(super) texts: Texts,
    /// In the order of the sources. Kept so that a text that did not change is not read again.
    pub(super) readings: OrdMap<Place, Arc<Reading>>,
    places: imbl::HashMap<Arc<str>, Place>,
    /// Where texts stand that cannot be read in full. Each object asks for them, so they are not looked for each time.
    keepers: OrdSet<Place>,
    /// Where texts stand in which something is wrong.
    wrong: OrdSet<Place>,
    named: imbl::HashMap<Key, Vec<Arc<str>>>,
}

/// What to look at again after a change of the texts.
#[derive(Default)]
pub(super) struct Touched {
    /// Objects that changed texts name, or named.
    pub(super) keys: BTreeSet<Key>,
    /// Texts that keep what they said have become so or have changed, so what is in force may hang on others now.
    pub(super) all: bool,
    /// Texts that are new, changed or gone.
    pub(super) documents: BTreeSet<Arc<str>>,
}

/// What the texts want for one object.
pub(super) struct Claim {
    pub(super) entry: Option<Arc<Entry>>,
    /// Several texts name it.
    pub(super) is_contested: bool,
}

impl Claims {
    /// Takes a new revision of all texts, and reads those that have changed. Looks at no others.
    pub(super) fn update(&mut self, texts: &Texts, mut read: impl FnMut(&Text) -> Reading) -> Touched {
        let mut touched = Touched::default();
        let kept_before: Vec<Text> = self.keepers().map(|(_, reading)| reading.text.clone()).collect();
        let before = std::mem::replace(&mut self.texts, texts.clone());
        let (mut come, mut old) = (Vec::new(), HashMap::new());
        for difference in before.differences(texts) {
            let (Difference::Here(place, _) | Difference::Gone(place)) = difference;
            // One that stands elsewhere now says the same as before.
            old.extend(self.take(place).map(|reading| (Arc::clone(place.name()), reading)));
            if let Difference::Here(place, text) = difference {
                come.push((place, text));
            }
        }
        let mut came_or_went = false;
        for (place, text) in come {
            let old = old.remove(&text.name);
            came_or_went |= old.is_none();
            let reading = match old {
                Some(reading) if reading.text == *text => reading,
                old => {
                    let new = read(text);
                    self.exchange(&text.name, old.as_deref(), Some(&new), &mut touched);
                    Arc::new(new)
                }
            };
            self.put(place, reading);
        }
        came_or_went |= !old.is_empty();
        for (name, gone) in &old {
            self.exchange(name, Some(gone), None, &mut touched);
        }
        let keeps_others = came_or_went && !self.keepers.is_empty();
        touched.all = keeps_others || !self.keepers().map(|(_, reading)| &reading.text).eq(&kept_before);
        touched
    }

    fn take(&mut self, place: &Place) -> Option<Arc<Reading>> {
        self.keepers.remove(place);
        self.wrong.remove(place);
        self.places.remove(place.name());
        self.readings.remove(place)
    }

    fn put(&mut self, place: &Place, reading: Arc<Reading>) {
        if reading.keeps_last {
            self.keepers.insert(place.clone());
        }
        if !reading.problems.is_empty() || !reading.wrong.is_empty() {
            self.wrong.insert(place.clone());
        }
        self.places.insert(Arc::clone(place.name()), place.clone());
        self.readings.insert(place.clone(), reading);
    }

    /// What all texts say, in the order of the sources.
    pub(super) fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.readings.values().map(|reading| &**reading)
    }

    /// A text by its name.
    pub(super) fn text(&self, name: &Arc<str>) -> Option<&Text> {
        Some(&self.readings.get(self.places.get(name)?)?.text)
    }

    /// One version of a text takes the place of another.
    fn exchange(&mut self, name: &Arc<str>, old: Option<&Reading>, new: Option<&Reading>, touched: &mut Touched) {
        touched.documents.insert(Arc::clone(name));
        let written = |reading: Option<&Reading>, key: &Key| reading.and_then(|reading| reading.entry(key).cloned());
        let has =
            |reading: Option<&Reading>, key: &Key| reading.is_some_and(|reading| reading.objects.contains_key(key));
        for key in old.into_iter().flat_map(|reading| reading.objects.keys()).filter(|key| !has(new, key)) {
            if let hashmap::Entry::Occupied(mut names) = self.named.entry(key.clone()) {
                names.get_mut().retain(|other| other != name);
                if names.get().is_empty() {
                    names.remove();
                }
            }
            touched.keys.insert(key.clone());
        }
        for key in new.into_iter().flat_map(|reading| reading.objects.keys()) {
            if !has(old, key) {
                self.named.entry(key.clone()).or_default().push(Arc::clone(name));
            }
            let is_same = match (written(old, key), written(new, key)) {
                (Some(old), Some(new)) => old.object.is_same(&new.object),
                _ => false,
            };
            if !is_same {
                touched.keys.insert(key.clone());
            }
        }
    }

    /// The problems of the texts themselves, and the objects they keep from being in force.
    pub(super) fn findings(&self, in_force: &Entries) -> Findings {
        let mut findings = Findings::default();
        for (place, reading) in self.wrong.iter().filter_map(|place| self.readings.get_key_value(place)) {
            let first = findings.count();
            findings.extend(reading.problems.iter().cloned());
            for (key, problem) in &reading.wrong {
                if !in_force.contains_key(key) && self.places_of(key).min() == Some(place) {
                    findings.blame(key.clone(), first + problem);
                }
            }
        }
        findings
    }

    /// What the texts want for an object; or what a template makes, if no text names it.
    pub(super) fn resolve(
        &self,
        key: &Key,
        in_force: &Entries,
        made: Option<&Arc<Entry>>,
        findings: &mut Findings,
    ) -> Claim {
        let current = in_force.get(key);
        let keeping = self.keepers().filter(|(_, reading)| current.is_some_and(|entry| self.keeps(reading, entry)));
        let places: BTreeSet<&Place> = self.places_of(key).chain(keeping.map(|(place, _)| place)).collect();
        let mut readings = places.into_iter().filter_map(|place| self.readings.get(place));
        let Some(reading) = readings.next() else {
            let is_kept = |entry: &&Arc<Entry>| entry.origin == Origin::Stored && !self.keepers.is_empty();
            return Claim { entry: made.or(current.filter(is_kept)).cloned(), is_contested: false };
        };
        let (document, entry) = match reading.objects.get(key) {
            Some(written) => {
                let document = &reading.text.name;
                (document, written.entry.clone().or_else(|| Some(last_good(current?, document))))
            }
            // Only a reading that covers what is in force is here without a word about it.
            None => (current.map_or(&reading.text.name, |entry| &entry.document), current.cloned()),
        };
        let mut is_contested = false;
        for reading in readings {
            let Some(written) = reading.objects.get(key) else { continue };
            let reason = format!("already defined in {document}, which comes first and wins");
            let problem = written.problem(&reading.text.name, key, reason);
            findings.add(Problem { revision: reading.text.revision(), ..problem });
            is_contested = true;
        }
        if let Some(made) = made {
            let path = format!("{}.{}", key.0.map_name(), key.1);
            let reason = format!("made of a template, but already defined in {document}, which wins");
            findings.add(super::unplaced(&made.document, path, reason));
            is_contested = true;
        }
        Claim { entry, is_contested }
    }

    fn places_of(&self, key: &Key) -> impl Iterator<Item = &Place> {
        let names = self.named.get(key).into_iter().flatten();
        names.filter_map(|name| self.places.get(name))
    }

    /// Whether an object in force stays because of a text. A folder that is gone speaks for the files that were in it, but not
    /// for one that is there.
    fn keeps(&self, reading: &Reading, entry: &Entry) -> bool {
        let is_own = reading.text.name == entry.document;
        reading.covers(entry) && (is_own || !self.places.contains_key(&entry.document))
    }

    /// The texts that cannot be read in full, so that what they said before stands.
    fn keepers(&self) -> impl Iterator<Item = (&Place, &Reading)> {
        let readings = self.keepers.iter().filter_map(|place| self.readings.get_key_value(place));
        readings.map(|(place, reading)| (place, &**reading))
    }
}

/// The version in force, from now on that of the document that has just failed to replace it.
fn last_good(current: &Arc<Entry>, document: &Arc<str>) -> Arc<Entry> {
    let is_at_home = current.document == *document && current.origin == Origin::Written;
    match is_at_home || current.origin == Origin::Made {
        true => Arc::clone(current),
        false => {
            let (document, origin) = (Arc::clone(document), Origin::Written);
            Arc::new(Entry { document, origin, ..Entry::clone(current) })
        }
    }
}
