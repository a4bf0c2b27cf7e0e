//! How far each receiver has been told of each release, kept where histories are: a process that starts again, or another instance
//! that leads, goes on from there.
//!
//! A receiver is told of everything after its cursor; what was told and not yet written down is told once more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use routing_rules::rules::Name;
use serde::{Deserialize, Serialize};

use crate::control_path::release::store::Answer;
use crate::control_path::release::{Entry, StoreError};
use crate::control_path::state_dir::StateDir;

/// How far one receiver has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// Since when it wants to know of these releases, in milliseconds since 1970. Of releases without a cursor it is told what came later.
    pub(super) since_ms: u64,
    /// Of which releases it wants to know; nothing if of all.
    #[serde(default)]
    pub(super) only: Option<Vec<String>>,
    /// By release.
    #[serde(default)]
    pub(super) releases: BTreeMap<String, Cursor>,
}

/// The last change of a release that is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) number: u64,
    /// When it was made. A history that has begun anew has lower numbers, and later changes.
    pub(super) at_ms: u64,
}

/// All of them, by webhook.
pub type StoredCursors = BTreeMap<String, Cursors>;

impl Cursors {
    /// Those of a receiver that begins to listen.
    pub(super) fn begin(since_ms: u64, only: Option<Vec<String>>) -> Self {
        Self { since_ms, only, releases: BTreeMap::new() }
    }

    /// What a receiver that wants to know of these releases goes on with: of those that it did not want before, only what came
    /// after `since_ms`.
    pub(super) fn go_on(mut self, since_ms: u64, only: Option<&Vec<String>>) -> Self {
        if self.only.as_ref() != only {
            self.only = only.cloned();
            self.since_ms = since_ms;
            self.releases.retain(|name, _| only.is_none_or(|only| only.contains(name)));
        }
        self
    }

    /// As they are stored.
    pub(in crate::control_path::release) fn text(&self) -> String {
        serde_json::to_string(self).expect("a map of texts and numbers is JSON")
    }

    /// What a text says.
    ///
    /// # Errors
    /// It was not written by a version like this one; says what is wrong.
    pub(in crate::control_path::release) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// What a receiver has not been told yet, the earliest first, of the last entries of a history, the newest first; and how
    /// many of those before have gone.
    pub(super) fn ahead(&self, release: &Name, newest_first: Vec<Entry>) -> (Vec<Entry>, u64) {
        let cursor = self.releases.get(release.as_str());
        let newest = newest_first.first().map_or(0, |entry| entry.record.number);
        let is_ahead = |entry: &Entry| match cursor {
            Some(cursor) if newest < cursor.number => entry.record.last.at_ms > cursor.at_ms,
            Some(cursor) => entry.record.number > cursor.number,
            None => entry.record.last.at_ms >= self.since_ms,
        };
        let mut ahead: Vec<Entry> = newest_first.into_iter().filter(is_ahead).collect();
        ahead.reverse();
        let expected = cursor.filter(|cursor| newest >= cursor.number).map(|cursor| cursor.number + 1);
        let first = ahead.first().map(|entry| entry.record.number);
        let gone = expected.zip(first).map_or(0, |(expected, first)| first.saturating_sub(expected));
        (ahead, gone)
    }

    /// An entry is done with.
    pub(super) fn pass(&mut self, release: &Name, entry: &Entry) {
        let cursor = Cursor { number: entry.record.number, at_ms: entry.record.last.at_ms };
        self.releases.insert(release.to_string(), cursor);
    }
}

/// Keeps cursors. There is one for each store of records.
pub trait CursorStore: Send + Sync {
    /// What is stored for a webhook, and at which revision that was written; 0 if there is nothing, or nobody else writes.
    fn load<'a>(&'a self, webhook: &'a Name) -> Answer<'a, (Option<Cursors>, i64)>;

    /// Replaces what was written at that revision. Returns at which it is now.
    fn save<'a>(&'a self, webhook: &'a Name, cursors: &'a Cursors, behind: i64) -> Answer<'a, i64>;
}

/// Cursors of one instance that follows no others: in the state folder, or in memory where there is none.
pub struct FolderCursors {
    state_dir: Option<StateDir>,
    all: Arc<Mutex<StoredCursors>>,
    /// Held by who writes to the disk.
    saving: Arc<Mutex<()>>,
}

impl FolderCursors {
    /// Those of an earlier process.
    pub fn open(state_dir: Option<StateDir>) -> Self {
        let all = state_dir.as_ref().map(StateDir::restore_cursors).unwrap_or_default();
        Self { state_dir, all: Arc::new(Mutex::new(all)), saving: Arc::default() }
    }
}

impl CursorStore for FolderCursors {
    fn load<'a>(&'a self, webhook: &'a Name) -> Answer<'a, (Option<Cursors>, i64)> {
        // Inserting leaves nothing half done.
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(webhook.as_str()).cloned();
        Box::pin(async move { Ok((known, 0)) })
    }

    fn save<'a>(&'a self, webhook: &'a Name, cursors: &'a Cursors, _behind: i64) -> Answer<'a, i64> {
        let (all, saving, state_dir) = (Arc::clone(&self.all), Arc::clone(&self.saving), self.state_dir.clone());
        let (webhook, cursors) = (webhook.to_string(), cursors.clone());
        let save = move || {
            let _saving = saving.lock().unwrap_or_else(PoisonError::into_inner);
            let all = {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(webhook, cursors);
                all.clone()
            };
            state_dir.map_or(Ok(()), |state_dir| state_dir.save_cursors(&all))
        };
        Box::pin(async move {
            let saved = tokio::task::spawn_blocking(save).await.map_err(std::io::Error::other).flatten();
            saved.map(|()| 0).map_err(|error| StoreError::Unreachable(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use routing_rules::release::{Change, ReleaseRecord};
    use routing_rules::rules::Release;

    use super::*;

    fn name() -> Name {
        Name::new("r").unwrap()
    }

    /// An entry with this number, made at this time.
    fn entry(number: u64, at_ms: u64) -> Entry {
        let rules = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1]}"#;
        let rules = Release::new("r", &serde_json::from_str(rules).unwrap(), &mut Vec::new()).unwrap();
        let record = ReleaseRecord::begin(&rules, 0, None, at_ms);
        let record = ReleaseRecord { number, last: Change { at_ms, ..record.last.clone() }, ..record };
        Entry { record: Arc::new(record), rules: None }
    }

    /// The numbers that are ahead of a receiver, of a history from the first of these to the last, and how many have gone.
    fn ahead(cursors: &Cursors, entries: &[(u64, u64)]) -> (Vec<u64>, u64) {
        let newest_first = entries.iter().rev().map(|(number, at_ms)| entry(*number, *at_ms)).collect();
        let (ahead, gone) = cursors.ahead(&name(), newest_first);
        (ahead.iter().map(|entry| entry.record.number).collect(), gone)
    }

    #[test]
    fn what_is_behind_the_cursor_comes_in_its_order() {
        let mut cursors = Cursors::begin(100, None);
        assert_eq!(ahead(&cursors, &[]), (vec![], 0));
        assert_eq!(ahead(&cursors, &[(1, 90), (2, 100), (3, 110)]), (vec![2, 3], 0), "a new receiver: from now on");
        cursors.pass(&name(), &entry(2, 100));
        // The clock of whoever took an order may be behind.
        assert_eq!(ahead(&cursors, &[(1, 90), (2, 100), (3, 95), (4, 120)]), (vec![3, 4], 0));
        assert_eq!(ahead(&cursors, &[(5, 130), (6, 140)]), (vec![5, 6], 2), "two have gone from history");
        cursors.pass(&name(), &entry(6, 140));
        assert_eq!(ahead(&cursors, &[(5, 130), (6, 140)]), (vec![], 0));
        assert_eq!(ahead(&cursors, &[(1, 150), (2, 160)]), (vec![1, 2], 0), "a history that was lost begins anew");
    }

    #[test]
    fn whoever_wants_to_know_of_others_is_told_of_these_from_then_on() {
        let only = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let mut cursors = Cursors::begin(100, only(&["r", "s"]));
        cursors.pass(&name(), &entry(2, 110));
        assert_eq!(cursors.clone().go_on(500, only(&["r", "s"]).as_ref()), cursors);
        let all = cursors.clone().go_on(500, None);
        assert_eq!((all.since_ms, all.releases.len(), &all.only), (500, 1, &None));
        assert_eq!(ahead(&all, &[(2, 110), (3, 120)]), (vec![3], 0), "of those it wanted before, everything");
        let other = cursors.go_on(500, only(&["s"]).as_ref());
        assert_eq!((other.releases.len(), ahead(&other, &[(3, 120), (4, 600)])), (0, (vec![4], 0)));
        assert_eq!(Cursors::parse(all.text().as_bytes()), Ok(all));
    }
}
