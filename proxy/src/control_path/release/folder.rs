//! Records of one instance that follows no others: in the state folder, or in memory where there is none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::rules::Name;

use super::store::{Answer, MOST_ENTRIES};
use super::{Entry, Records, Store, StoreError, StoredHistories};
use crate::control_path::state_dir::StateDir;

/// Keeps records in a file.
pub struct FolderStore {
    shared: Arc<Shared>,
}

struct Shared {
    state_dir: Option<StateDir>,
    histories: Mutex<Histories>,
    tell: Box<dyn Fn(Records) + Send + Sync>,
}

/// The entries of each release, the newest last.
type Histories = BTreeMap<Name, VecDeque<Entry>>;

impl FolderStore {
    /// Reads what is stored, and tells whenever it is something else.
    pub fn open(state_dir: Option<StateDir>, tell: impl Fn(Records) + Send + Sync + 'static) -> Self {
        let stored = state_dir.as_ref().map(StateDir::restore_histories).unwrap_or_default();
        let histories = stored.histories().map(|(name, entries)| (name, entries.into())).collect();
        let histories = Mutex::new(histories);
        Self { shared: Arc::new(Shared { state_dir, histories, tell: Box::new(tell) }) }
    }

    /// The newest records.
    pub fn records(&self) -> Records {
        newest(&self.shared.histories())
    }
}

impl Store for FolderStore {
    fn newest<'a>(&'a self, release: &'a Name) -> Answer<'a, Option<(Entry, i64)>> {
        Box::pin(async move {
            let newest = self.shared.histories().get(release).and_then(VecDeque::back).cloned();
            Ok(newest.map(|entry| (entry, 0)))
        })
    }

    fn add<'a>(&'a self, release: &'a Name, entry: &'a Entry) -> Answer<'a, i64> {
        let (shared, release, entry) = (Arc::clone(&self.shared), release.clone(), entry.clone());
        Box::pin(async move {
            // A disk can be slow, and others wait for the thread.
            let added = tokio::task::spawn_blocking(move || shared.add(release, entry)).await;
            added.map_err(|error| StoreError::Unreachable(error.to_string()))?
        })
    }

    fn history<'a>(&'a self, release: &'a Name, most: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            let histories = self.shared.histories();
            let entries = histories.get(release).into_iter().flat_map(|entries| entries.iter().rev());
            Ok(entries.take(most).cloned().collect())
        })
    }
}

impl Shared {
    fn histories(&self) -> MutexGuard<'_, Histories> {
        // It is replaced as a whole, so that no panic leaves it half changed.
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is in the file before anybody acts on it.
    fn add(&self, release: Name, entry: Entry) -> Result<i64, StoreError> {
        let mut histories = self.histories();
        let newest_number = histories.get(&release).and_then(VecDeque::back).map_or(0, |newest| newest.record.number);
        if entry.record.number != newest_number + 1 {
            return Err(StoreError::Overtaken);
        }
        let mut next = histories.clone();
        let entries = next.entry(release).or_default();
        entries.push_back(entry);
        while entries.len() as u64 > MOST_ENTRIES {
            entries.pop_front();
        }
        if let Some(state_dir) = &self.state_dir {
            let saved = state_dir.save_histories(&StoredHistories::of(&next));
            saved.map_err(|error| StoreError::Unreachable(error.to_string()))?;
        }
        *histories = next;
        (self.tell)(newest(&histories));
        Ok(0)
    }
}

fn newest(histories: &Histories) -> Records {
    let newest =
        histories.iter().filter_map(|(name, entries)| Some((name.clone(), Arc::clone(&entries.back()?.record))));
    newest.collect()
}
