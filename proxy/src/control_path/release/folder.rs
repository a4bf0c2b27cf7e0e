//! Records of one instance that follows no others: in the state folder, or in memory where there is none.
//!
//! Processes that share the folder, such as one that ends and its successor, do not undo what the other did: whoever writes
//! reads before, and nobody else writes meanwhile. What is there and cannot be read is left alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::rules::Name;
use rustix::fs::{FlockOperation, flock};

use super::store::{Answer, MOST_ENTRIES, follows};
use super::{Entry, Records, Store, StoreError, StoredHistories};
use crate::control_path::state_dir::StateDir;

/// Keeps records in a file.
pub struct FolderStore {
    shared: Arc<Shared>,
    /// Why there is nothing known, though something was stored.
    damage: Option<String>,
}

struct Shared {
    state_dir: Option<StateDir>,
    /// What whoever asks is told. Nobody holds it while the disk is busy.
    histories: Mutex<Histories>,
    /// Held by who writes.
    writing: Mutex<()>,
    tell: Box<dyn Fn(Records) + Send + Sync>,
}

/// What has become of releases.
#[derive(Default)]
struct Histories {
    stored: StoredHistories,
    newest: BTreeMap<Name, Entry>,
}

impl FolderStore {
    /// Reads what is stored, and tells whenever it is something else.
    pub fn open(state_dir: Option<StateDir>, tell: impl Fn(Records) + Send + Sync + 'static) -> Self {
        let (histories, damage) = match read(state_dir.as_ref()) {
            Ok(histories) => (histories, None),
            Err(reason) => {
                tracing::error!(
                    reason,
                    "where releases were cannot be read: nobody is in a canary group until that is mended"
                );
                (Histories::default(), Some(reason))
            }
        };
        let (histories, writing, tell) = (Mutex::new(histories), Mutex::new(()), Box::new(tell));
        Self { shared: Arc::new(Shared { state_dir, histories, writing, tell }), damage }
    }

    /// The newest records.
    pub fn records(&self) -> Records {
        self.shared.histories().records()
    }

    /// Whether something was stored and cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    fn is_readable(&self) -> Result<(), StoreError> {
        self.damage.clone().map_or(Ok(()), |damage| Err(StoreError::Damaged(damage)))
    }
}

impl Store for FolderStore {
    fn newest<'a>(&'a self, release: &'a Name) -> Answer<'a, Option<(Entry, i64)>> {
        Box::pin(async move {
            self.is_readable()?;
            Ok(self.shared.histories().newest.get(release).map(|entry| (entry.clone(), 0)))
        })
    }

    fn add<'a>(&'a self, release: &'a Name, entry: &'a Entry, _behind: i64) -> Answer<'a, i64> {
        let (shared, release, entry) = (Arc::clone(&self.shared), release.clone(), entry.clone());
        Box::pin(async move {
            self.is_readable()?;
            // A disk can be slow, and others wait for the thread.
            let added = tokio::task::spawn_blocking(move || shared.add(release, entry)).await;
            added.map_err(|error| StoreError::Unreachable(error.to_string()))?
        })
    }

    fn history<'a>(&'a self, release: &'a Name, most: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            self.is_readable()?;
            Ok(self.shared.histories().stored.last(release, most))
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
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = self.state_dir.as_ref().map(lock).transpose();
        let _locked = locked.map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let mut next = match &self.state_dir {
            Some(state_dir) => read(Some(state_dir)).map_err(StoreError::Damaged)?,
            None => Histories::default(),
        };
        // What the file has lost is not lost as long as it is known here.
        next.catch_up(&self.histories());
        if let Err(overtaken) = follows(next.number(&release), &entry) {
            // Another process has written; from now on that is known here, too.
            self.take(next);
            return Err(overtaken);
        }
        next.stored.add(&release, &entry, MOST_ENTRIES);
        next.newest.insert(release, entry);
        if let Some(state_dir) = &self.state_dir {
            let saved = state_dir.save_histories(&next.stored);
            saved.map_err(|error| StoreError::Unreachable(error.to_string()))?;
        }
        self.take(next);
        Ok(0)
    }

    fn take(&self, next: Histories) {
        let records = next.records();
        *self.histories() = next;
        (self.tell)(records);
    }
}

/// Held until this is dropped.
fn lock(state_dir: &StateDir) -> std::io::Result<File> {
    let file = state_dir.lock_file()?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn read(state_dir: Option<&StateDir>) -> Result<Histories, String> {
    let stored = state_dir.map(StateDir::restore_histories).transpose().map_err(|error| error.to_string())?;
    let stored = stored.unwrap_or_default();
    Ok(Histories { newest: stored.newest()?, stored })
}

impl Histories {
    fn records(&self) -> Records {
        self.newest.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.record))).collect()
    }

    /// The number of a release's newest entry; 0 if there is none.
    fn number(&self, release: &Name) -> u64 {
        self.newest.get(release).map_or(0, |entry| entry.record.number)
    }

    /// Takes over the histories that go further there.
    fn catch_up(&mut self, other: &Self) {
        for (name, entry) in &other.newest {
            if self.number(name) < entry.record.number {
                self.stored.copy(name, &other.stored);
                self.newest.insert(name.clone(), entry.clone());
            }
        }
    }
}
