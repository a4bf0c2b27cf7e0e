//! A named set of endpoints, and what divides requests over them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use routing_rules::balance::{HashRing, Learning, Schedule, Weights};
use routing_rules::release::{EndpointTag, Secret, Sessions};
use routing_rules::rules::{self, Balance, HashKey, Measure, Name};
use routing_rules::table::{learning, learning_of_sessions};

use super::{Discovered, Endpoint, Group, Mark, Results, Transport, UpstreamDoor};

/// A named set of endpoints.
pub struct Upstream {
    /// As written.
    pub rules: Arc<rules::Upstream>,
    /// How connections to its endpoints are secured.
    pub transport: Transport,
    /// What a name service says, if that is where its endpoints come from.
    pub discovered: Option<Arc<Discovered>>,
    /// Nobody looks anything up here, so it is taken to have endpoints, as it will have where requests come.
    pub is_assumed: bool,
    /// The endpoints with their configured weights.
    pub endpoints: Box<[Member]>,
    /// How an endpoint is chosen.
    pub balancer: Balancer,
    /// The weights of the moment.
    pub weighing: Weighing,
    /// Its breaker as a whole.
    pub group: Option<Group>,
    /// Who is there and who waits, if that is limited.
    pub door: Option<Arc<UpstreamDoor>>,
    /// Where it is told that there is something to look at.
    pub mark: Option<Mark>,
}

/// An endpoint as a member of an upstream.
#[derive(Clone)]
pub struct Member {
    /// The endpoint and what it has learned.
    pub endpoint: Arc<Endpoint>,
    /// Its configured weight.
    pub weight: u16,
    /// Its results, as the breaker counts them; `None` without a breaker.
    pub results: Option<Arc<Results>>,
}

impl Member {
    /// Whether it takes no new requests: the rules say so with a weight of 0, or somebody asked for it.
    pub fn is_draining(&self) -> bool {
        self.weight == 0 || self.endpoint.is_drained()
    }
}

/// How an endpoint is chosen; the places are those of the upstream's endpoints.
pub enum Balancer {
    /// Learned weights, and the least busy of three.
    Dwrr {
        /// When a request counts as answered.
        measure: Measure,
        /// How weights are learned.
        learning: Learning,
    },
    /// One after the other.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// The same key finds the same endpoint.
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// Who has which hashes.
        ring: HashRing,
    },
    /// A client comes back to the endpoint that served it.
    Sticky(Box<Sticky>),
}

/// See [`Balancer::Sticky`].
pub struct Sticky {
    /// How the weights are learned by which new clients are divided.
    pub learning: Learning,
    /// Reads and writes cookies; `None` where there is no secret to sign them with.
    pub sessions: Option<Sessions>,
    /// By endpoint.
    pub tags: Box<[EndpointTag]>,
    /// The other way round.
    pub places: HashMap<EndpointTag, usize>,
}

/// The weights of one version of an upstream. They change twice a second without a new snapshot: their places are those
/// of this version's endpoints, so the two cannot disagree.
pub struct Weighing {
    schedule: Arc<ArcSwap<Schedule>>,
    /// How many endpoints workers may shut until the next tick, so that enough of them stay.
    trips_left: AtomicUsize,
    /// Whether no endpoint is left, so that the configured weights are in force. Held by whoever publishes.
    in_panic: Mutex<bool>,
    /// How often that came to be.
    panics: AtomicU64,
}

impl Upstream {
    /// The upstream's name.
    pub fn name(&self) -> &Name {
        self.rules.name()
    }

    /// Why the last handshake with one of its endpoints failed, if there are handshakes and it did.
    pub fn tls_failure(&self, member: &Member) -> Option<String> {
        let is_secured = matches!(self.transport, Transport::Tls(_));
        is_secured.then(|| member.endpoint.handshake_failure()).flatten()
    }

    /// Whether its breaker as a whole might let a request pass that is `repeatable` or not, of a user at this place from 0 to
    /// 9,999.
    pub fn lets_in(&self, place: u16, repeatable: bool) -> bool {
        self.group.as_ref().is_none_or(|group| group.may_pass(place, repeatable))
    }

    /// A request has come, or something is known of one: the ticks are to look.
    pub fn has_news(&self) {
        if let Some(mark) = &self.mark {
            mark.set();
        }
    }

    /// Whether any endpoint has a weight and does not drain.
    pub fn takes_requests(&self) -> bool {
        self.is_assumed || self.endpoints.iter().any(|member| !member.is_draining())
    }
}

impl Balancer {
    /// The way the rules want endpoints chosen.
    pub fn new(rules: &rules::Upstream, endpoints: &[Member], secret: &Secret) -> Self {
        match rules.balance() {
            Balance::Dwrr(dwrr) => Self::Dwrr { measure: dwrr.by, learning: learning(dwrr) },
            Balance::RoundRobin => Self::RoundRobin,
            Balance::LeastRequest => Self::LeastRequest,
            Balance::ConsistentHash(hash) => {
                let name = |member: &Member| member.endpoint.address().to_string();
                let places: Vec<_> = endpoints.iter().map(|member| (name(member), member.weight)).collect();
                Self::ConsistentHash { key: hash.by.clone(), ring: HashRing::new(&places, hash.bound) }
            }
            Balance::Sticky { life } => {
                let sessions = Sessions::new(rules.name(), secret, *life);
                let tag = |sessions: &Sessions, member: &Member| {
                    sessions.tag(member.endpoint.address().to_string().as_bytes())
                };
                let tags = sessions.iter().flat_map(|sessions| endpoints.iter().map(|member| tag(sessions, member)));
                let tags: Box<[EndpointTag]> = tags.collect();
                let places = tags.iter().enumerate().map(|(place, tag)| (*tag, place)).collect();
                Self::Sticky(Box::new(Sticky { tags, places, learning: learning_of_sessions(), sessions }))
            }
        }
    }

    /// How weights are learned, if they are.
    pub fn learning(&self) -> Option<&Learning> {
        match self {
            Self::Dwrr { learning, .. } => Some(learning),
            Self::Sticky(sticky) => Some(&sticky.learning),
            Self::RoundRobin | Self::LeastRequest | Self::ConsistentHash { .. } => None,
        }
    }

    /// Whether a request is off an endpoint's hands with the head of its response, rather than with the end.
    pub fn counts_to_head(&self) -> bool {
        matches!(self, Self::Dwrr { measure: Measure::Latency, .. } | Self::Sticky(_))
    }

    /// The name of the method.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dwrr { .. } => "dwrr",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::ConsistentHash { .. } => "consistent_hash",
            Self::Sticky(_) => "sticky",
        }
    }
}

impl Weighing {
    /// The configured weights.
    pub fn new(endpoints: &[Member]) -> Self {
        let weights: Vec<f64> = endpoints.iter().map(|member| f64::from(member.weight)).collect();
        let schedule = Arc::new(ArcSwap::from_pointee(Schedule::new(&weights)));
        Self { schedule, trips_left: AtomicUsize::new(0), in_panic: Mutex::default(), panics: AtomicU64::new(0) }
    }

    /// Where workers read the schedule.
    pub fn schedule(&self) -> &Arc<ArcSwap<Schedule>> {
        &self.schedule
    }

    /// The weight of an endpoint relative to the largest, 0 to 1.
    pub fn share(&self, place: usize) -> f64 {
        self.schedule.load().weight(place)
    }

    /// How many endpoints workers may shut until the next tick.
    pub fn allow_trips(&self, count: usize) {
        self.trips_left.store(count, Relaxed);
    }

    /// Takes one of these.
    pub fn take_trip(&self) -> bool {
        self.trips_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Divides requests by these weights from now on. Several threads do this: one after the other, so that weights of what
    /// was known earlier never take the place of later ones.
    pub fn publish(&self, weigh: impl FnOnce() -> Weights) {
        let mut in_panic = self.in_panic.lock().unwrap_or_else(PoisonError::into_inner);
        let Weights { effective, is_panic } = weigh();
        self.panics.fetch_add(u64::from(is_panic && !*in_panic), Relaxed);
        *in_panic = is_panic;
        self.schedule.store(Arc::new(Schedule::new(&effective)));
    }

    /// How often no endpoint was left, so that all who do not drain got requests again.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }
}
