//! How many handshakes a worker has under way, and how often it computes for one.
//!
//! A handshake costs a hundred times what a request costs, and its client nothing until then: between two of them everybody
//! else has a turn. Whoever is waited for is so at our expense: when there are too many, those make room who have said nothing
//! yet, for longest, since an honest client speaks at once; and then those who have left our answer lying for longest.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::data_path::http::{ConnectionState, Order, Phase};

/// The handshakes of one worker.
pub(crate) struct Handshakes {
    most: usize,
    count: Rc<Cell<usize>>,
    /// Those that have said nothing yet are among these, the oldest first.
    silent: RefCell<VecDeque<Weak<ConnectionState>>>,
    /// Those that were answered, and since when it is their turn, in milliseconds; the oldest first.
    answered: RefCell<VecDeque<(u64, Weak<ConnectionState>)>>,
    turns: Semaphore,
}

/// A handshake under way, until it is dropped.
pub(crate) struct UnderWay(Rc<Cell<usize>>);

impl Handshakes {
    /// A quarter of a worker's connections at most, and never very many.
    pub(crate) fn new(max_connections: usize) -> Self {
        Self::at_most((max_connections / 4).clamp(1, MOST))
    }

    fn at_most(most: usize) -> Self {
        Self {
            most,
            count: Rc::default(),
            silent: RefCell::default(),
            answered: RefCell::default(),
            turns: Semaphore::new(1),
        }
    }

    /// Takes a place; nothing if there is none, and nobody who makes room.
    pub(crate) fn begin(&self, state: &Rc<ConnectionState>, now_ms: u64) -> Option<UnderWay> {
        let place = self.take_over(now_ms)?;
        let mut silent = self.silent.borrow_mut();
        if silent.len() >= 2 * self.most {
            silent.retain(|state| state.upgrade().is_some_and(|state| is_silent(&state)));
        }
        silent.push_back(Rc::downgrade(state));
        Some(place)
    }

    /// The same for one that has begun elsewhere, and has said something.
    pub(crate) fn take_over(&self, now_ms: u64) -> Option<UnderWay> {
        if self.count.get() >= self.most && !self.make_room(now_ms) {
            return None;
        }
        self.count.set(self.count.get() + 1);
        Some(UnderWay(Rc::clone(&self.count)))
    }

    /// From now on the client is waited for.
    pub(crate) fn answered(&self, state: &Rc<ConnectionState>, now_ms: u64) {
        let mut answered = self.answered.borrow_mut();
        if answered.len() >= 2 * self.most {
            answered.retain(|(_, state)| state.upgrade().is_some_and(|state| is_shaking(&state)));
        }
        answered.push_back((now_ms, Rc::downgrade(state)));
    }

    /// Waits for leave to compute. Who came first goes first.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("nobody closes it")
    }

    /// Sends whoever has been silent for longest away, or whoever has been waited for for too long.
    fn make_room(&self, now_ms: u64) -> bool {
        let mut silent = self.silent.borrow_mut();
        while let Some(oldest) = silent.pop_front() {
            if let Some(state) = oldest.upgrade().filter(|state| is_silent(state)) {
                state.order(Order::Close);
                return true;
            }
        }
        let mut answered = self.answered.borrow_mut();
        while let Some((_, oldest)) =
            answered.pop_front_if(|(since_ms, _)| now_ms.saturating_sub(*since_ms) >= PATIENCE_MS)
        {
            if let Some(state) = oldest.upgrade().filter(|state| is_shaking(state)) {
                state.order(Order::Close);
                return true;
            }
        }
        false
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn is_silent(state: &ConnectionState) -> bool {
    state.phase() == Phase::Hello
}

fn is_shaking(state: &ConnectionState) -> bool {
    state.phase() == Phase::Handshake
}

/// How long whoever was answered is in nobody's way: some round trips around the world.
const PATIENCE_MS: u64 = 1_000;

/// Each holds some kilobytes, and the last of so many has its turn well within the time it has.
const MOST: usize = 2_048;
