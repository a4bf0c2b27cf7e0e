//! What an adaptive limit is fed with, gathered by all workers between two ticks. Nothing is gathered while it is off.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, PoisonError};

use routing_rules::limit::{Adaptive, Phase, Sample};

/// The adaptive limit of an upstream, on or off.
#[derive(Default)]
pub(super) struct AdaptiveLimit {
    is_on: AtomicBool,
    /// For the control path alone.
    state: Mutex<Option<Adaptive>>,
    finished: AtomicU32,
    latency_us: AtomicU64,
    given_up: AtomicU32,
    given_up_us: AtomicU64,
    clip_us: AtomicU64,
    slow_us: AtomicU64,
    most: AtomicU32,
    kept_out: AtomicU32,
}

impl AdaptiveLimit {
    /// On, as it was if it was on. `publish` is told the limit; as it is under the lock, nothing older comes after it.
    pub(super) fn switch_on(&self, publish: impl FnOnce(u32)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let adaptive = state.get_or_insert_with(Adaptive::new);
        self.look_at(adaptive);
        self.is_on.store(true, Relaxed);
        publish(adaptive.limit());
    }

    /// Off; the limit is said by somebody else.
    pub(super) fn switch_off(&self, publish: impl FnOnce()) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_on.store(false, Relaxed);
        *state = None;
        publish();
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// A request came in; so many are in flight now.
    pub(super) fn came(&self, in_flight: u32) {
        if self.is_on() && self.most.load(Relaxed) < in_flight {
            self.most.fetch_max(in_flight, Relaxed);
        }
    }

    /// A request was kept out, to wait or for good.
    pub(super) fn kept_out(&self) {
        if self.is_on() {
            self.kept_out.fetch_add(1, Relaxed);
        }
    }

    /// A request was answered, or timed out, after this time.
    pub(super) fn answered(&self, took_us: u64) {
        if self.is_on() {
            self.finished.fetch_add(1, Relaxed);
            self.latency_us.fetch_add(took_us.min(self.clip_us.load(Relaxed)), Relaxed);
        }
    }

    /// The client of a request that was not answered went away after this time.
    pub(super) fn given_up(&self, took_us: u64) {
        if self.is_on() && took_us >= self.slow_us.load(Relaxed) {
            self.given_up.fetch_add(1, Relaxed);
            self.given_up_us.fetch_add(took_us.min(self.clip_us.load(Relaxed)), Relaxed);
        }
    }

    /// What has been gathered becomes the limit from now on, if it is on. So many are in flight now. Whether the next tick has
    /// something to look at even if no request comes.
    pub(super) fn tick(&self, in_flight: u32, publish: impl FnOnce(u32)) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(adaptive) = state.as_mut() else { return false };
        let sample = Sample {
            finished: self.finished.swap(0, Relaxed),
            latency_us: self.latency_us.swap(0, Relaxed),
            in_flight: self.most.swap(in_flight, Relaxed).max(in_flight),
            refused: self.kept_out.swap(0, Relaxed),
            given_up: self.given_up.swap(0, Relaxed),
            given_up_us: self.given_up_us.swap(0, Relaxed),
        };
        let is_at_rest = sample == Sample::default() && adaptive.phase() == Phase::Free;
        let limit = adaptive.tick(sample);
        self.look_at(adaptive);
        publish(limit);
        !is_at_rest
    }

    fn look_at(&self, adaptive: &Adaptive) {
        self.clip_us.store(adaptive.clip_us(), Relaxed);
        self.slow_us.store(adaptive.slow_us(), Relaxed);
    }
}
