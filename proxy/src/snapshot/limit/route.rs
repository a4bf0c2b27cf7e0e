//! The limits of a route. What they count belongs to the route's name and lives through swaps: the number in flight
//! always, the buckets as long as their limit stays as it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use imbl::HashMap;
use routing_rules::limit::{Taken, Wait};
use routing_rules::request::RequestView;
use routing_rules::rules::{Name, RateKey, RateLimit, Route};
use routing_rules::table::RouteId;

use super::buckets::{Bucket, Buckets};

/// The limits of the routes that have any, by [`RouteId::index`].
#[derive(Clone, Default)]
pub struct RouteLimitIndex(HashMap<usize, Arc<RouteLimits>>);

/// The limits of one route.
pub struct RouteLimits {
    name: Name,
    rate: Option<Arc<RateCount>>,
    in_flight: Option<u32>,
    counts: Arc<Counts>,
}

struct RateCount {
    limit: RateLimit,
    tokens: Tokens,
}

enum Tokens {
    Shared(Bucket),
    Keyed(Box<Buckets>),
}

#[derive(Default)]
struct Counts {
    in_flight: AtomicU32,
    refused_by_rate: AtomicU64,
    refused_by_in_flight: AtomicU64,
    evicted: AtomicU64,
}

/// A request's place among those in flight, until dropped.
pub(crate) struct RoutePlace(Arc<Counts>);

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteRefusal {
    /// Its client asks too often.
    TooOften(Wait),
    /// Too many are in flight.
    Full,
}

impl RouteLimitIndex {
    /// The limits of a route.
    pub fn get(&self, id: RouteId) -> Option<&Arc<RouteLimits>> {
        self.0.get(&id.index())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RouteLimits>> {
        self.0.values()
    }

    pub(crate) fn insert(&mut self, id: RouteId, limits: RouteLimits) {
        self.0.insert(id.index(), Arc::new(limits));
    }

    pub(crate) fn remove(&mut self, id: RouteId) -> Option<Arc<RouteLimits>> {
        self.0.remove(&id.index())
    }
}

impl RouteLimits {
    /// The limits of a route, which go on where those of its former version were. `None` without limits.
    pub(crate) fn new(route: &Route, before: Option<&Self>) -> Option<Self> {
        if !has_limits(route) {
            return None;
        }
        let rate = route.rate_limit().map(|limit| {
            let same = before.and_then(|before| before.rate.as_ref()).filter(|rate| rate.limit == *limit);
            same.map_or_else(|| Arc::new(RateCount::new(limit)), Arc::clone)
        });
        let counts = before.map(|before| Arc::clone(&before.counts)).unwrap_or_default();
        Some(Self { name: route.name().clone(), rate, in_flight: route.in_flight_limit(), counts })
    }

    /// Admits a request, or does not.
    pub(crate) fn admit(&self, request: &RequestView<'_>, now_us: u64) -> Result<Option<RoutePlace>, RouteRefusal> {
        if let Some(rate) = &self.rate {
            let Taken { token, evicted } = rate.take(request, now_us);
            if evicted {
                self.counts.evicted.fetch_add(1, Relaxed);
            }
            if let Err(wait) = token {
                self.counts.refused_by_rate.fetch_add(1, Relaxed);
                return Err(RouteRefusal::TooOften(wait));
            }
        }
        self.in_flight.map(|limit| self.enter(limit)).transpose()
    }

    fn enter(&self, limit: u32) -> Result<RoutePlace, RouteRefusal> {
        let more = |count: u32| (count < limit).then_some(count + 1);
        match self.counts.in_flight.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(RoutePlace(Arc::clone(&self.counts))),
            Err(_) => {
                self.counts.refused_by_in_flight.fetch_add(1, Relaxed);
                Err(RouteRefusal::Full)
            }
        }
    }

    /// The name of the route.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Requests refused because their client asked too often; `None` without a limit.
    pub fn refused_by_rate(&self) -> Option<u64> {
        self.rate.as_ref().map(|_| self.counts.refused_by_rate.load(Relaxed))
    }

    /// Requests refused because too many were in flight; `None` without a limit.
    pub fn refused_by_in_flight(&self) -> Option<u64> {
        self.in_flight.map(|_| self.counts.refused_by_in_flight.load(Relaxed))
    }

    /// Clients whose bucket was forgotten before it was full; `None` without a limit.
    pub fn evicted(&self) -> Option<u64> {
        self.rate.as_ref().map(|_| self.counts.evicted.load(Relaxed))
    }
}

impl RateCount {
    fn new(limit: &RateLimit) -> Self {
        let tokens = match limit.by {
            RateKey::All => Tokens::Shared(Bucket::new(limit.rate)),
            RateKey::ClientIp | RateKey::Header(_) => Tokens::Keyed(Box::new(Buckets::new(limit.rate))),
        };
        Self { limit: limit.clone(), tokens }
    }

    fn take(&self, request: &RequestView<'_>, now_us: u64) -> Taken {
        match (&self.tokens, &self.limit.by) {
            (Tokens::Shared(bucket), _) => bucket.take(now_us),
            (Tokens::Keyed(buckets), RateKey::Header(name)) => {
                buckets.take_of_value(request.headers.get(name).map(|value| value.as_bytes()), now_us)
            }
            (Tokens::Keyed(buckets), _) => buckets.take_of_client(request.client, now_us),
        }
    }
}

impl Drop for RoutePlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Whether requests of the route are to be admitted one by one.
pub(crate) fn has_limits(route: &Route) -> bool {
    route.rate_limit().is_some() || route.in_flight_limit().is_some()
}
