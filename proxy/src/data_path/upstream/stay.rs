//! All that a request holds of its upstream while it is there, and what it tells it.

use std::rc::Rc;

use http::StatusCode;
use routing_rules::breaker::Outcome;

use super::{Attempt, GroupPass, LocalEndpoint, UpstreamPlace};
use crate::data_path::error::{Blame, RequestError};
use crate::moment;

/// A request's stay at an upstream; over when dropped.
#[derive(Default)]
pub(crate) struct Stay {
    // In this order: who is called when the upstream has room should find the endpoint's place free.
    attempt: Option<Attempt>,
    /// The same request at a second endpoint, until it is known which one serves.
    hedge: Option<Box<Attempt>>,
    place: Option<UpstreamPlace>,
    pass: Option<GroupPass>,
    leaves_no_sample: bool,
    turned_away: bool,
}

impl Stay {
    /// It is made to wait by design: how long it takes will say nothing of anybody.
    pub(crate) fn leave_no_sample(&mut self) {
        self.leaves_no_sample = true;
    }

    /// The upstream that was meant for it let it not pass.
    pub(crate) fn turn_away(&mut self) {
        self.turned_away = true;
    }

    /// Whether it is at another upstream, if at any, because that which was meant for it let it not pass.
    pub(crate) fn was_turned_away(&self) -> bool {
        self.turned_away
    }

    /// It has this pass, if one is needed, and no endpoint yet.
    pub(crate) fn begin(&mut self, pass: Option<GroupPass>) {
        self.pass = pass;
    }

    /// It goes to its first endpoint.
    pub(crate) fn enter(&mut self, attempt: Attempt, place: Option<UpstreamPlace>) {
        self.place = place;
        self.move_to(attempt);
    }

    /// It goes to another endpoint, and no longer to the one before.
    pub(crate) fn move_to(&mut self, attempt: Attempt) {
        self.attempt = Some(self.admitted(attempt));
    }

    /// It goes to a second endpoint, too.
    pub(crate) fn hedge_at(&mut self, attempt: Attempt) {
        self.hedge = Some(Box::new(self.admitted(attempt)));
    }

    /// The second endpoint serves, and the first is let go.
    pub(crate) fn hedge_serves(&mut self) {
        self.attempt = self.hedge.take().map(|hedge| *hedge);
    }

    /// The second endpoint does not serve.
    pub(crate) fn hedge_failed(&mut self, fault: Option<RequestError>, now_us: u64) {
        let Some(mut hedge) = self.hedge.take() else { return };
        match fault {
            Some(error) => hedge.failed(error, now_us),
            None => hedge.excuse(),
        }
    }

    fn admitted(&self, mut attempt: Attempt) -> Attempt {
        if self.leaves_no_sample {
            attempt.leave_no_sample();
        }
        attempt
    }

    pub(crate) fn attempt(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut()
    }

    pub(crate) fn endpoint(&self) -> Option<&Rc<LocalEndpoint>> {
        self.attempt.as_ref().map(Attempt::endpoint)
    }

    /// A valid head came. Returns how long the endpoint took for it in µs, if it had the whole request before.
    pub(crate) fn answered(&mut self, status: StatusCode, now_us: u64) -> Option<u64> {
        self.tell_place(Ok(status));
        self.hedge = None;
        let took_us = self.attempt.as_mut().and_then(|attempt| attempt.answered(status, now_us));
        if let Some(mut pass) = self.pass.take() {
            pass.judge(Outcome::Answer(status.as_u16()), took_us);
        }
        took_us
    }

    /// It came to nothing, for which nobody is to blame.
    pub(crate) fn excuse(&mut self) {
        self.attempt.iter_mut().for_each(Attempt::excuse);
        self.pass = None;
    }

    /// There is no endpoint for it. That there was no room says nothing of the upstream.
    pub(crate) fn refused(&mut self, error: RequestError) {
        if let Some(mut pass) = self.pass.take()
            && error == RequestError::NoEndpoint
        {
            pass.judge(error.outcome(), None);
        }
    }

    /// There is nothing more to be done here, because of this error if there was one.
    pub(crate) fn end(&mut self, error: Option<RequestError>) {
        if let Some(error) = error {
            self.tell_place(Err(error));
            let took_us = self.attempt.as_ref().and_then(|attempt| attempt.took_us(moment::now_us()));
            if let Some(pass) = self.pass.as_mut().filter(|_| error.blame() == Blame::Upstream) {
                pass.judge(error.outcome(), took_us);
            }
        }
        // In this order: who is called when the upstream has room should find the endpoint's place free.
        (self.attempt, self.hedge) = (None, None);
        (self.place, self.pass) = (None, None);
    }

    fn tell_place(&self, answer: Result<StatusCode, RequestError>) {
        if let Some(place) = self.place.as_ref().filter(|_| !self.leaves_no_sample) {
            place.ended(answer);
        }
    }
}
