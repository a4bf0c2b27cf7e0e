//! Rollbacks that hold here though the store does not have them yet. They are kept, too: a process that starts again must not
//! take everybody back to the canary.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;

use super::{Records, StoredRecords};
use crate::control_path::state_dir::StateDir;

/// All of them.
pub struct Unwritten {
    state_dir: Option<StateDir>,
    rollbacks: Mutex<BTreeMap<Name, Arc<ReleaseRecord>>>,
}

/// One that waits for the store.
pub struct Rollback {
    /// Of which release.
    pub release: Name,
    /// As it is here.
    pub record: Arc<ReleaseRecord>,
}

impl Unwritten {
    /// Those of an earlier process.
    pub fn open(state_dir: Option<StateDir>) -> Self {
        let stored = state_dir.as_ref().map(StateDir::restore_rollbacks).unwrap_or_default();
        Self { state_dir, rollbacks: Mutex::new(stored.records().into_iter().collect()) }
    }

    /// Those that wait.
    pub fn all(&self) -> Vec<Rollback> {
        let rollbacks = self.rollbacks();
        let all =
            rollbacks.iter().map(|(release, record)| Rollback { release: release.clone(), record: Arc::clone(record) });
        all.collect()
    }

    /// Adds one. Blocks until it is kept, as far as that is possible.
    pub fn add(&self, release: &Name, record: Arc<ReleaseRecord>) {
        let mut rollbacks = self.rollbacks();
        rollbacks.insert(release.clone(), record);
        self.keep(&rollbacks);
    }

    /// It is written, or void.
    pub fn remove(&self, release: &Name) {
        let mut rollbacks = self.rollbacks();
        rollbacks.remove(release);
        self.keep(&rollbacks);
    }

    fn keep(&self, rollbacks: &BTreeMap<Name, Arc<ReleaseRecord>>) {
        let all: Records = rollbacks.iter().map(|(name, record)| (name.clone(), Arc::clone(record))).collect();
        let kept = self.state_dir.as_ref().map_or(Ok(()), |folder| folder.save_rollbacks(&StoredRecords::of(&all)));
        if let Err(error) = kept {
            tracing::error!(%error, "a rollback that waits for its store cannot be kept: a restart would forget it");
        }
    }

    fn rollbacks(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<ReleaseRecord>>> {
        // Inserting and removing leave nothing half done.
        self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
