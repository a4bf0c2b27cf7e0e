//! Everything the stand-in knows, behind one lock, and how others learn that it changed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::counts::Counts;
use crate::faults::Faults;
use crate::resource::Resource;
use crate::resource::registry::Registry;
use crate::store::{Key, Store};
use crate::write;

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
    /// What clients must bring, if anything.
    pub(crate) token: Option<String>,
}

/// The lock. Threads wait on the condition, tasks on the pulse.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) changed: Condvar,
    pulse: watch::Sender<()>,
}

impl State {
    fn new() -> Self {
        let (store, registry) = (Store::default(), Registry::new());
        let mut state = Self { store, registry, faults: Faults::default(), counts: Counts::default(), token: None };
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            write::trusted::ensure_namespace(&mut state, namespace);
        }
        state
    }

    /// Where an object of this kind is.
    pub(crate) fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
        let namespace = if resource.namespaced { namespace.to_owned() } else { String::new() };
        Key { collection: resource.collection.clone(), namespace, name: name.to_owned() }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Condvar::new(), pulse: watch::Sender::new(()) }
    }

    /// To look only. A test that panicked while it held the lock has failed already; others may go on.
    pub(crate) fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change something; everybody who waits looks again.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.look());
        self.changed.notify_all();
        self.pulse.send_replace(());
        result
    }

    /// For tasks that wait for a change.
    pub(crate) fn pulse(&self) -> watch::Receiver<()> {
        self.pulse.subscribe()
    }
}
