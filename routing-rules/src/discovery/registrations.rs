//! Endpoints that register themselves: what each key said last that was right, and who has left.
//!
//! An instance that ends takes its key away. When most keys of an upstream go within seconds, it is the registry that is in
//! trouble, or the way to it, and not the instances: those that have gone stay for a while, to be judged by their own health.

use std::collections::BTreeMap;

use super::{Found, MOST_ENDPOINTS};
use crate::rules::Endpoint;

/// The registrations of one upstream.
#[derive(Clone, Debug, Default)]
pub struct Registrations {
    /// By key.
    live: BTreeMap<Box<[u8]>, Endpoint>,
    /// Those that have gone lately.
    gone: BTreeMap<Box<[u8]>, Gone>,
    /// Until when those that have gone stay, if there is trouble.
    trouble_until_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Gone {
    endpoint: Endpoint,
    at_ms: u64,
}

/// What one step changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Most have gone within seconds, and this was not so before.
    pub is_new_trouble: bool,
    /// How many stay though they have gone.
    pub held: usize,
}

impl Registrations {
    /// A key says this now; what it said before is over.
    pub fn register(&mut self, key: &[u8], endpoint: Endpoint) {
        // It may have come back under another key.
        self.gone.retain(|gone_key, gone| **gone_key != *key && gone.endpoint.address != endpoint.address);
        self.live.insert(key.into(), endpoint);
    }

    /// An endpoint that an earlier process knew is not there any more.
    pub fn miss(&mut self, endpoint: Endpoint, now_ms: u64) {
        if !self.live.values().any(|live| live.address == endpoint.address) {
            // Its key is not known, and no key begins so.
            let key = format!("\0{}", endpoint.address).into_bytes();
            self.gone.insert(key.into(), Gone { endpoint, at_ms: now_ms });
        }
    }

    /// A key has gone.
    pub fn leave(&mut self, key: &[u8], now_ms: u64) {
        if let Some(endpoint) = self.live.remove(key) {
            self.gone.insert(key.into(), Gone { endpoint, at_ms: now_ms });
        }
    }

    /// Looks at what has gone, after a step or when [`Self::due_ms`] says so.
    pub fn look(&mut self, now_ms: u64) -> Step {
        let was_trouble = self.trouble_until_ms.is_some();
        if self.trouble_until_ms.is_some_and(|until_ms| now_ms >= until_ms) || self.live.len() >= self.gone.len() {
            self.trouble_until_ms = None;
        }
        if self.trouble_until_ms.is_none() {
            self.gone.retain(|_, gone| now_ms.saturating_sub(gone.at_ms) < WINDOW_MS);
            if self.gone.len() > self.live.len() {
                self.trouble_until_ms = Some(now_ms + HOLD_MS);
            }
        }
        let held = if self.trouble_until_ms.is_some() { self.gone.len() } else { 0 };
        Step { is_new_trouble: self.trouble_until_ms.is_some() && !was_trouble, held }
    }

    /// Whoever tells of registrations was away: nobody could come back meanwhile, so that who has gone stays for some time
    /// from now on.
    pub fn wait_on(&mut self, now_ms: u64) {
        if let Some(until_ms) = &mut self.trouble_until_ms {
            *until_ms = (*until_ms).max(now_ms + GRACE_MS);
        }
    }

    /// Those that have gone have gone on purpose: somebody says so.
    pub fn confirm(&mut self) {
        self.trouble_until_ms = None;
        self.gone.clear();
    }

    /// Those that stay though they have gone.
    pub fn held(&self) -> impl Iterator<Item = (&[u8], Endpoint)> {
        let gone = self.gone.iter().filter(|_| self.trouble_until_ms.is_some());
        gone.map(|(key, gone)| (&**key, gone.endpoint))
    }

    /// One that stays though it has gone does not answer either: it has gone.
    pub fn lose(&mut self, key: &[u8]) {
        self.gone.remove(key);
    }

    /// When to look again, though nothing happens.
    pub fn due_ms(&self) -> Option<u64> {
        self.trouble_until_ms
    }

    /// The endpoints that serve.
    pub fn found(&self) -> Found {
        let held = self.held().map(|(_, endpoint)| endpoint);
        let mut endpoints: Vec<Endpoint> = self.live.values().copied().chain(held).collect();
        // Of several keys with one address the first one decides; a stable sort keeps their order.
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let beyond_limit = endpoints.len().saturating_sub(MOST_ENDPOINTS);
        endpoints.truncate(MOST_ENDPOINTS);
        Found { endpoints, refused: 0, beyond_limit }
    }
}

/// Who goes within this time goes together: leases of one moment end within seconds.
const WINDOW_MS: u64 = 10_000;

/// How long those stay. Whoever can reach the registry again is back after the time of a lease, which is seconds.
const HOLD_MS: u64 = 300_000;

/// How long they have to come back after nobody could.
const GRACE_MS: u64 = 60_000;
