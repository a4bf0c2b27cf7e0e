//! One request at one endpoint, and what that says of the endpoint.
//!
//! It is in flight until dropped, so that no way out can forget it. The endpoint's clock starts when it could know the
//! whole request and stops with the head of its response, or with the end where the upstream is balanced by that.

use std::rc::Rc;

use http::StatusCode;
use routing_rules::balance::Counts;
use routing_rules::breaker::{Outcome, ProbeEnd};

use super::{Choice, LocalEndpoint, LocalUpstream};
use crate::data_path::error::{Blame, RequestError};
use crate::moment;
use crate::snapshot::Admitted;

/// A request assigned to an endpoint.
pub(crate) struct Attempt {
    upstream: Rc<LocalUpstream>,
    choice: Choice,
    clock: Clock,
    awaits_head: bool,
    /// Whether the time it takes says something of the endpoint.
    samples: bool,
    /// How long a head took that came before it was known how the request went.
    began_after_us: Option<Option<u64>>,
    /// What came of it has been counted.
    is_judged: bool,
}

#[derive(Clone, Copy)]
enum Clock {
    /// The endpoint does not have the whole request yet.
    Waiting,
    Running {
        since_us: u64,
    },
    /// What was to be learned has been.
    Stopped {
        took_us: Option<u64>,
    },
}

impl Attempt {
    /// A request for the endpoint that was chosen.
    pub(crate) fn new(upstream: Rc<LocalUpstream>, choice: Choice) -> Self {
        upstream.endpoint(choice.place).counters().picked();
        upstream.entered();
        Self {
            upstream,
            choice,
            clock: Clock::Waiting,
            awaits_head: true,
            samples: true,
            began_after_us: None,
            is_judged: false,
        }
    }

    /// It goes to the same endpoint once more, with what it holds there.
    pub(crate) fn again(&mut self) -> Self {
        let admitted =
            Admitted { is_probe: std::mem::take(&mut self.choice.admitted.is_probe), ..self.choice.admitted };
        let choice = Choice { place: self.choice.place, admitted, held: self.choice.held.take() };
        Self::new(Rc::clone(&self.upstream), choice)
    }

    /// How long, in milliseconds, its client may do nothing, if that is not as long as usual.
    pub(crate) fn patience_ms(&self) -> Option<u64> {
        self.upstream.patience_ms()
    }

    /// Where among the upstream's endpoints it is.
    pub(crate) fn place(&self) -> usize {
        self.choice.place
    }

    pub(crate) fn endpoint(&self) -> &Rc<LocalEndpoint> {
        self.upstream.endpoint(self.choice.place)
    }

    /// How long it takes says nothing of the endpoint.
    pub(crate) fn leave_no_sample(&mut self) {
        self.samples = false;
    }

    /// The endpoint can know the whole request.
    pub(crate) fn start_clock(&mut self, since_us: u64) {
        // A head that came before the request's end was not waited for.
        if self.samples && self.awaits_head && matches!(self.clock, Clock::Waiting) {
            self.clock = Clock::Running { since_us };
            self.endpoint().counters().learn(|counts| counts.start(since_us));
        }
    }

    /// A valid head came. Returns how long the endpoint took for it in µs, if it had the whole request before.
    pub(crate) fn answered(&mut self, status: StatusCode, now_us: u64) -> Option<u64> {
        self.settle_head();
        let took_us = self.began_after_us.unwrap_or_else(|| self.took_us(now_us));
        self.endpoint().counters().answered(status, took_us);
        let (failed, to_head) = (status.is_server_error(), self.upstream.shared().balancer.counts_to_head());
        let learn = |since_us: u64, counts: &mut Counts| match failed {
            true => counts.fail(since_us, now_us),
            false => counts.answer(since_us, now_us),
        };
        match self.began_after_us.flatten().filter(|_| to_head) {
            // As if it had taken that long until now.
            Some(took_us) => self.endpoint().counters().learn(|counts| {
                let since_us = now_us.saturating_sub(took_us);
                counts.start(since_us);
                learn(since_us, counts);
            }),
            None if failed || to_head => self.stop(now_us, learn),
            None => {}
        }
        self.judge(Outcome::Answer(status.as_u16()), took_us, now_us);
        took_us
    }

    /// A valid head came, of an answer that says with its end how the request went. Until then a probe has gone well: an answer
    /// may last for hours. Returns as [`Self::answered`] does.
    pub(crate) fn began(&mut self, now_us: u64) -> Option<u64> {
        self.settle_head();
        let took_us = self.took_us(now_us);
        self.began_after_us = Some(took_us);
        if self.upstream.shared().balancer.counts_to_head() {
            // Its time is known. What it counts for is not, and until then it is nobody's load.
            self.stop(now_us, |since_us, counts| counts.discard(since_us));
        }
        self.end_probe(ProbeEnd::Success);
        took_us
    }

    /// How long the endpoint has known the whole request, or had when it was over with it, in µs; nothing if it never did.
    pub(crate) fn took_us(&self, now_us: u64) -> Option<u64> {
        match self.clock {
            Clock::Running { since_us } => Some(now_us.saturating_sub(since_us)),
            Clock::Waiting => None,
            Clock::Stopped { took_us } => took_us,
        }
    }

    /// The endpoint gave no valid head, or broke its response off. What is not its doing says nothing of it.
    pub(crate) fn failed(&mut self, error: RequestError, now_us: u64) {
        if error.blame() != Blame::Upstream {
            return;
        }
        self.settle_head();
        if !std::mem::replace(&mut self.is_judged, true) {
            let took_us = self.took_us(now_us);
            self.endpoint().counters().failed();
            self.stop(now_us, |since_us, counts| counts.fail(since_us, now_us));
            self.judge(error.outcome(), took_us, now_us);
        }
    }

    /// It ended in a way that says nothing of the endpoint.
    pub(crate) fn excuse(&mut self) {
        self.is_judged = true;
        self.stop(moment::now_us(), |since_us, counts| counts.discard(since_us));
    }

    /// It is tried once more.
    pub(crate) fn count_retry(&mut self) {
        self.endpoint().counters().retried();
    }

    /// It is a second try of a request that is still at another endpoint.
    pub(crate) fn count_hedge(&mut self) {
        self.endpoint().counters().hedged();
    }

    fn judge(&mut self, outcome: Outcome, took_us: Option<u64>, now_us: u64) {
        self.upstream.judge(self.choice.place, self.choice.admitted, (outcome, took_us), now_us);
        self.end_probe(if outcome.is_failure() { ProbeEnd::Failure } else { ProbeEnd::Success });
    }

    fn end_probe(&mut self, end: ProbeEnd) {
        if std::mem::take(&mut self.choice.admitted.is_probe) {
            self.endpoint().shared().gate().end_probe(self.choice.admitted.epoch, end);
        }
    }

    fn settle_head(&mut self) {
        if std::mem::take(&mut self.awaits_head) {
            self.endpoint().counters().head_is_settled();
        }
    }

    fn stop(&mut self, now_us: u64, learn: impl FnOnce(u64, &mut Counts)) {
        let took_us = self.took_us(now_us);
        if let Clock::Running { since_us } = std::mem::replace(&mut self.clock, Clock::Stopped { took_us }) {
            self.endpoint().counters().learn(|counts| learn(since_us, counts));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let was_answered = !self.awaits_head;
        self.settle_head();
        self.end_probe(ProbeEnd::Abandoned);
        if matches!(self.clock, Clock::Running { .. }) {
            let now_us = moment::now_us();
            // Without a head it was the client who had enough.
            self.stop(now_us, |since_us, counts| match was_answered {
                true => counts.answer(since_us, now_us),
                false => counts.give_up(since_us, now_us),
            });
        }
        self.endpoint().counters().released();
        self.upstream.left();
    }
}
