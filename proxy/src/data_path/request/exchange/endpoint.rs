//! A request at its endpoints: which it goes to, and what came of it there. Each try says so once, to the endpoint and to whoever
//! compares groups.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::Exchange;
use crate::data_path::error::RequestError;
use crate::data_path::upstream::{Attempt, LocalEndpoint, Stay, UpstreamPlace};
use crate::moment;

impl Exchange {
    /// It gets an upstream, and an endpoint unless it waits for one.
    pub(crate) fn enter<T>(&self, enter: impl FnOnce(&mut Stay) -> T) -> T {
        let entered = enter(&mut self.stay.borrow_mut());
        if self.stay.borrow().was_turned_away() {
            self.comparing.turned_away();
        }
        self.begin();
        entered
    }

    /// It waits for an endpoint, for so long at most.
    pub(crate) fn waits_for_room(&self, patience: Duration) {
        self.timing.waits_for_room(patience, self.now_ms());
    }

    /// It has waited, and goes to this endpoint, if to any.
    pub(crate) fn has_waited(&self, entered: Option<(Attempt, UpstreamPlace)>) {
        self.timing.has_waited(self.now_ms());
        if let Some((attempt, place)) = entered {
            self.stay.borrow_mut().enter(attempt, Some(place));
            self.begin();
        }
    }

    /// It goes to another endpoint, and no longer to the one before; or to the same again.
    pub(crate) fn retry_at(&self, attempt: Attempt) {
        self.retries.set(self.retries.get() + 1);
        self.stay.borrow_mut().move_to(attempt);
        self.with_attempt(Attempt::count_retry);
        self.begin();
    }

    /// It goes to a second endpoint, too: it has been told all that the first one knows.
    pub(crate) fn hedge_at(&self, mut attempt: Attempt) {
        self.retries.set(self.retries.get() + 1);
        attempt.count_hedge();
        attempt.start_clock(moment::now_us());
        self.stay.borrow_mut().hedge_at(attempt);
    }

    /// The second endpoint serves, and the first is let go, or had failed by a fault of its own.
    pub(crate) fn hedge_serves(&self, first_failed: Option<RequestError>) {
        match first_failed {
            Some(error) => self.endpoint_failed(error),
            None => self.comparing.let_go(self.with_attempt(|attempt| attempt.took_us(moment::now_us())).flatten()),
        }
        self.stay.borrow_mut().hedge_serves();
        self.with_attempt(|attempt| self.record().endpoint(attempt.endpoint()));
    }

    /// The second endpoint does not serve, by a fault of its own or not.
    pub(crate) fn hedge_failed(&self, fault: Option<RequestError>) {
        self.stay.borrow_mut().hedge_failed(fault, moment::now_us());
    }

    /// It has another endpoint than before, if it has one.
    fn begin(&self) {
        self.with_attempt(|attempt| {
            // An endpoint that comes later is told all at once what another one waited for.
            if self.is_request_complete() {
                attempt.start_clock(moment::now_us());
            }
            self.record().endpoint(attempt.endpoint());
        });
    }

    /// At which endpoint it is.
    pub(crate) fn endpoint(&self) -> Option<Rc<LocalEndpoint>> {
        self.stay.borrow().endpoint().map(Rc::clone)
    }

    /// The endpoint answered with a valid head.
    pub(crate) fn endpoint_answered(&self, status: StatusCode) {
        let took_us = self.stay.borrow_mut().answered(status, moment::now_us());
        self.head_time_us.set(took_us);
        self.comparing.answered(|| self.endpoint(), status, took_us);
    }

    /// It came to nothing at its endpoint, or broke off there.
    pub(crate) fn endpoint_failed(&self, error: RequestError) {
        self.call_is_left();
        self.with_attempt(|attempt| attempt.failed(error, moment::now_us()));
        self.comparing.failed(|| self.endpoint(), error);
    }

    /// A kept connection had been closed, for which nobody is to blame.
    pub(crate) fn endpoint_excused(&self) {
        self.with_attempt(Attempt::excuse);
    }

    /// The upstream has nothing more to do with it.
    pub(crate) fn endpoint_done(&self) {
        self.stay.borrow_mut().end(self.error.get());
    }

    pub(crate) fn with_attempt<T>(&self, act: impl FnOnce(&mut Attempt) -> T) -> Option<T> {
        self.stay.borrow_mut().attempt().map(act)
    }
}
