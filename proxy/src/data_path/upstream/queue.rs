//! Where requests of one worker wait for a place at an upstream, first come, first served.
//!
//! Only the first listens to the bell and tries to enter; the others wait until they are first. Who goes away, for
//! whatever reason, wakes the next.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::snapshot::UpstreamDoor;

/// The queue of one worker at one door.
pub(crate) struct LocalQueue {
    door: Arc<UpstreamDoor>,
    worker: usize,
    /// By ticket, the lowest first.
    waiting: RefCell<VecDeque<Waiting>>,
}

struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// A request's place in a queue. Dropped without having entered, it gives up.
pub(crate) struct Ticket {
    queue: Rc<LocalQueue>,
    number: u64,
    has_entered: Cell<bool>,
}

impl LocalQueue {
    pub(super) fn new(door: Arc<UpstreamDoor>, worker: usize) -> Self {
        Self { door, worker, waiting: RefCell::default() }
    }

    pub(super) fn door(&self) -> &Arc<UpstreamDoor> {
        &self.door
    }

    /// A request that the door told to wait.
    pub(super) fn join(self: &Rc<Self>) -> Ticket {
        let number = self.door.ticket();
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(Waiting { ticket: number, waker: None });
        if waiting.len() == 1 {
            self.door.set_first(self.worker, Some(number));
        }
        Ticket { queue: Rc::clone(self), number, has_entered: Cell::new(false) }
    }

    fn poll_first(&self, ticket: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket) {
            Ok(place @ 1..) => {
                waiting[place].waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn remove(&self, ticket: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let Ok(place) = waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket) else { return };
        waiting.remove(place);
        if place > 0 {
            return;
        }
        let first = waiting.front_mut();
        self.door.set_first(self.worker, first.as_ref().map(|first| first.ticket));
        if let Some(waker) = first.and_then(|first| first.waker.take()) {
            waker.wake();
        }
    }
}

impl Ticket {
    /// Waits until `enter` lets the request in, or says that it never will.
    pub(crate) async fn until<T>(&self, mut enter: impl FnMut(&Self) -> Option<T>) -> T {
        poll_fn(|cx| self.queue.poll_first(self.number, cx)).await;
        loop {
            if let Some(entered) = enter(self) {
                return entered;
            }
            self.queue.door.rung(self.queue.worker).await;
        }
    }

    /// Takes a place inside, if this is the one that has waited for longest, and there is one.
    pub(super) fn call(&self) -> bool {
        let door = &self.queue.door;
        if !door.is_first(self.number) {
            door.ring();
            return false;
        }
        self.has_entered.set(door.call());
        self.has_entered.get()
    }

    /// Waits on, because no endpoint had a place.
    pub(super) fn uncall(&self) {
        self.has_entered.set(false);
        self.queue.door.uncall();
    }

    pub(crate) fn door(&self) -> &Arc<UpstreamDoor> {
        &self.queue.door
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.remove(self.number);
        if !self.has_entered.get() {
            self.queue.door.give_up();
        }
        self.queue.door.ring();
    }
}
