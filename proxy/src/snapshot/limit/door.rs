//! Who is at an upstream that has limits, and who waits, over all workers.
//!
//! The numbers stand in atomics. Who waits waits at its worker (`data_path::upstream::queue`); here is only which worker's
//! turn it is, and the bell to ring there. A place is not handed on: who is called takes it, because it may have gone
//! meanwhile. So a bell may be rung in vain, and whoever finds that out, enters or goes away rings the next one.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

use routing_rules::limit::{Door, Entry, Places};
use routing_rules::rules::{self, InFlight};
use tokio::sync::Notify;

use super::adaptive::AdaptiveLimit;

/// Requests at an upstream, and those that wait for a place there.
pub struct UpstreamDoor {
    /// A [`Door`].
    bits: AtomicU64,
    in_flight_limit: AtomicU32,
    endpoint_limit: AtomicU32,
    queue_limit: AtomicU32,
    tickets: AtomicU64,
    queues: Box<[WorkerQueue]>,
    adaptive: AdaptiveLimit,
    refused: AtomicU64,
    waited: AtomicU64,
    timed_out: AtomicU64,
}

/// Where the requests of one worker wait.
#[repr(align(128))]
struct WorkerQueue {
    /// The number of the first, or [`NOBODY`].
    first: AtomicU64,
    bell: Notify,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It is inside.
    Inside,
    /// It waits.
    Wait,
    /// There is room neither inside nor to wait.
    Full,
}

/// Numbers for metrics and the API.
#[derive(Clone, Copy, Debug)]
pub struct DoorTotals {
    /// Requests inside.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Places inside, if they are limited.
    pub limit: Option<u32>,
    /// Requests refused because there was no room.
    pub refused: u64,
    /// Requests that had to wait.
    pub waited: u64,
    /// Requests that waited for too long.
    pub timed_out: u64,
}

impl UpstreamDoor {
    /// Nobody is there yet.
    pub fn new(workers: usize) -> Self {
        let queue = |_| WorkerQueue { first: AtomicU64::new(NOBODY), bell: Notify::new() };
        Self {
            bits: AtomicU64::new(Door::default().bits()),
            in_flight_limit: AtomicU32::new(UNLIMITED),
            endpoint_limit: AtomicU32::new(UNLIMITED),
            queue_limit: AtomicU32::new(0),
            tickets: AtomicU64::new(0),
            queues: (0..workers).map(queue).collect(),
            adaptive: AdaptiveLimit::default(),
            refused: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
        }
    }

    /// These limits are in force from now on, for those who are there, too.
    pub fn configure(&self, rules: &rules::UpstreamLimits) {
        self.endpoint_limit.store(rules.in_flight_per_endpoint.unwrap_or(UNLIMITED), SeqCst);
        self.queue_limit.store(rules.queue.map_or(0, |queue| queue.length), SeqCst);
        match rules.in_flight {
            Some(InFlight::Auto) => self.adaptive.switch_on(|limit| self.set_limit(limit)),
            Some(InFlight::Fixed(limit)) => self.adaptive.switch_off(|| self.set_limit(limit)),
            None => self.adaptive.switch_off(|| self.set_limit(UNLIMITED)),
        }
    }

    fn set_limit(&self, limit: u32) {
        self.in_flight_limit.store(limit, SeqCst);
        self.ring();
    }

    /// The tick of a limit that finds itself. Whether the next one has something to look at even if no request came.
    pub fn tick(&self) -> bool {
        self.adaptive.tick(self.door().in_flight, |limit| self.set_limit(limit))
    }

    // Entering and leaving.

    /// A request comes.
    pub(crate) fn enter(&self) -> Entrance {
        let places = self.places();
        let entrance = self.come(|door| door.enter(places));
        if entrance == Entrance::Inside {
            self.adaptive.came(self.door().in_flight);
        } else {
            self.adaptive.kept_out();
        }
        entrance
    }

    /// One that came in finds that no endpoint has a place. It waits, if it may.
    pub(crate) fn step_back(&self) -> Entrance {
        let queue = Places { in_flight: 0, ..self.places() };
        let entrance = self.come(|door| door.leave().enter(queue));
        if entrance == Entrance::Full {
            self.leave();
        }
        self.ring();
        entrance
    }

    fn come(&self, enter: impl Fn(Door) -> Entry) -> Entrance {
        loop {
            let bits = self.bits.load(SeqCst);
            let (next, entrance) = match enter(Door::from_bits(bits)) {
                Entry::Enter(door) => (door, Entrance::Inside),
                Entry::Wait(door) => (door, Entrance::Wait),
                Entry::Full => {
                    self.refused.fetch_add(1, Relaxed);
                    return Entrance::Full;
                }
            };
            if self.bits.compare_exchange(bits, next.bits(), SeqCst, SeqCst).is_ok() {
                return entrance;
            }
        }
    }

    /// One that is inside has gone. To be followed by [`Self::ring`].
    pub(crate) fn leave(&self) {
        self.change(|door| Some(door.leave()));
    }

    /// What an adaptive limit learns from: an answer that took so long.
    pub(crate) fn answered(&self, took_us: u64) {
        self.adaptive.answered(took_us);
    }

    /// And from this: the client went away after so long without one.
    pub(crate) fn given_up(&self, after_us: u64) {
        self.adaptive.given_up(after_us);
    }

    /// How many requests each endpoint may work on, if that is limited.
    pub(crate) fn limit_per_endpoint(&self) -> Option<u32> {
        let limit = self.endpoint_limit.load(SeqCst);
        (limit != UNLIMITED).then_some(limit)
    }

    // Waiting.

    /// The number of one that begins to wait.
    pub(crate) fn ticket(&self) -> u64 {
        self.waited.fetch_add(1, Relaxed);
        self.tickets.fetch_add(1, Relaxed)
    }

    /// The first who waits at a worker has another number, or there is none.
    pub(crate) fn set_first(&self, worker: usize, first: Option<u64>) {
        if let Some(queue) = self.queues.get(worker) {
            queue.first.store(first.unwrap_or(NOBODY), SeqCst);
        }
    }

    /// Whether nobody waits for longer, at any worker.
    pub(crate) fn is_first(&self, ticket: u64) -> bool {
        self.queues.iter().all(|queue| queue.first.load(SeqCst) >= ticket)
    }

    /// The first who waits takes a place, if there is one.
    pub(crate) fn call(&self) -> bool {
        let is_called = self.change(|door| door.call(self.places()));
        if is_called {
            self.adaptive.came(self.door().in_flight);
        }
        is_called
    }

    /// The one that was called finds that no endpoint has a place, and waits on where it was.
    pub(crate) fn uncall(&self) {
        self.change(|door| Some(door.uncall()));
    }

    /// One that waits goes away. To be followed by [`Self::ring`].
    pub(crate) fn give_up(&self) {
        self.change(|door| Some(door.give_up()));
    }

    /// One has waited for too long.
    pub(crate) fn timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    /// Tells the first of those who wait, if there may be a place.
    pub(crate) fn ring(&self) {
        let door = self.door();
        if door.waiting == 0 || door.in_flight >= self.places().in_flight {
            return;
        }
        let first = |queue: &&WorkerQueue| queue.first.load(SeqCst);
        if let Some(queue) = self.queues.iter().min_by_key(first).filter(|queue| first(queue) != NOBODY) {
            queue.bell.notify_one();
        }
    }

    /// Waits for the bell of a worker. If it rang before, not at all.
    pub(crate) async fn rung(&self, worker: usize) {
        match self.queues.get(worker) {
            Some(queue) => queue.bell.notified().await,
            None => std::future::pending().await,
        }
    }

    // Looking.

    /// The numbers of this moment.
    pub fn totals(&self) -> DoorTotals {
        let (door, limit) = (self.door(), self.places().in_flight);
        DoorTotals {
            in_flight: door.in_flight,
            waiting: door.waiting,
            limit: (limit != UNLIMITED).then_some(limit),
            refused: self.refused.load(Relaxed),
            waited: self.waited.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
        }
    }

    fn door(&self) -> Door {
        Door::from_bits(self.bits.load(SeqCst))
    }

    fn places(&self) -> Places {
        Places { in_flight: self.in_flight_limit.load(SeqCst), queue: self.queue_limit.load(SeqCst) }
    }

    fn change(&self, change: impl Fn(Door) -> Option<Door>) -> bool {
        let next = |bits| change(Door::from_bits(bits)).map(Door::bits);
        self.bits.fetch_update(SeqCst, SeqCst, next).is_ok()
    }
}

/// Behind every ticket.
const NOBODY: u64 = u64::MAX;

/// Where nothing is limited, or only the other number.
const UNLIMITED: u32 = u32::MAX;
