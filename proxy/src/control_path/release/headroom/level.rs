//! What the endpoints of one upstream have in flight, as looks now and then find it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use routing_rules::release::headroom::{Carried, Slot};

use crate::snapshot::{Endpoint, Upstream};

/// Of one upstream.
#[derive(Default)]
pub(super) struct Level {
    carried: Carried,
    /// Until when that is known, in seconds.
    at_s: u64,
    endpoints: HashMap<SocketAddr, Seen>,
    /// In the stretch under way.
    looks: u32,
    /// At all endpoints, on average over the last stretch.
    in_flight: f64,
}

struct Seen {
    endpoint: Arc<Endpoint>,
    /// The sum over the looks of the stretch under way.
    in_flight: u64,
    /// How many of these there were; of an endpoint that has gone there are none.
    looks: u32,
    /// What had come and failed when it began.
    before: (u64, u64),
}

impl Level {
    pub(super) fn look(&mut self, upstream: &Upstream) {
        self.looks += 1;
        for endpoint in upstream.endpoints.iter().map(|member| &member.endpoint) {
            let seen = self.endpoints.entry(endpoint.address()).or_insert_with(|| Seen::new(endpoint));
            if !Arc::ptr_eq(&seen.endpoint, endpoint) {
                *seen = Seen::new(endpoint);
            }
            seen.in_flight += endpoint.in_flight();
            seen.looks += 1;
        }
    }

    /// A stretch has ended that began at `since_us`.
    pub(super) fn close(&mut self, now_us: u64, since_us: u64) {
        self.endpoints.retain(|_, seen| seen.looks > 0);
        let looks = f64::from(std::mem::take(&mut self.looks).max(1));
        let seconds = now_us.saturating_sub(since_us) as f64 / 1e6;
        let slots: Vec<Slot> = self.endpoints.values_mut().map(|seen| seen.close(looks, seconds)).collect();
        self.in_flight = slots.iter().map(|slot| slot.in_flight).sum();
        self.at_s = now_us / 1_000_000;
        self.carried.take(self.at_s, slots);
    }

    /// The most that one endpoint has carried well.
    pub(super) fn carried(&self) -> Option<f64> {
        self.carried.most(self.at_s)
    }

    /// Requests in flight at all endpoints in the last stretch, on average.
    pub(super) fn in_flight(&self) -> f64 {
        self.in_flight
    }
}

impl Seen {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), in_flight: 0, looks: 0, before: counted(endpoint) }
    }

    fn close(&mut self, looks: f64, seconds: f64) -> Slot {
        let now = counted(&self.endpoint);
        let before = std::mem::replace(&mut self.before, now);
        self.looks = 0;
        Slot {
            seconds,
            in_flight: std::mem::take(&mut self.in_flight) as f64 / looks,
            requests: now.0 - before.0,
            failures: now.1 - before.1,
        }
    }
}

/// What has come to an endpoint, and what of that has failed.
fn counted(endpoint: &Endpoint) -> (u64, u64) {
    let totals = endpoint.totals();
    (totals.requests, totals.errors + totals.statuses[4])
}
