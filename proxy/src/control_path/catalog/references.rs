//! Every reference must lead somewhere.
//!
//! What a reference needs and had before is kept. An object whose reference never led anywhere goes back to its last
//! good version, or waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use routing_rules::rules::RuleSet;

use super::{Entries, Entry, Key, Places};
use crate::control_path::decode::Problem;

/// Mends `entries` and the `rules` made of them until all references lead somewhere. `before` is what was in force.
pub(super) fn mend(
    before: &Entries,
    entries: &mut Entries,
    rules: &mut RuleSet,
    places: &mut Places<'_>,
    problems: &mut Vec<Problem>,
) {
    // What was in force had no loose ends, so every round takes something new out or puts something old back,
    // and there is only so much of either.
    loop {
        let dangling = rules.dangling();
        if dangling.is_empty() {
            return;
        }
        // An object with several loose ends goes back once, after all of them are reported.
        let mut loose = BTreeSet::new();
        for reference in dangling {
            let from: Key = (reference.from, reference.from_name.as_str().into());
            let to: Key = (reference.to, reference.to_name.as_str().into());
            let Some(entry) = entries.get(&from) else { continue };
            let document = Arc::clone(&entry.document);
            let error = reference.error();
            let consequence = if let Some(kept) = before.get(&to) {
                rules.insert(kept.object.clone());
                entries.insert(to, Arc::clone(kept));
                "it was removed but is still used, and stays as it was"
            } else {
                let consequence = match last_good(before, entries, &from) {
                    Some(_) => "the last good version stays in force",
                    None => "not in force until there is one",
                };
                loose.insert(from);
                consequence
            };
            problems.push(places.problem(&document, error.at, format!("{}; {consequence}", error.reason)));
        }
        for key in loose {
            match last_good(before, entries, &key) {
                Some(last_good) => {
                    rules.insert(last_good.object.clone());
                    entries.insert(key, last_good);
                }
                None => {
                    rules.remove(key.0, &key.1);
                    entries.remove(&key);
                }
            }
        }
    }
}

/// The version before this one, if this one is new.
fn last_good(before: &Entries, entries: &Entries, key: &Key) -> Option<Arc<Entry>> {
    let (now, before) = (entries.get(key)?, before.get(key)?);
    (!before.object.is_same(&now.object)).then(|| {
        let (document, is_stored) = (Arc::clone(&now.document), now.is_stored);
        Arc::new(Entry { document, is_stored, ..Entry::clone(before) })
    })
}
