//! Edits of releases under way that may take users of a canary back to stable: the release stays as it was accepted until
//! somebody writes that it is meant.
//!
//! What was accepted is in the release's record, which all instances share: so each comes to the same answer, and one that starts anew
//! as well. Without a record, or with one that does not say, there is nothing to hold an edit against, and it is accepted.

use std::sync::Arc;

use routing_rules::release::EditRefusal;
use routing_rules::rules::{Kind, Name, Object, Release};
use routing_rules::spec::ReleaseSpec;

use super::{Entries, Entry, Key, ObjectSpec};
use crate::control_path::release::{Records, TakenBack};

/// How far releases are, and what of them was accepted.
#[derive(Clone, Default)]
pub(super) struct Guard {
    records: Records,
    witness: Option<Witness>,
    /// What it said of the edits that are held. It is asked once for each, and again when the release has moved: problems that change
    /// are told anew.
    said: imbl::HashMap<Key, (Arc<ObjectSpec>, u64, String)>,
}

/// Who knows how many of the users who came lately an edit would take back.
pub type Witness = Arc<dyn Fn(&Release) -> Option<TakenBack> + Send + Sync>;

/// An edit that is not accepted.
pub(super) struct Held {
    /// The release as it was accepted.
    pub(super) entry: Arc<Entry>,
    /// Why.
    pub(super) refusal: EditRefusal,
    /// What is known of whom it concerns.
    pub(super) said: String,
}

impl Guard {
    /// From now on this one is asked.
    pub(super) fn ask(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    /// From now on these are the records. Returns the releases to look at again.
    pub(super) fn follow(&mut self, records: &Records) -> Vec<Key> {
        let before = std::mem::replace(&mut self.records, records.clone());
        let is_same = |name: &Name| before.get(name) == self.records.get(name);
        let names = before.keys().chain(self.records.keys()).filter(|name| !is_same(name));
        names.map(|name| (Kind::Release, name.as_str().into())).collect()
    }

    /// What stays in force instead of an entry that may take users back.
    pub(super) fn holds(&mut self, key: &Key, entry: &Arc<Entry>, in_force: &Entries) -> Option<Held> {
        let Object::Release(edited) = &entry.object else { return None };
        let record = self.records.get(edited.name())?;
        let written = record.accepted.as_ref().filter(|_| !record.has_accepted(edited))?;
        let kept = in_force.get(key).filter(|kept| says(kept, written));
        let accepted = match kept.map(|kept| &kept.object) {
            Some(Object::Release(accepted)) => Arc::clone(accepted),
            // What an earlier version accepted may not be right any more.
            _ => Arc::new(Release::new(edited.name().as_str(), written, &mut Vec::new())?),
        };
        let refusal = record.refuses(&accepted, edited)?;
        let spec = match kept {
            Some(kept) => Arc::clone(&kept.spec),
            None => Arc::new(ObjectSpec::Release(Box::new(ReleaseSpec::clone(written)))),
        };
        self.said.retain(|key, _| in_force.contains_key(key));
        let number = record.number;
        let said = self.said_of(key, &entry.spec, number, edited);
        let entry = Entry { spec, object: Object::Release(accepted), ..Entry::clone(entry) };
        Some(Held { entry: Arc::new(entry), refusal, said })
    }

    fn said_of(&mut self, key: &Key, spec: &Arc<ObjectSpec>, number: u64, edited: &Release) -> String {
        let is_asked = |(known, at, _): &&(Arc<ObjectSpec>, u64, String)| *at == number && known == spec;
        if let Some((_, _, said)) = self.said.get(key).filter(is_asked) {
            return said.clone();
        }
        let told = self.witness.as_ref().and_then(|witness| witness(edited));
        let said = told.map_or_else(String::new, said);
        self.said.insert(key.clone(), (Arc::clone(spec), number, said.clone()));
        said
    }
}

fn said(told: TakenBack) -> String {
    let TakenBack { users, back, unknown } = told;
    let unknown = match unknown {
        0 => String::new(),
        _ => format!("; of {unknown} it cannot be told"),
    };
    format!(". Of {users} users who came to this instance lately, {back} would go back{unknown}")
}

fn says(entry: &Entry, written: &ReleaseSpec) -> bool {
    matches!(&*entry.spec, ObjectSpec::Release(spec) if **spec == *written)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use routing_rules::release::{Command, ReleaseRecord, SignedCommand};

    use super::*;
    use crate::control_path::catalog::Catalog;
    use crate::control_path::release::Records;
    use crate::control_path::source::{Text, TextKind, Texts};

    /// A release at 10 %, whose rule has this percent, and how often the text has changed.
    fn texts(percent: &str, more: &str, round: u32) -> Texts {
        let content = format!(
            "# {round}\nroutes: {{all: {{upstream: a, release: r}}}}\nupstreams: {{a: {{}}, b: {{}}}}\n\
             releases: {{r: {{stable: a, canary: b, audience: [{{name: all, percent: {percent}}}], phases: [10]{more}}}}}\n"
        );
        vec![Text { name: "main".into(), content: Ok(content.as_str().into()), kind: TextKind::Main }].into()
    }

    fn release(catalog: &Catalog) -> Arc<Release> {
        Arc::clone(catalog.rules().releases().next().expect("a release"))
    }

    fn records(record: &ReleaseRecord) -> Records {
        [(Name::new("r").expect("a name"), Arc::new(record.clone()))].into_iter().collect()
    }

    /// A catalog that begins with this.
    fn begun(texts: &Texts, records: &Records) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.follow(records);
        catalog.update_texts(texts, None);
        catalog
    }

    #[test]
    fn what_was_accepted_stays_until_the_edit_is_accepted() {
        let mut catalog = begun(&texts("phase", "", 0), &Records::new());
        let accepted = release(&catalog);
        let record = ReleaseRecord::begin(&accepted, 1, None, 0);
        catalog.follow(&records(&record));
        assert!(!catalog.update_texts(&texts("phase", "", 0), None));
        for round in 1..4 {
            // Nothing is compiled anew however often somebody writes.
            assert!(!catalog.update_texts(&texts("5", "", round), None));
            assert!(Arc::ptr_eq(&release(&catalog), &accepted));
            let [problem] = catalog.problems() else { panic!("{:?}", catalog.problems()) };
            let (path, line) = (problem.path.as_str(), problem.line);
            assert_eq!((path, line), ("releases.r.audience[0].percent", 4));
        }
        // Somebody else has begun with what waits, and has the same in force.
        let other = begun(&texts("5", "", 4), &records(&record));
        assert_eq!((release(&other).written(), other.problems()), (accepted.written(), catalog.problems()));
        assert_eq!(other.spec(), catalog.spec());
        // No text has changed; but nobody is in the canary group any more.
        let order = SignedCommand { command: Command::Rollback, by: "anna", reason: "" };
        let rolled_back = record.after(&order, &accepted, 1).expect("it makes sense").expect("it changes something");
        catalog.follow(&records(&rolled_back));
        assert!(catalog.update_texts(&texts("5", "", 3), None));
        assert_ne!(release(&catalog).written(), accepted.written());
        assert!(catalog.problems().is_empty());
    }

    #[test]
    fn who_knows_the_users_is_asked_once_for_each_edit() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let told = move || TakenBack { users: 200, back: counter.fetch_add(1, Relaxed), unknown: 0 };
        let witness: Witness = Arc::new(move |_| Some(told()));
        let mut catalog = Catalog::default().asking(witness);
        catalog.update_texts(&texts("phase", "", 0), None);
        let record = ReleaseRecord::begin(&release(&catalog), 1, None, 0);
        catalog.follow(&records(&record));
        let mut said = |percent: &str, round, number| {
            catalog.follow(&records(&ReleaseRecord { number, ..record.clone() }));
            catalog.update_texts(&texts(percent, "", round), None);
            catalog.problems()[0].reason.clone()
        };
        let first = said("5", 1, 1);
        assert!(first.ends_with("Of 200 users who came to this instance lately, 0 would go back"), "{first}");
        assert_eq!(said("5", 2, 1), first);
        assert!(said("4", 3, 1).contains("lately, 1 would"));
        assert!(said("4", 4, 2).contains("lately, 2 would"), "the release has moved");
        assert_eq!(asked.load(Relaxed), 3);
        let unknown = super::said(TakenBack { users: 200, back: 3, unknown: 20 });
        assert!(unknown.ends_with("lately, 3 would go back; of 20 it cannot be told"), "{unknown}");
    }

    #[test]
    fn force_is_taken_by_all_who_know_the_record() {
        let accepted = release(&begun(&texts("phase", "", 0), &Records::new()));
        let record = ReleaseRecord::begin(&accepted, 1, None, 0);
        let forced = texts("5", ", force: 0", 0);
        let catalog = begun(&forced, &records(&record));
        assert!(catalog.problems().is_empty());
        // It is written down, and is what later edits are held against.
        let record = record.after_edit(&release(&catalog), 2, 1).expect("an edit");
        assert!(begun(&forced, &records(&record)).problems().is_empty());
        assert!(begun(&texts("5", "", 0), &records(&record)).problems().is_empty());
        let back = begun(&texts("1", ", force: 0", 0), &records(&record));
        assert_eq!(release(&back).written(), release(&catalog).written());
        assert!(back.problems()[0].reason.ends_with("this one takes `force: 1`"), "{:?}", back.problems());
        // A record of an earlier version does not say what was accepted.
        let unknown = ReleaseRecord { accepted: None, ..record };
        assert!(begun(&texts("1", "", 0), &records(&unknown)).problems().is_empty());
    }
}
