//! Stores the rules, and the endpoints that were found, beside everything else: a slow or full disk delays nothing.
//!
//! Only the newest ones matter, so whatever came in while the disk was busy is stored once. The last thing handed
//! over is always stored, also when the process is about to end.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imbl::Vector;

use super::catalog::Written;
use super::release::{Records, StoredRecords};
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
    rules: Option<(Settings, Written, Records)>,
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

    /// Stores these rules, and where releases are, soon, unless newer ones follow.
    pub(super) fn save(&self, settings: Settings, rules: Written, records: Records) {
        self.shared.state().waiting.rules = Some((settings, rules, records));
        self.shared.changed.notify_all();
    }

    /// Stores what was found for these upstreams soon, unless more is found, or it is what was stored last.
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
        let mut disk = Disk::new(state_dir);
        while let Some(waiting) = self.next() {
            let left = disk.store(waiting);
            let failed = !left.is_empty();
            self.state().waiting.fill_with(left);
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

    /// Takes what is older, where there is nothing newer.
    fn fill_with(&mut self, older: Self) {
        self.rules = self.rules.take().or(older.rules);
        self.endpoints = self.endpoints.take().or(older.endpoints);
    }
}

/// What the thread knows of the disk.
struct Disk<'a> {
    state_dir: &'a StateDir,
    /// The endpoints that were written last, which need not be written again; at first none.
    endpoints: StoredEndpoints,
    of_rules: Complaint,
    of_endpoints: Complaint,
}

impl<'a> Disk<'a> {
    fn new(state_dir: &'a StateDir) -> Self {
        let of_rules = Complaint::new("cannot store the rules; a start without the files would find older ones");
        let of_endpoints = Complaint::new(
            "cannot store the endpoints that were found; a start without the name server would find older ones",
        );
        Self { state_dir, endpoints: StoredEndpoints::default(), of_rules, of_endpoints }
    }

    /// Stores all of it, and gives back what could not be.
    fn store(&mut self, mut waiting: Waiting) -> Waiting {
        if let Some((settings, rules, records)) = &waiting.rules
            && self.of_rules.is_over(self.state_dir.save(settings, rules.spec(), StoredRecords::of(records)))
        {
            waiting.rules = None;
        }
        if let Some(upstreams) = &waiting.endpoints
            && self.store_endpoints(StoredEndpoints::of(upstreams))
        {
            waiting.endpoints = None;
        }
        waiting
    }

    fn store_endpoints(&mut self, endpoints: StoredEndpoints) -> bool {
        let is_stored =
            endpoints == self.endpoints || self.of_endpoints.is_over(self.state_dir.save_endpoints(&endpoints));
        if is_stored {
            self.endpoints = endpoints;
        }
        is_stored
    }
}

/// A full disk fails every time: said once.
struct Complaint {
    words: &'static str,
    last: String,
}

impl Complaint {
    fn new(words: &'static str) -> Self {
        Self { words, last: String::new() }
    }

    /// Whether there is nothing to complain of.
    fn is_over(&mut self, result: io::Result<()>) -> bool {
        let Err(error) = result else {
            self.last.clear();
            return true;
        };
        let error = error.to_string();
        if error != self.last {
            tracing::error!(%error, "{}", self.words);
        }
        self.last = error;
        false
    }
}

/// Time between two writes.
const BETWEEN: Duration = Duration::from_secs(1);

/// Time after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the disk.
const LONGEST_END: Duration = Duration::from_secs(5);
