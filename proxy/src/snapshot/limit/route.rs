//! The limits of a route. What they count belongs to the route's name and lives through swaps: the number in flight
//! always, that of each client as long as clients are told apart in the same way, the buckets as long as their limit stays as
//! it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use routing_rules::limit::{Taken, Wait};
use routing_rules::request::RequestView;
use routing_rules::rules::{LimitKey, Name, RateLimit, Route};

use super::buckets::{Bucket, Buckets};
use super::in_flight::{Entry, InFlightCounts, Slot};
use super::key::KeyHasher;

/// The limits of one route.
pub struct RouteLimits {
    name: Name,
    rate: Option<Arc<RateCount>>,
    in_flight: Option<u32>,
    per_key: Option<(u32, Arc<KeyCount>)>,
    counts: Arc<Counts>,
}

struct RateCount {
    limit: RateLimit,
    keys: KeyHasher,
    tokens: Tokens,
}

enum Tokens {
    Shared(Bucket),
    Keyed(Box<Buckets>),
}

struct KeyCount {
    by: LimitKey,
    keys: KeyHasher,
    in_flight: InFlightCounts,
}

#[derive(Default)]
struct Counts {
    in_flight: AtomicU32,
    refused_by_rate: AtomicU64,
    refused_by_in_flight: AtomicU64,
    refused_by_key: AtomicU64,
    evicted: AtomicU64,
    uncounted: AtomicU64,
}

/// A request's place among those in flight, until dropped.
pub(crate) struct RoutePlace {
    _of_route: Option<PlaceOfRoute>,
    _of_key: Option<PlaceOfKey>,
}

struct PlaceOfRoute(Arc<Counts>);

struct PlaceOfKey {
    count: Arc<KeyCount>,
    slot: Slot,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteRefusal {
    /// Its client asks too often.
    TooOften(Wait),
    /// Its client has too many in flight.
    ClientFull,
    /// Too many are in flight.
    Full,
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
        let per_key = route.in_flight_per_key().map(|limit| {
            let before = before.and_then(|before| before.per_key.as_ref()).map(|(_, count)| count);
            let same = before.filter(|count| count.by == limit.by);
            (limit.limit, same.map_or_else(|| Arc::new(KeyCount::new(&limit.by)), Arc::clone))
        });
        let counts = before.map(|before| Arc::clone(&before.counts)).unwrap_or_default();
        Some(Self { name: route.name().clone(), rate, in_flight: route.in_flight_limit(), per_key, counts })
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
        let of_key = self.enter_by_key(request)?;
        let of_route = self.in_flight.map(|limit| self.enter(limit)).transpose()?;
        let has_place = of_key.is_some() || of_route.is_some();
        Ok(has_place.then_some(RoutePlace { _of_route: of_route, _of_key: of_key }))
    }

    fn enter_by_key(&self, request: &RequestView<'_>) -> Result<Option<PlaceOfKey>, RouteRefusal> {
        let Some((limit, count)) = &self.per_key else { return Ok(None) };
        match count.in_flight.enter(count.keys.hash(request), *limit) {
            Entry::Counted(slot) => Ok(Some(PlaceOfKey { count: Arc::clone(count), slot })),
            Entry::Uncounted => {
                self.counts.uncounted.fetch_add(1, Relaxed);
                Ok(None)
            }
            Entry::Full => {
                self.counts.refused_by_key.fetch_add(1, Relaxed);
                Err(RouteRefusal::ClientFull)
            }
        }
    }

    fn enter(&self, limit: u32) -> Result<PlaceOfRoute, RouteRefusal> {
        let more = |count: u32| (count < limit).then_some(count + 1);
        match self.counts.in_flight.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(PlaceOfRoute(Arc::clone(&self.counts))),
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

    /// Requests refused because their client had too many in flight; `None` without a limit.
    pub fn refused_by_key(&self) -> Option<u64> {
        self.per_key.as_ref().map(|_| self.counts.refused_by_key.load(Relaxed))
    }

    /// Requests that went on though there was no room to count those of their client; `None` without a limit.
    pub fn uncounted(&self) -> Option<u64> {
        self.per_key.as_ref().map(|_| self.counts.uncounted.load(Relaxed))
    }

    /// Clients whose bucket was forgotten before it was full; `None` without a limit.
    pub fn evicted(&self) -> Option<u64> {
        self.rate.as_ref().map(|_| self.counts.evicted.load(Relaxed))
    }
}

impl RateCount {
    fn new(limit: &RateLimit) -> Self {
        let tokens = match limit.by {
            LimitKey::All => Tokens::Shared(Bucket::new(limit.rate)),
            LimitKey::ClientIp | LimitKey::Header(_) => Tokens::Keyed(Box::new(Buckets::new(limit.rate))),
        };
        Self { limit: limit.clone(), keys: KeyHasher::new(limit.by.clone()), tokens }
    }

    fn take(&self, request: &RequestView<'_>, now_us: u64) -> Taken {
        match &self.tokens {
            Tokens::Shared(bucket) => bucket.take(now_us),
            Tokens::Keyed(buckets) => buckets.take(self.keys.hash(request), now_us),
        }
    }
}

impl KeyCount {
    fn new(by: &LimitKey) -> Self {
        Self { by: by.clone(), keys: KeyHasher::new(by.clone()), in_flight: InFlightCounts::default() }
    }
}

impl Drop for PlaceOfRoute {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for PlaceOfKey {
    fn drop(&mut self) {
        self.count.in_flight.leave(self.slot);
    }
}

/// Whether requests of the route are to be admitted one by one.
pub(crate) fn has_limits(route: &Route) -> bool {
    route.rate_limit().is_some() || route.in_flight_limit().is_some() || route.in_flight_per_key().is_some()
}
