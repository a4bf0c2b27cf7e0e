//! Upstreams as one worker sees them: whose turn it is, its kept connections, its counters.
//!
//! Built on first use and again when the snapshot has another version of the upstream; endpoints that stay keep
//! their connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use routing_rules::balance::{HashRing, Picked, Schedule, Taking, Turns, View};
use routing_rules::breaker::Outcome;
use routing_rules::release::Bucket;
use routing_rules::retry::{self, Budget, Verdict};
use routing_rules::table::UpstreamId;

use super::loads::{ALL_KEYS, Look, LookAtTaking, Total};
use super::pool::Pool;
use super::queue::LocalQueue;
use super::{Affinity, EndpointPlace, Wants};
use crate::snapshot::{Admitted, Balancer, Endpoint, EndpointCounters, Upstream, UpstreamDoor};

/// All upstreams one worker has used.
pub(crate) struct LocalUpstreams {
    worker: usize,
    /// What one upstream may have in flight, so that it leaves room for the others.
    max_in_flight: u32,
    by_id: RefCell<Vec<Option<Rc<LocalUpstream>>>>,
    endpoints: RefCell<HashMap<usize, Weak<LocalEndpoint>>>,
    /// By the address of their door, which lives as long as they do.
    queues: RefCell<HashMap<usize, Weak<LocalQueue>>>,
}

/// One upstream of one worker.
pub(crate) struct LocalUpstream {
    shared: Arc<Upstream>,
    worker: usize,
    endpoints: Box<[Rc<LocalEndpoint>]>,
    turns: RefCell<Turns>,
    schedule: RefCell<Cache<Arc<ArcSwap<Schedule>>, Arc<Schedule>>>,
    /// What the other workers have at each endpoint.
    others: Box<[Look]>,
    total: Total,
    taking: RefCell<LookAtTaking>,
    retries: RefCell<Budget>,
    /// What this worker has in flight here, over all versions.
    in_flight: Rc<Cell<u32>>,
    max_in_flight: u32,
    /// Where requests wait, if the upstream has limits.
    queue: Option<Rc<LocalQueue>>,
}

/// An endpoint for one request, and what that takes of it.
pub(crate) struct Choice {
    pub(super) place: usize,
    pub(super) admitted: Admitted,
    pub(super) held: Option<EndpointPlace>,
}

/// One endpoint of one worker.
pub(crate) struct LocalEndpoint {
    shared: Arc<Endpoint>,
    worker: usize,
    pub(crate) pool: Pool,
}

impl LocalUpstreams {
    pub(crate) fn new(worker: usize, max_in_flight: u32) -> Self {
        Self {
            worker,
            max_in_flight,
            by_id: RefCell::default(),
            endpoints: RefCell::default(),
            queues: RefCell::default(),
        }
    }

    /// This worker's view of an upstream, brought up to date with the snapshot's. `draw` begins somewhere and
    /// in some order, so that workers do not march in step.
    pub(crate) fn get(&self, id: UpstreamId, shared: &Arc<Upstream>, draw: impl FnMut() -> u64) -> Rc<LocalUpstream> {
        let mut by_id = self.by_id.borrow_mut();
        if by_id.len() <= id.index() {
            by_id.resize_with(id.index() + 1, || None);
        }
        let place = &mut by_id[id.index()];
        match place {
            Some(local) if Arc::ptr_eq(&local.shared, shared) => Rc::clone(local),
            old => {
                let local = self.build(shared, old.as_deref(), draw);
                *old = Some(Rc::clone(&local));
                local
            }
        }
    }

    /// A view of an upstream that the snapshot no longer has.
    pub(crate) fn apart(&self, shared: &Arc<Upstream>, draw: impl FnMut() -> u64) -> Rc<LocalUpstream> {
        self.build(shared, None, draw)
    }

    fn build(
        &self,
        shared: &Arc<Upstream>,
        old: Option<&LocalUpstream>,
        draw: impl FnMut() -> u64,
    ) -> Rc<LocalUpstream> {
        let endpoints: Box<[_]> = shared.endpoints.iter().map(|member| self.endpoint(&member.endpoint)).collect();
        endpoints.iter().for_each(|endpoint| endpoint.pool.follow(shared));
        // Who stays in the same places goes on in the same turns, whatever the weights are now.
        let same = old.filter(|old| {
            let both = old.endpoints.iter().zip(&endpoints);
            old.endpoints.len() == endpoints.len() && both.into_iter().all(|(old, new)| Rc::ptr_eq(old, new))
        });
        // Who waits may find room at an endpoint that is new.
        if let Some(door) = shared.door.as_ref().filter(|_| old.is_some()) {
            door.ring();
        }
        let turns = same.map_or_else(|| Turns::new(endpoints.len(), draw), |same| same.turns.borrow().clone());
        let budget = shared.rules.retry().budget;
        let retries =
            old.filter(|old| old.shared.rules.retry().budget == budget).map(|old| old.retries.borrow().clone());
        Rc::new(LocalUpstream {
            worker: self.worker,
            in_flight: old.map(|old| Rc::clone(&old.in_flight)).unwrap_or_default(),
            max_in_flight: self.max_in_flight,
            retries: RefCell::new(retries.unwrap_or_else(|| Budget::new(budget.basis_points()))),
            turns: RefCell::new(turns),
            schedule: RefCell::new(Cache::new(Arc::clone(shared.weighing.schedule()))),
            others: endpoints.iter().map(|_| Look::default()).collect(),
            total: Total::default(),
            taking: RefCell::default(),
            endpoints,
            queue: shared.door.as_ref().map(|door| self.queue(door)),
            shared: Arc::clone(shared),
        })
    }

    fn endpoint(&self, shared: &Arc<Endpoint>) -> Rc<LocalEndpoint> {
        let identity = Arc::as_ptr(shared).addr();
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(known) = endpoints.get(&identity).and_then(Weak::upgrade) {
            return known;
        }
        let local = Rc::new(LocalEndpoint { shared: Arc::clone(shared), worker: self.worker, pool: Pool::default() });
        endpoints.insert(identity, Rc::downgrade(&local));
        local
    }

    /// Requests of one version of an upstream and of the next wait in the same queue.
    fn queue(&self, door: &Arc<UpstreamDoor>) -> Rc<LocalQueue> {
        let identity = Arc::as_ptr(door).addr();
        let mut queues = self.queues.borrow_mut();
        if let Some(known) = queues.get(&identity).and_then(Weak::upgrade) {
            return known;
        }
        let queue = Rc::new(LocalQueue::new(Arc::clone(door), self.worker));
        queues.insert(identity, Rc::downgrade(&queue));
        queue
    }

    /// Closes half of the idle connections to each endpoint, those unused for longest.
    pub(crate) fn shed_idle(&self) {
        for endpoint in self.endpoints.borrow().values().filter_map(Weak::upgrade) {
            endpoint.pool.shed_idle();
        }
    }

    /// Forgets upstreams the snapshot no longer has, brings the others up to date, so that removed endpoints lose their
    /// connections and the others keep theirs, and closes connections that were kept for too long.
    pub(crate) fn tidy<'s>(
        &self,
        current: impl Fn(usize) -> Option<&'s Arc<Upstream>>,
        draw: impl Fn() -> u64,
        now_ms: u64,
    ) {
        let mut by_id = self.by_id.borrow_mut();
        for (index, place) in by_id.iter_mut().enumerate() {
            let Some(local) = place else { continue };
            match current(index) {
                Some(shared) if Arc::ptr_eq(shared, &local.shared) => {}
                Some(shared) => *place = Some(self.build(shared, Some(local), &draw)),
                None => *place = None,
            }
        }
        drop(by_id);
        self.queues.borrow_mut().retain(|_, queue| queue.strong_count() > 0);
        self.endpoints.borrow_mut().retain(|_, endpoint| match endpoint.upgrade() {
            Some(endpoint) => {
                endpoint.pool.close_idle(now_ms);
                true
            }
            None => false,
        });
    }
}

impl LocalUpstream {
    /// Chooses an endpoint other than those `tried`.
    pub(crate) fn choose(&self, wants: Wants, tried: &[usize], now_us: u64, draw: impl Fn() -> u64) -> Option<Choice> {
        loop {
            let place = self.next(wants, tried, now_us, &draw)?;
            if let Some(choice) = self.enter(place, wants) {
                return Some(choice);
            }
            // Another worker took the last place or the one probe meanwhile, which the next look sees.
        }
    }

    fn next(&self, wants: Wants, tried: &[usize], now_us: u64, draw: &impl Fn() -> u64) -> Option<usize> {
        let load = |place: usize| self.load(place, now_us);
        let admits = |place: usize| self.admits(place, wants) && self.has_place(place);
        let load_total = || self.load_total(now_us);
        let view = View { load, load_total: &load_total, admits, tried };
        let (mut turns, mut schedule) = (self.turns.borrow_mut(), self.schedule.borrow_mut());
        let schedule = schedule.load();
        // Rings and cookies know who has a weight by the rules; the schedule knows who has one now.
        let takes = |place: usize| schedule.weight(place) > 0.0 && (view.admits)(place);
        let Picked { endpoint, passed_over } = match &self.shared.balancer {
            Balancer::Sticky(_)
                if let Affinity::Session { place, .. } = wants.affinity
                    && takes(place)
                    && !tried.contains(&place) =>
            {
                Some(Picked { endpoint: place, passed_over: None })
            }
            Balancer::Dwrr { .. } | Balancer::Sticky(_) => schedule.pick(&mut turns, &view, draw),
            Balancer::RoundRobin => schedule.turn(&mut turns, &view),
            Balancer::LeastRequest => schedule.two_choices(&turns, &view, draw),
            Balancer::ConsistentHash { ring, .. } => {
                let hash = if let Affinity::Hash(hash) = wants.affinity { hash } else { draw() };
                // Weights have no say in whose key it is, so a breaker that ramps up lets keys back one by one. The ends of hashes,
                // because their beginnings are places on the ring.
                let line = Bucket::from_hash(hash.reverse_bits()).line();
                let is_back = |place: usize| takes(place) && self.admits_at(place, line, wants);
                let taking = |line: Option<u16>| self.taking(ring, schedule, line, now_us);
                let load_total = &load_total;
                let back = View { load: view.load, load_total, admits: is_back, tried };
                let picked = ring.pick(hash, &back, || taking(Some(line)));
                let all = View { load: view.load, load_total, admits: takes, tried };
                picked.or_else(|| ring.pick(hash, &all, || taking(None)))
            }
        }?;
        if let Some(place) = passed_over {
            self.endpoints[place].counters().guard_skipped();
        }
        Some(endpoint)
    }

    /// The requests at an endpoint.
    fn load(&self, place: usize, now_us: u64) -> u32 {
        let (endpoint, to_head) = (&self.endpoints[place], self.shared.balancer.counts_to_head());
        let of_others = || endpoint.shared.load_of_others(self.worker, to_head);
        endpoint.counters().load(to_head) + self.others[place].at(now_us, of_others)
    }

    /// The requests at all endpoints, as of a moment ago and what this worker has added since.
    fn load_total(&self, now_us: u64) -> u32 {
        let in_flight = self.in_flight.get();
        let sum = || (0..self.endpoints.len()).map(|place| self.load(place, now_us)).sum();
        self.total.at(now_us, in_flight, sum)
    }

    /// Those on a ring that take requests whose key is at this place from 0 to 9,999, or any.
    fn taking(&self, ring: &HashRing, schedule: &Schedule, line: Option<u16>, now_us: u64) -> Taking {
        let of = |place: usize| (self.load(place, now_us), ring.weight(place));
        let keys_of = |place: usize| match self.has_breaker(place) {
            true => self.endpoints[place].shared.gate().load().share(),
            false => ALL_KEYS,
        };
        self.taking.borrow_mut().at([now_us, self.in_flight.get().into()], line, of, || {
            let places = (0..self.endpoints.len()).filter(|place| schedule.weight(*place) > 0.0);
            places.map(|place| (place, keys_of(place))).filter(|(_, keys)| *keys > 0).collect()
        })
    }

    fn enter(&self, place: usize, wants: Wants) -> Option<Choice> {
        let endpoint = &self.endpoints[place];
        let limits = self.limit_per_endpoint().zip(self.shared.door.as_ref());
        let held = EndpointPlace::claim(endpoint, limits).ok()?;
        let admitted = match self.has_breaker(place) {
            true => endpoint.shared.gate().enter(wants.repeatable)?,
            false => Admitted { epoch: 0, is_probe: false },
        };
        Some(Choice { place, admitted, held })
    }

    fn has_breaker(&self, place: usize) -> bool {
        self.shared.endpoints[place].results.is_some()
    }

    fn admits(&self, place: usize, wants: Wants) -> bool {
        !self.has_breaker(place) || self.endpoints[place].shared.gate().may_pass(wants.repeatable)
    }

    fn admits_at(&self, place: usize, line: u16, wants: Wants) -> bool {
        !self.has_breaker(place) || self.endpoints[place].shared.gate().may_pass_at(line, wants.repeatable)
    }

    fn has_place(&self, place: usize) -> bool {
        self.limit_per_endpoint().is_none_or(|limit| self.endpoints[place].shared.has_place(limit))
    }

    fn limit_per_endpoint(&self) -> Option<u32> {
        self.shared.door.as_ref()?.limit_per_endpoint()
    }

    /// Whether a request that got no endpoint would get one if these had fewer requests.
    pub(super) fn is_full(&self, wants: Wants) -> bool {
        self.limit_per_endpoint().is_some() && self.any_that_takes(|place| self.admits(place, wants))
    }

    /// Whether an endpoint would take a request.
    pub(super) fn has_room(&self, wants: Wants) -> bool {
        self.any_that_takes(|place| self.admits(place, wants) && self.has_place(place))
    }

    fn any_that_takes(&self, admits: impl Fn(usize) -> bool) -> bool {
        let mut schedule = self.schedule.borrow_mut();
        let schedule = schedule.load();
        (0..schedule.len()).any(|place| schedule.weight(place) > 0.0 && admits(place))
    }

    /// Where requests wait, if the upstream has limits.
    pub(super) fn queue(&self) -> Option<&Rc<LocalQueue>> {
        self.queue.as_ref()
    }

    /// Tells the breaker how a request ended.
    pub(crate) fn judge(&self, place: usize, admitted: Admitted, result: (Outcome, Option<u64>), now_us: u64) {
        let Some(results) = &self.shared.endpoints[place].results else { return };
        let (gate, weighing) = (self.endpoints[place].shared.gate(), &self.shared.weighing);
        if gate.load().epoch() == admitted.epoch {
            results.count(gate, self.worker, result, now_us / 1_000, || weighing.take_trip());
            // The tick that looked when the request came knew nothing of this, and nobody may come after it.
            self.shared.has_news();
        }
    }

    /// A request is about to be sent, for the first time.
    pub(crate) fn count_request(&self, now_ms: u64) {
        self.retries.borrow_mut().request(now_ms);
    }

    /// Whether a request that got no answer may be tried again. A try that sent nothing burdens nobody, so the budget is for
    /// the others.
    pub(crate) fn may_retry(&self, attempt: &retry::Attempt, now_ms: u64) -> bool {
        match attempt.verdict(self.shared.rules.retry().tries) {
            Verdict::Retry(retry::Reason::NothingSent) => true,
            Verdict::Retry(_) => self.retries.borrow_mut().withdraw(now_ms).is_ok(),
            Verdict::GiveUp(_) => false,
        }
    }

    /// Whether a request that takes long may be sent to another endpoint, too.
    pub(crate) fn may_hedge(&self, now_ms: u64) -> bool {
        self.retries.borrow_mut().withdraw(now_ms).is_ok()
    }

    /// Whether it has so much to do that others would suffer from more, whatever its own limits say.
    pub(super) fn is_at_its_most(&self) -> bool {
        self.in_flight.get() >= self.max_in_flight
    }

    /// Whether it has more than half of that, so that the rest is for those who have less.
    pub(crate) fn is_half_full(&self) -> bool {
        self.in_flight.get() > self.max_in_flight / 2
    }

    /// How long, in milliseconds, clients may do nothing, if that is not as long as usual: each has a place, and the fewer are left the
    /// sooner somebody else needs it.
    pub(super) fn patience_ms(&self) -> Option<u64> {
        let is_nearly_full = self.in_flight.get() > self.max_in_flight - self.max_in_flight / 4;
        self.is_half_full().then_some(if is_nearly_full { 250 } else { 1_000 })
    }

    /// A request has gone to an endpoint.
    pub(super) fn entered(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// A request has left its endpoint.
    pub(super) fn left(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// The endpoint at a place that was chosen.
    pub(crate) fn endpoint(&self, place: usize) -> &Rc<LocalEndpoint> {
        &self.endpoints[place]
    }

    /// Where an endpoint is, if it is one of these.
    pub(super) fn place_of(&self, endpoint: &Rc<LocalEndpoint>) -> Option<usize> {
        self.endpoints.iter().position(|own| Rc::ptr_eq(own, endpoint))
    }

    pub(crate) fn shared(&self) -> &Upstream {
        &self.shared
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl LocalEndpoint {
    pub(crate) fn shared(&self) -> &Endpoint {
        &self.shared
    }

    pub(super) fn share(&self) -> Arc<Endpoint> {
        Arc::clone(&self.shared)
    }

    pub(crate) fn counters(&self) -> &EndpointCounters {
        self.shared.counters(self.worker).expect("an endpoint has counters for every worker of its process")
    }
}
