//! What a name service said of an upstream, for whoever builds the upstream or wants to see it.
//!
//! It belongs to the upstream's name and lives through every swap. What was found last stays when a lookup fails.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use routing_rules::discovery::Found;
use routing_rules::rules::{Discovery, Endpoint};
use tokio::time::Instant;

/// The endpoints of one upstream that were found.
pub struct Discovered {
    rules: Arc<Discovery>,
    /// For the control path alone.
    state: Mutex<State>,
    /// Told when a lookup is over.
    asked: Condvar,
}

/// What is known at one moment.
#[derive(Clone, Default)]
pub struct State {
    /// What serves, by address.
    pub endpoints: Arc<[Endpoint]>,
    /// When the last good answer came.
    answered: Option<Answered>,
    /// Whether what serves is from an earlier process, and no good answer has come since.
    pub is_stored: bool,
    /// Why the last lookup failed, if it did.
    pub failure: Option<Failed>,
    /// Why a part of the last good answer could not be had. What it was before serves on.
    pub doubt: Option<Box<str>>,
    /// Lookups that were good, and lookups that were not.
    pub lookups: (u64, u64),
    /// Addresses of good answers that no endpoint can have.
    pub refused: u64,
    /// Endpoints of good answers that were too many.
    pub beyond_limit: u64,
}

/// When a good answer came. Its age grows by a clock that does not jump.
#[derive(Clone, Copy)]
struct Answered {
    at: SystemTime,
    /// How old it was when this process heard of it.
    age_then: Duration,
    heard: Instant,
}

/// Lookups that failed one after the other.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The first of them.
    pub since: SystemTime,
    /// Why the last one did.
    pub reason: Box<str>,
    /// How many.
    pub times: u32,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Endpoints that are new, or have another weight.
    pub added: usize,
    /// Endpoints that have gone, or had another weight.
    pub removed: usize,
    /// Lookups in a row that had failed before.
    pub failures: u32,
    /// A part of it could not be had, other than before.
    pub is_newly_doubtful: bool,
}

impl Outcome {
    /// Whether there are other endpoints now.
    pub fn has_changed(&self) -> bool {
        self.added + self.removed > 0
    }
}

impl Discovered {
    /// Before the first lookup, with the endpoints that serve until its answer.
    pub fn new(rules: Arc<Discovery>, endpoints: &[Endpoint]) -> Self {
        let mut endpoints = endpoints.to_vec();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        let endpoints = endpoints.into();
        Self { rules, state: Mutex::new(State { endpoints, ..State::default() }), asked: Condvar::new() }
    }

    /// The same with endpoints that an earlier process had, and when it had the last good answer, if it had one.
    pub fn restored(rules: Arc<Discovery>, endpoints: &[Endpoint], answered_at: Option<SystemTime>) -> Self {
        let new = Self::new(rules, endpoints);
        let answered = answered_at.map(Answered::at);
        let state = State { answered, is_stored: !endpoints.is_empty(), ..new.state() };
        Self { state: Mutex::new(state), ..new }
    }

    /// What is asked.
    pub fn rules(&self) -> &Arc<Discovery> {
        &self.rules
    }

    /// What is known now.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// The endpoints that serve.
    pub fn endpoints(&self) -> Arc<[Endpoint]> {
        Arc::clone(&self.lock().endpoints)
    }

    /// What an earlier process found with the same question, as long as there is no answer since.
    pub fn stored(&self) -> Arc<[Endpoint]> {
        let state = self.lock();
        // What served when the question changed was the answer to another one.
        let is_answer = state.is_stored && state.answered.is_some();
        if is_answer { Arc::clone(&state.endpoints) } else { Arc::default() }
    }

    /// Whether a lookup is over, however it ended.
    pub fn was_asked(&self) -> bool {
        self.lock().lookups != (0, 0)
    }

    /// Waits until a lookup is over, but no longer than this. Blocks.
    pub fn wait_until_asked(&self, patience: Duration) {
        let is_waiting = |state: &mut State| state.lookups == (0, 0);
        let _ = self.asked.wait_timeout_while(self.lock(), patience, is_waiting);
    }

    /// Takes a good answer, with the reason why a part of it could not be had.
    pub fn answered(&self, found: &Found, doubt: Option<&str>) -> Outcome {
        let mut state = self.lock();
        state.lookups.0 += 1;
        state.answered = Some(Answered::at(SystemTime::now()));
        state.is_stored = false;
        state.refused += found.refused as u64;
        state.beyond_limit += found.beyond_limit as u64;
        let outcome = Outcome {
            added: missing(&state.endpoints, &found.endpoints),
            removed: missing(&found.endpoints, &state.endpoints),
            failures: state.failure.take().map_or(0, |failed| failed.times),
            is_newly_doubtful: doubt.is_some() && state.doubt.is_none(),
        };
        state.doubt = doubt.map(Into::into);
        if outcome.has_changed() {
            state.endpoints = found.endpoints.as_slice().into();
        }
        self.asked.notify_all();
        outcome
    }

    /// Nothing has changed, says whoever tells of changes. How many failures there were before.
    pub fn confirmed(&self) -> u32 {
        let mut state = self.lock();
        state.answered = Some(Answered::at(SystemTime::now()));
        state.failure.take().map_or(0, |failed| failed.times)
    }

    /// A lookup failed; how many did in a row.
    pub fn failed(&self, reason: &str) -> u32 {
        let mut state = self.lock();
        state.lookups.1 += 1;
        let before = state.failure.take();
        let since = before.as_ref().map_or_else(SystemTime::now, |before| before.since);
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        state.failure = Some(Failed { since, reason: reason.into(), times });
        self.asked.notify_all();
        times
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the last good answer came.
    pub fn answered_at(&self) -> Option<SystemTime> {
        self.answered.map(|answered| answered.at)
    }

    /// How old the last good answer is.
    pub fn age(&self) -> Option<Duration> {
        self.answered.map(|answered| answered.age_then.saturating_add(answered.heard.elapsed()))
    }
}

impl Answered {
    fn at(at: SystemTime) -> Self {
        // One from the future was told by a clock that is wrong, or is now.
        let age_then = SystemTime::now().duration_since(at).unwrap_or_default();
        Self { at, age_then, heard: Instant::now() }
    }
}

/// How many of `all` are not among `known`, which is in the order of addresses.
fn missing(known: &[Endpoint], all: &[Endpoint]) -> usize {
    let address = |endpoint: &Endpoint| -> SocketAddr { endpoint.address };
    let is_known = |endpoint: &&Endpoint| {
        known.binary_search_by_key(&address(endpoint), address).is_ok_and(|place| known[place] == **endpoint)
    };
    all.iter().filter(|endpoint| !is_known(endpoint)).count()
}
