//! Stores the rules, and the endpoints that were found, beside everything else: a slow or full disk delays nothing.
//!
//! Only the newest ones matter, so whatever came in while the disk was busy is stored once. The last thing handed
//! over is always stored, also when the process is about to end.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imbl::Vector;

use super::catalog::Written;
use super::state_dir::{StateDir, StoredEndpoints};
use crate::settings::Settings;
use crate::snapshot::Upstream;
use crate::thread::{self, Failures};

/// The way to the thread that writes. Dropping it waits until everything is stored, or for some seconds.
pub struct Saver {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    is_closing: bool,
    has_ended: bool,
}

/// What is to be stored.
#[derive(Default)]
struct Waiting {
    rules: Option<(Settings, Written)>,
    endpoints: Option<Upstreams>,
}

type Upstreams = Vector<Option<Arc<Upstream>>>;

impl Saver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(state_dir: StateDir, failures: Failures) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Ends(Arc::clone(&shared));
        thread::start("state", failures, move || of_thread.0.run(&state_dir))?;
        Ok(Self { shared })
    }

    /// Stores these rules soon, unless newer ones follow.
    pub(super) fn save(&self, settings: Settings, rules: Written) {
        self.shared.state().waiting.rules = Some((settings, rules));
        self.shared.changed.notify_all();
    }

    /// Stores what was found for these upstreams soon, unless more is found.
    pub(super) fn save_endpoints(&self, upstreams: Upstreams) {
        self.shared.state().waiting.endpoints = Some(upstreams);
        self.shared.changed.notify_all();
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closing = true;
        self.shared.changed.notify_all();
        // A disk that hangs must not keep the process from ending.
        let waited = self.shared.changed.wait_timeout_while(state, LONGEST_END, |state| !state.has_ended);
        if waited.is_ok_and(|(_, result)| result.timed_out()) {
            tracing::error!("the state folder does not respond; the newest rules may not be stored");
        }
    }
}

/// The thread's share. Says that it has ended, however that came about.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state can be left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, state_dir: &StateDir) {
        state_dir.set_damaged_aside();
        let mut last_error = String::new();
        while let Some(waiting) = self.next() {
            let (result, left) = waiting.store(state_dir);
            let failed = result.is_err();
            match result {
                Ok(()) => last_error.clear(),
                Err(error) => {
                    // A full disk fails every time: said once.
                    let error = error.to_string();
                    if error != last_error {
                        tracing::error!(%error, "cannot store the rules; a start without the files would find older ones");
                    }
                    last_error = error;
                    self.state().waiting.fill_with(left);
                }
            }
            if self.rest(if failed { RETRY } else { BETWEEN }) && failed {
                break;
            }
        }
    }

    /// Waits for something to store; nothing when all is stored and the process ends.
    fn next(&self) -> Option<Waiting> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.is_closing;
        let mut state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut state.waiting)).filter(|waiting| !waiting.is_empty())
    }

    /// Rests between two writes, unless the process ends. Returns whether it does.
    fn rest(&self, time: Duration) -> bool {
        let rested = self.changed.wait_timeout_while(self.state(), time, |state| !state.is_closing);
        rested.map_or(true, |(state, _)| state.is_closing)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.rules.is_none() && self.endpoints.is_none()
    }

    /// Stores all of it, and gives back what could not be.
    fn store(mut self, state_dir: &StateDir) -> (io::Result<()>, Self) {
        let mut result = Ok(());
        if let Some((settings, rules)) = &self.rules {
            match state_dir.save(settings, rules.spec()) {
                Ok(()) => self.rules = None,
                Err(error) => result = Err(error),
            }
        }
        if let Some(upstreams) = &self.endpoints {
            match state_dir.save_endpoints(&StoredEndpoints::of(upstreams)) {
                Ok(()) => self.endpoints = None,
                Err(error) => result = Err(error),
            }
        }
        (result, self)
    }

    /// Takes what is older, where there is nothing newer.
    fn fill_with(&mut self, older: Self) {
        self.rules = self.rules.take().or(older.rules);
        self.endpoints = self.endpoints.take().or(older.endpoints);
    }
}

/// Time between two writes.
const BETWEEN: Duration = Duration::from_secs(1);

/// Time after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the disk.
const LONGEST_END: Duration = Duration::from_secs(5);
