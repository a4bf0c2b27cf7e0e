//! One address, its counters and what was learned from them: all that survives swaps.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use routing_rules::balance::{Counts, Learned};
use routing_rules::breaker::Opening;
use routing_rules::rules::Name;

use super::evidence::SharedCounts;
use super::handshake::Trouble;
use super::stratum::sixteenth_of_endpoint;
use super::{BreakerState, Checked, ConnectionCounters, ConnectionTotals, SharedGate};

/// One endpoint of one upstream. Its identity is the pair of both: an address that two upstreams share is judged
/// by each on its own.
pub struct Endpoint {
    upstream: Name,
    address: SocketAddr,
    sixteenth: usize,
    workers: Box<[EndpointCounters]>,
    /// Requests of all workers, counted only where they are limited.
    places_taken: AtomicU32,
    /// For the control path alone: requests neither wait for it nor read it. `None` until there is something.
    learned: Mutex<Option<Learned>>,
    /// Likewise.
    breaker: Mutex<Option<BreakerState>>,
    gate: SharedGate,
    /// By [`Opening`].
    openings: [AtomicU64; 3],
    /// For the control path alone. `None` where nothing checks it.
    checked: Mutex<Option<Box<Checked>>>,
    is_drained: AtomicBool,
    trouble: Trouble,
}

/// What one worker counted at one endpoint. Only that worker writes, everybody may read: relaxed loads and stores
/// cost what plain ones do, and no cache line is fought over.
#[derive(Default)]
#[repr(align(128))]
pub struct EndpointCounters {
    in_flight: AtomicU64,
    awaited_heads: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    statuses: [AtomicU64; 5],
    head_time_us: AtomicU64,
    heads_timed: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    guard_skips: AtomicU64,
    evidence: SharedCounts,
    /// Made with the first connection: where endpoints come and go, many are remembered that never had one.
    connections: OnceLock<Box<ConnectionCounters>>,
}

/// The sum over all workers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Requests picked and not yet finished.
    pub in_flight: u64,
    /// Attempts sent or tried, since the endpoint is known.
    pub requests: u64,
    /// Attempts without a valid response head, and responses that the endpoint cut short.
    pub errors: u64,
    /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
    /// Sum of the times to the response head, in microseconds, from the pick or the end of the request's body.
    pub head_time_us: u64,
    /// Of how many responses; those that came before the end of the request's body are not among them.
    pub heads_timed: u64,
    /// Connections.
    pub connections: ConnectionTotals,
    /// Attempts after another one had failed.
    pub retries: u64,
    /// Attempts while another one was still waiting.
    pub hedges: u64,
    /// Choices that passed it over because it had more in flight than its bound.
    pub guard_skips: u64,
}

impl Endpoint {
    /// An endpoint nothing is known about yet.
    pub fn new(upstream: Name, address: SocketAddr, workers: usize) -> Self {
        let workers = (0..workers).map(|_| EndpointCounters::default()).collect();
        Self {
            upstream,
            address,
            sixteenth: sixteenth_of_endpoint(address),
            workers,
            places_taken: AtomicU32::new(0),
            learned: Mutex::default(),
            breaker: Mutex::default(),
            gate: SharedGate::default(),
            openings: Default::default(),
            checked: Mutex::default(),
            is_drained: AtomicBool::new(false),
            trouble: Trouble::default(),
        }
    }

    /// The upstream it belongs to.
    pub fn upstream(&self) -> &Name {
        &self.upstream
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To which part of all endpoints it belongs where these are compared, from 0 to 15.
    pub fn sixteenth(&self) -> usize {
        self.sixteenth
    }

    /// The counters of one worker; `None` for a worker that does not exist.
    pub fn counters(&self, worker: usize) -> Option<&EndpointCounters> {
        self.workers.get(worker)
    }

    /// What was learned, and until then nothing.
    pub fn learned(&self) -> MutexGuard<'_, Option<Learned>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its breaker stands, and until the first tick nothing.
    pub fn breaker(&self) -> MutexGuard<'_, Option<BreakerState>> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its breaker lets through.
    pub fn gate(&self) -> &SharedGate {
        &self.gate
    }

    /// Its breaker opened.
    pub fn opened(&self, opening: Opening) {
        self.openings[opening as usize].fetch_add(1, Relaxed);
    }

    /// How often its breaker opened, by the reason's word.
    pub fn openings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Opening::ALL.into_iter().map(|opening| (opening.token(), self.openings[opening as usize].load(Relaxed)))
    }

    /// What active checks found, where there are any.
    pub fn checked(&self) -> MutexGuard<'_, Option<Box<Checked>>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no check says that it is not well.
    pub fn is_up(&self) -> bool {
        self.checked().as_ref().is_none_or(|checked| checked.health().is_up())
    }

    /// Takes no new requests from now on, or takes them again; weights follow when they are published.
    pub fn drain(&self, is_drained: bool) {
        self.is_drained.store(is_drained, Relaxed);
    }

    /// Whether somebody asked that it takes no new requests.
    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Relaxed)
    }

    /// A handshake failed. Returns whether that is to be told.
    pub fn handshake_failed(&self, reason: &str, now_ms: u64) -> bool {
        self.trouble.met(reason, now_ms)
    }

    /// A handshake went well. Returns whether the one before had failed.
    pub fn handshake_completed(&self) -> bool {
        self.trouble.is_over()
    }

    /// The next handshakes are of other terms.
    pub fn forget_handshakes(&self) {
        self.trouble.is_over();
    }

    /// Why the last handshake failed, if it did.
    pub fn handshake_failure(&self) -> Option<String> {
        self.trouble.reason()
    }

    /// Whether it works on fewer requests than these.
    pub(crate) fn has_place(&self, limit: u32) -> bool {
        self.places_taken.load(SeqCst) < limit
    }

    /// Takes a place, if there is one.
    pub(crate) fn enter(&self, limit: u32) -> bool {
        let more = |taken: u32| (taken < limit).then_some(taken + 1);
        self.places_taken.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.places_taken.fetch_sub(1, SeqCst);
    }

    /// The evidence of all workers.
    pub fn evidence(&self) -> Option<Counts> {
        self.workers.iter().try_fold(Counts::default(), |sum, worker| Some(sum.plus(&worker.evidence.read()?)))
    }

    /// How many requests are at the endpoint, as far as workers other than this one sent them.
    pub(crate) fn load_of_others(&self, worker: usize, to_head: bool) -> u32 {
        let others = self.workers.iter().enumerate().filter(|(index, _)| *index != worker);
        others.map(|(_, counters)| counters.load(to_head)).sum()
    }

    /// Requests of all workers, until the end of the response.
    pub fn in_flight(&self) -> u64 {
        self.workers.iter().map(|counters| u64::from(counters.load(false))).sum()
    }

    /// The sum over all workers.
    pub fn totals(&self) -> EndpointTotals {
        self.workers.iter().fold(EndpointTotals::default(), |mut sum, counters| {
            counters.add_to(&mut sum);
            sum
        })
    }
}

impl EndpointCounters {
    /// A request was assigned to the endpoint.
    pub fn picked(&self) {
        add(&self.requests, 1);
        add(&self.in_flight, 1);
        add(&self.awaited_heads, 1);
    }

    /// The head of a response is no longer awaited: it came, or it will not.
    pub fn head_is_settled(&self) {
        add(&self.awaited_heads, u64::MAX);
    }

    /// A request assigned to the endpoint is over, however it ended.
    pub fn released(&self) {
        // The worker that picked is the only writer, so this cannot go below zero.
        add(&self.in_flight, u64::MAX);
    }

    /// How many requests are at the endpoint, until the head or the end of the response.
    pub fn load(&self, to_head: bool) -> u32 {
        let load = if to_head { &self.awaited_heads } else { &self.in_flight };
        load.load(Relaxed) as u32
    }

    /// A choice fell elsewhere because more is in flight here than the bound.
    pub fn guard_skipped(&self) {
        add(&self.guard_skips, 1);
    }

    /// Something is learned of how fast it is.
    pub fn learn(&self, change: impl FnOnce(&mut Counts)) {
        self.evidence.update(change);
    }

    /// A response head came, this many microseconds after the pick or, if later, the end of the request's body.
    pub fn answered(&self, status: http::StatusCode, head_time_us: Option<u64>) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        add(&self.statuses[class], 1);
        if let Some(time_us) = head_time_us {
            add(&self.head_time_us, time_us);
            add(&self.heads_timed, 1);
        }
    }

    /// No valid response head came, or the response broke off.
    pub fn failed(&self) {
        add(&self.errors, 1);
    }

    /// Its connections.
    pub fn connections(&self) -> &ConnectionCounters {
        self.connections.get_or_init(Box::default)
    }

    /// It got a request that had failed elsewhere, or on a connection that was closed.
    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    /// It got a request that is still waiting elsewhere.
    pub fn hedged(&self) {
        add(&self.hedges, 1);
    }

    fn add_to(&self, sum: &mut EndpointTotals) {
        sum.in_flight += self.in_flight.load(Relaxed);
        sum.requests += self.requests.load(Relaxed);
        sum.errors += self.errors.load(Relaxed);
        for (total, class) in sum.statuses.iter_mut().zip(&self.statuses) {
            *total += class.load(Relaxed);
        }
        sum.head_time_us += self.head_time_us.load(Relaxed);
        sum.heads_timed += self.heads_timed.load(Relaxed);
        if let Some(connections) = self.connections.get() {
            connections.add_to(&mut sum.connections);
        }
        sum.retries += self.retries.load(Relaxed);
        sum.hedges += self.hedges.load(Relaxed);
        sum.guard_skips += self.guard_skips.load(Relaxed);
    }
}

/// Adds without a locked instruction: there is one writer.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}
