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
    /// Held by who writes to the disk.
    saving: Mutex<()>,
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
        let rollbacks = Mutex::new(stored.records().into_iter().collect());
        Self { state_dir, rollbacks, saving: Mutex::default() }
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
        self.rollbacks().insert(release.clone(), record);
        self.keep();
    }

    /// This one is written, or void. Blocks until that is kept.
    pub fn remove(&self, release: &Name, record: &Arc<ReleaseRecord>) {
        let mut rollbacks = self.rollbacks();
        if rollbacks.get(release).is_some_and(|waiting| Arc::ptr_eq(waiting, record)) {
            rollbacks.remove(release);
        }
        drop(rollbacks);
        self.keep();
    }

    /// Whoever comes later keeps what is newest; nobody who asks waits for the disk.
    fn keep(&self) {
        let Some(state_dir) = &self.state_dir else { return };
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Records = self.rollbacks().iter().map(|(name, record)| (name.clone(), Arc::clone(record))).collect();
        if let Err(error) = state_dir.save_rollbacks(&StoredRecords::of(&all)) {
            tracing::error!(%error, "rollbacks that wait for their store cannot be kept: a restart would know older ones");
        }
    }

    fn rollbacks(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<ReleaseRecord>>> {
        // Inserting and removing leave nothing half done.
        self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
