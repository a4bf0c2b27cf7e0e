//! Which environments there are, by the registrations that name them: not more than so many, and none goes at once.
//!
//! An environment comes with its first key. It stays for some minutes after its last one, because a deploy may take all of them
//! away for a moment. Of more than there may be those wait that came last, by the store's own numbers, so that instances that
//! start at one moment take the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::rules::Environment;

/// The environments of one template.
#[derive(Clone, Debug, Default)]
pub struct Environments {
    most: usize,
    live: BTreeMap<Environment, Live>,
    /// Those that there is no place for.
    waiting: BTreeMap<Environment, Waiting>,
    has_changed: bool,
}

/// What registers an environment.
type Keys = BTreeSet<Arc<[u8]>>;

#[derive(Clone, Debug)]
struct Live {
    keys: Keys,
    /// The revision of the key it came with; 0 if it was there before anything was heard.
    since: i64,
    /// Until when it stays, if it has no key.
    until_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Waiting {
    keys: Keys,
    since: i64,
}

impl Environments {
    /// None yet, and not more than so many.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// So many from now on. Those that are live stay.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// One that was live before anything was heard; it stays as if its last key had just gone.
    pub fn expect(&mut self, environment: Environment, now_ms: u64) {
        let expected = Live { keys: Keys::new(), since: 0, until_ms: Some(now_ms + STAY_MS) };
        self.live.entry(environment).or_insert(expected);
    }

    /// A key is there that came with this revision.
    pub fn register(&mut self, environment: Environment, key: Arc<[u8]>, revision: i64) {
        if let Some(live) = self.live.get_mut(&environment) {
            live.until_ms = None;
            live.keys.insert(key);
            return;
        }
        let new = || Waiting { keys: Keys::new(), since: revision };
        let waiting = self.waiting.entry(environment).or_insert_with(new);
        waiting.since = waiting.since.min(revision);
        waiting.keys.insert(key);
    }

    /// A key has gone.
    pub fn leave(&mut self, environment: &Environment, key: &[u8], now_ms: u64) {
        if let Some(live) = self.live.get_mut(environment) {
            if live.keys.remove(key) && live.keys.is_empty() {
                live.until_ms = Some(now_ms + STAY_MS);
            }
            return;
        }
        let Some(waiting) = self.waiting.get_mut(environment) else { return };
        waiting.keys.remove(key);
        if waiting.keys.is_empty() {
            self.waiting.remove(environment);
        }
    }

    /// Those that no template takes any more go at once.
    pub fn retain(&mut self, is_taken: impl Fn(&Environment) -> bool) {
        let before = self.live.len();
        self.live.retain(|environment, _| is_taken(environment));
        self.waiting.retain(|environment, _| is_taken(environment));
        self.has_changed |= self.live.len() != before;
    }

    /// Whoever tells of keys was away: nobody could come back meanwhile.
    pub fn wait_on(&mut self, now_ms: u64) {
        for until_ms in self.live.values_mut().filter_map(|live| live.until_ms.as_mut()) {
            *until_ms = (*until_ms).max(now_ms + GRACE_MS);
        }
    }

    /// Lets those go whose time is over, and those come that there is a place for. Returns whether others are live now than
    /// the last time.
    pub fn look(&mut self, now_ms: u64) -> bool {
        let before = self.live.len();
        self.live.retain(|_, live| live.until_ms.is_none_or(|until_ms| now_ms < until_ms));
        let has_changed = std::mem::take(&mut self.has_changed) || self.live.len() != before;
        self.admit() || has_changed
    }

    fn admit(&mut self) -> bool {
        let free = self.most.saturating_sub(self.live.len());
        if free == 0 || self.waiting.is_empty() {
            return false;
        }
        let mut first: Vec<(i64, Environment)> =
            self.waiting.iter().map(|(environment, waiting)| (waiting.since, environment.clone())).collect();
        first.sort();
        for (since, environment) in first.into_iter().take(free) {
            if let Some(Waiting { keys, .. }) = self.waiting.remove(&environment) {
                self.live.insert(environment, Live { keys, since, until_ms: None });
            }
        }
        true
    }

    /// Those that are live, who came first before the others.
    pub fn live(&self) -> Vec<Environment> {
        let mut all: Vec<(i64, &Environment)> =
            self.live.iter().map(|(environment, live)| (live.since, environment)).collect();
        all.sort();
        all.into_iter().map(|(_, environment)| environment.clone()).collect()
    }

    /// How many wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next one to get a place.
    pub fn next(&self) -> Option<&Environment> {
        let all = self.waiting.iter().map(|(environment, waiting)| (waiting.since, environment));
        all.min().map(|(_, environment)| environment)
    }

    /// When to look again, though nothing happens.
    pub fn due_ms(&self) -> Option<u64> {
        self.live.values().filter_map(|live| live.until_ms).min()
    }
}

/// How long an environment stays without a key: longer than a deploy, and as long as endpoints whose keys went with most others.
const STAY_MS: u64 = 300_000;

/// How long they have to come back after nobody could.
const GRACE_MS: u64 = 60_000;
