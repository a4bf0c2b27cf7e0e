//! Records of Releases of Kubernetes: in the status of each object, so that who looks at the object sees how far it is.
//!
//! What is written comes back by the watch of the source, to all instances that follow the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubernetes_source::{LastChange, RegisterError, ReleaseStatus, Releases, StoredRelease};
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;
use serde_json::Value;

use super::judgement::by;
use super::store::{Answer, follows};
use super::webhooks::{CursorStore, Cursors};
use super::{Entry, Records, Store, StoreError, time};

/// Keeps records in objects, those of other releases elsewhere.
pub struct ObjectStore {
    releases: Arc<Releases>,
    others: Arc<dyn Store>,
}

impl ObjectStore {
    /// One for both.
    pub fn new(releases: Arc<Releases>, others: Arc<dyn Store>) -> Self {
        Self { releases, others }
    }

    /// Whether the record of a release is in an object. Before objects were heard, those that nobody else knows are.
    async fn has(&self, release: &Name) -> Result<bool, StoreError> {
        match self.releases.has(release.as_str()) {
            Some(is_object) => Ok(is_object),
            None => Ok(self.others.newest(release).await?.is_none()),
        }
    }

    async fn read(&self, release: &Name) -> Result<(StoredRelease, Option<Entry>), StoreError> {
        let stored = self.releases.read(release.as_str()).await?;
        let newest = entry(&stored.status.record).map_err(StoreError::Damaged)?;
        Ok((stored, newest))
    }

    async fn write(&self, release: &Name, entry: &Entry) -> Result<i64, StoreError> {
        let (mut stored, newest) = self.read(release).await?;
        follows(newest.map_or(0, |newest| newest.record.number), entry)?;
        show(&mut stored.status, entry);
        self.releases.write(release.as_str(), &stored).await?;
        Ok(0)
    }
}

impl Store for ObjectStore {
    fn newest<'a>(&'a self, release: &'a Name) -> Answer<'a, Option<(Entry, i64)>> {
        Box::pin(async move {
            match self.has(release).await? {
                true => Ok(self.read(release).await?.1.map(|entry| (entry, 0))),
                false => self.others.newest(release).await,
            }
        })
    }

    fn add<'a>(&'a self, release: &'a Name, entry: &'a Entry, behind: i64) -> Answer<'a, i64> {
        Box::pin(async move {
            match self.has(release).await? {
                true => self.write(release, entry).await,
                false => self.others.add(release, entry, behind).await,
            }
        })
    }

    fn history<'a>(&'a self, release: &'a Name, most: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            if !self.has(release).await? {
                return self.others.history(release, most).await;
            }
            let stored = self.releases.read(release.as_str()).await?;
            // Those of another version that cannot be read here are left out.
            let readable = stored.status.history.iter().rev().filter_map(|value| entry(value).ok().flatten());
            Ok(readable.take(most).collect())
        })
    }
}

/// Keeps how far receivers have been told, for whoever holds the Lease.
pub struct ObjectCursors(pub Arc<Releases>);

/// Without revisions: two that hold the Lease for a moment may tell something twice, as those may that follow one another.
impl CursorStore for ObjectCursors {
    fn load<'a>(&'a self, webhook: &'a Name) -> Answer<'a, (Option<Cursors>, i64)> {
        Box::pin(async move {
            let stored = self.0.note(webhook.as_str()).await?;
            let cursors = stored.map(|text| Cursors::parse(text.as_bytes())).transpose();
            Ok((cursors.map_err(StoreError::Damaged)?, 0))
        })
    }

    fn save<'a>(&'a self, webhook: &'a Name, cursors: &'a Cursors, _behind: i64) -> Answer<'a, i64> {
        Box::pin(async move {
            self.0.write_note(webhook.as_str(), &cursors.text()).await?;
            Ok(0)
        })
    }
}

impl From<RegisterError> for StoreError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Overtaken => Self::Overtaken,
            gone @ RegisterError::Gone => Self::Unreachable(gone.to_string()),
            RegisterError::Unreachable(reason) => Self::Unreachable(reason),
            RegisterError::Damaged(reason) => Self::Damaged(reason),
        }
    }
}

/// The records that objects have, with those `before` in the place of what cannot be read, and what is wrong with these.
pub fn records_of_objects(written: &BTreeMap<String, Value>, before: &Records) -> (Records, Vec<(Name, String)>) {
    let (mut records, mut troubles) = (Records::new(), Vec::new());
    for (release, value) in written {
        let Ok(name) = Name::new(release) else { continue };
        match entry(value) {
            Ok(Some(entry)) => drop(records.insert(name, entry.record)),
            Ok(None) => {}
            Err(reason) => {
                records.extend(before.get(&name).map(|record| (name.clone(), Arc::clone(record))));
                troubles.push((name, reason));
            }
        }
    }
    (records, troubles)
}

fn entry(record: &Value) -> Result<Option<Entry>, String> {
    match record {
        Value::Null => Ok(None),
        record => Entry::of(record.clone()).map(Some),
    }
}

/// Puts an entry down: for Serin as it is, and for people in short.
fn show(status: &mut ReleaseStatus, entry: &Entry) {
    let record = &*entry.record;
    status.status = Some(record.state.status.to_string());
    // Of a release that is rolled back that is nobody.
    status.percent = Some(f64::from(record.state.share().basis_points()) / 100.0);
    status.phase = phase(record);
    // What was said is about the release as it was.
    status.verdict = None;
    status.reason = Some(by(record));
    let last = &record.last;
    status.last = Some(LastChange {
        action: last.action.to_string(),
        by: last.by.to_string(),
        reason: last.reason.to_string(),
        at: time(last.at_ms),
    });
    status.record = Entry { record: Arc::clone(&entry.record), rules: record.accepted.clone() }.value();
    status.history.push(entry.value());
    forget(&mut status.history);
}

/// Leaves the last entries that there is room for, and the last one in any case.
fn forget(history: &mut Vec<Value>) {
    let mut left = MOST_BYTES;
    let has_room = |entry: &&Value| match left.checked_sub(entry.to_string().len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let kept = history.iter().rev().take(MOST_ENTRIES).take_while(has_room).count().max(1);
    history.drain(..history.len().saturating_sub(kept));
}

/// `2/5`: the last phase it has reached, of so many.
fn phase(record: &ReleaseRecord) -> Option<String> {
    let phases = record.accepted.as_ref().map(|rules| &rules.phases).filter(|phases| !phases.is_empty())?;
    let reached = phases.iter().rposition(|phase| phase.percent <= record.state.percent);
    Some(format!("{}/{}", reached.map_or(0, |index| index + 1), phases.len()))
}

/// Entries that an object has. It is read as a whole by everybody who follows it.
const MOST_ENTRIES: usize = 100;

/// The same, in bytes: each may have an audience of thousands of networks, and an object has room for a million.
const MOST_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use routing_rules::rules::Release;
    use serde_json::json;

    use super::*;

    fn begun(networks: usize) -> Entry {
        let networks: Vec<_> = (0..networks).map(|it| format!("10.{}.{}.0/24", it / 256, it % 256)).collect();
        let spec = json!({"stable": "a", "canary": "b", "phases": [1, 10, 100],
            "audience": [{"name": "office", "ip": networks, "percent": 100}, {"name": "all"}]});
        let rules = Release::new("shop.r", &serde_json::from_value(spec).unwrap(), &mut Vec::new()).unwrap();
        let record = ReleaseRecord::begin(&rules, 0, None, 1_000);
        let rules = record.accepted.clone();
        Entry { record: Arc::new(record), rules }
    }

    #[test]
    fn people_see_the_same_as_serin() {
        let (mut status, entry) = (ReleaseStatus::default(), begun(1));
        show(&mut status, &entry);
        let shown = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&shown["status"], &shown["phase"], &shown["percent"]),
            (&json!("running"), &json!("1/3"), &json!(1.0))
        );
        assert_eq!(
            shown["last"],
            json!({"action": "begin", "by": "serin", "reason": "b takes over from a", "at": "1970-01-01T00:00:01.000Z"})
        );
        assert_eq!(super::entry(&status.record).unwrap().unwrap().record, entry.record);
        assert_eq!(super::entry(&status.history[0]).unwrap().unwrap(), entry);
        assert_eq!(shown["verdict"], Value::Null);
    }

    #[test]
    fn history_has_an_end() {
        let (mut status, entry) = (ReleaseStatus::default(), begun(1));
        (0..2 * MOST_ENTRIES).for_each(|_| show(&mut status, &entry));
        assert_eq!(status.history.len(), MOST_ENTRIES);
        let large = begun(4_000);
        (0..MOST_ENTRIES).for_each(|_| show(&mut status, &large));
        let bytes: usize = status.history.iter().map(|entry| entry.to_string().len()).sum();
        assert!(bytes <= MOST_BYTES && status.history.len() > 1, "{}", status.history.len());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_the_one_before() {
        let name = Name::new("shop.r").unwrap();
        let entry = begun(1);
        let written = |value: Value| BTreeMap::from([("shop.r".to_owned(), value)]);
        let (records, troubles) = records_of_objects(&written(entry.value()), &Records::new());
        assert_eq!((records.get(&name), troubles.len()), (Some(&entry.record), 0));
        let (kept, troubles) = records_of_objects(&written(json!({"number": "one"})), &records);
        assert_eq!((kept.get(&name), troubles.len()), (Some(&entry.record), 1));
        let (none, troubles) = records_of_objects(&written(Value::Null), &records);
        assert!(none.is_empty() && troubles.is_empty());
    }
}
