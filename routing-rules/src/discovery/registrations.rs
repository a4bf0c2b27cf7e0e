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
        self.gone.remove(key);
        self.live.insert(key.into(), endpoint);
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
        if self.trouble_until_ms.is_some_and(|until| now_ms >= until) || self.is_recovered() {
            self.release();
        }
        let is_recent = |gone: &Gone| now_ms.saturating_sub(gone.at_ms) < WINDOW_MS;
        if self.trouble_until_ms.is_none() {
            self.gone.retain(|_, gone| is_recent(gone));
            if self.gone.len() > self.live.len() {
                self.trouble_until_ms = Some(now_ms + HOLD_MS);
            }
        }
        let held = if self.trouble_until_ms.is_some() { self.gone.len() } else { 0 };
        Step { is_new_trouble: self.trouble_until_ms.is_some() && !was_trouble, held }
    }

    /// Those that have gone are let go, because somebody says so.
    pub fn release(&mut self) {
        self.trouble_until_ms = None;
        self.gone.clear();
    }

    /// When to look again, though nothing happens.
    pub fn due_ms(&self) -> Option<u64> {
        self.trouble_until_ms
    }

    /// Three quarters of all are there again.
    fn is_recovered(&self) -> bool {
        self.trouble_until_ms.is_some() && self.live.len() >= 3 * self.gone.len()
    }

    /// The endpoints that serve.
    pub fn found(&self) -> Found {
        let held = self.gone.values().map(|gone| gone.endpoint).filter(|_| self.trouble_until_ms.is_some());
        let mut endpoints: Vec<Endpoint> = self.live.values().copied().chain(held).collect();
        // Of several keys with one address the first one decides; a stable sort keeps their order.
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let beyond_limit = endpoints.len().saturating_sub(MOST_ENDPOINTS);
        endpoints.truncate(MOST_ENDPOINTS);
        Found { endpoints, refused: 0, beyond_limit }
    }

    /// Whether a key is there.
    pub fn has(&self, key: &[u8]) -> bool {
        self.live.contains_key(key)
    }
}

/// Who goes within this time goes together: leases of one moment end within seconds.
const WINDOW_MS: u64 = 10_000;

/// How long those stay. Whoever can reach the registry again is back after the time of a lease, which is seconds.
const HOLD_MS: u64 = 300_000;
