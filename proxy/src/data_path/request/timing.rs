//! How far a request has come and whom it waits for, so that the sweep can tell which time limit is over.
//!
//! Times are those of the worker's clock in milliseconds; where 0 means never, the first millisecond counts as the second.

use std::cell::Cell;
use std::time::Duration;

use routing_rules::rules::Timeouts;

use crate::data_path::error::RequestError;

/// The clock of one request.
pub(super) struct Timing {
    started_ms: u64,
    /// It is a call to an endpoint that takes them: messages go both ways, and each of them is a sign of life.
    is_call: Cell<bool>,
    /// How long its client waits in all.
    deadline: Option<Duration>,
    limits: Cell<Timeouts>,
    /// When the request was complete; 0 until then.
    request_complete_ms: Cell<u64>,
    request_bytes: Cell<u64>,
    /// Since when the client's next body bytes are awaited; 0 if they are not.
    waits_for_client_ms: Cell<u64>,
    /// For how long they were awaited before.
    waited_for_client_ms: Cell<u64>,
    /// When a part of the body was last taken on, by us or the endpoint; the head counts as the first part.
    body_moved_ms: Cell<u64>,
    /// Until when it may wait for an endpoint; 0 if it does not.
    patient_until_ms: Cell<u64>,
    /// What it means if time ends while it waits at the edge of its route, where whoever is waited for has time limits of its own.
    waits_at_edge: Cell<Option<RequestError>>,
    answered: Cell<bool>,
    /// When the head or a part of the response was last given on to the client.
    response_moved_ms: Cell<u64>,
    /// Since when the endpoint's next body bytes are awaited; 0 if they are not.
    waits_for_endpoint_ms: Cell<u64>,
    /// The limits of requests and answers are not for it.
    is_tunnel: Cell<bool>,
}

impl Timing {
    pub(super) fn begin(now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            is_call: Cell::new(false),
            deadline: None,
            limits: Cell::new(Timeouts::default()),
            request_complete_ms: Cell::new(0),
            request_bytes: Cell::new(0),
            waits_for_client_ms: Cell::new(0),
            waited_for_client_ms: Cell::new(0),
            body_moved_ms: Cell::new(now_ms),
            patient_until_ms: Cell::new(0),
            waits_at_edge: Cell::new(None),
            answered: Cell::new(false),
            response_moved_ms: Cell::new(now_ms),
            waits_for_endpoint_ms: Cell::new(0),
            is_tunnel: Cell::new(false),
        }
    }

    /// Of a request whose client says how long it waits, or does not.
    pub(super) fn with_deadline(now_ms: u64, deadline: Option<Duration>) -> Self {
        // The clock may have been late when it began, and no client is to hear of its deadline before it is over.
        let deadline = deadline.map(|deadline| deadline.saturating_add(CLOCK_STEP));
        Self { deadline, ..Self::begin(now_ms) }
    }

    /// Messages go both ways.
    pub(super) fn becomes_call(&self) {
        self.is_call.set(true);
    }

    /// How long its client still waits, if it says so and a part of that is over.
    pub(super) fn deadline_left(&self, now_ms: u64) -> Option<Duration> {
        let gone = Duration::from_millis(now_ms.saturating_sub(self.started_ms));
        let deadline = self.deadline.filter(|_| gone > CLOCK_STEP)?;
        Some(deadline.saturating_sub(CLOCK_STEP).saturating_sub(gone))
    }

    pub(super) fn set_limits(&self, limits: &Timeouts) {
        self.limits.set(*limits);
    }

    pub(super) fn becomes_tunnel(&self) {
        self.is_tunnel.set(true);
    }

    pub(super) fn request_complete(&self, now_ms: u64) {
        self.request_complete_ms.set(now_ms.max(1));
    }

    pub(super) fn is_request_complete(&self) -> bool {
        self.request_complete_ms.get() > 0
    }

    pub(super) fn request_bytes(&self) -> u64 {
        self.request_bytes.get()
    }

    pub(super) fn request_bytes_came(&self, count: usize, now_ms: u64) {
        if let since @ 1.. = self.waits_for_client_ms.replace(0) {
            self.waited_for_client_ms.set(self.waited_for_client_ms.get() + now_ms.saturating_sub(since));
        }
        self.body_moved_ms.set(now_ms);
        self.request_bytes.set(self.request_bytes.get() + count as u64);
    }

    pub(super) fn waits_for_client(&self, now_ms: u64) {
        if self.waits_for_client_ms.get() == 0 {
            self.waits_for_client_ms.set(now_ms.max(1));
        }
    }

    pub(super) fn waits_for_room(&self, patience: Duration, now_ms: u64) {
        self.patient_until_ms.set(now_ms.max(1) + patience.as_millis() as u64);
    }

    pub(super) fn waits_at_edge(&self, in_vain: RequestError) {
        self.waits_at_edge.set(Some(in_vain));
    }

    /// It has waited for an endpoint, which has its whole time for the body and for the answer.
    pub(super) fn has_waited(&self, now_ms: u64) {
        self.patient_until_ms.set(0);
        self.waits_at_edge.set(None);
        self.body_moved_ms.set(now_ms);
        if self.is_request_complete() {
            self.request_complete(now_ms);
        }
    }

    pub(super) fn response_head_came(&self, now_ms: u64) {
        self.answered.set(true);
        self.response_moves(now_ms);
    }

    pub(super) fn response_moves(&self, now_ms: u64) {
        self.response_moved_ms.set(now_ms);
    }

    pub(super) fn response_bytes_came(&self) {
        self.waits_for_endpoint_ms.set(0);
    }

    pub(super) fn waits_for_endpoint(&self, now_ms: u64) {
        if self.waits_for_endpoint_ms.get() == 0 {
            self.waits_for_endpoint_ms.set(now_ms.max(1));
        }
    }

    pub(super) fn is_waiting_for_endpoint(&self) -> bool {
        self.waits_for_endpoint_ms.get() > 0
    }

    /// Whether nobody asks for more of the response: the client is still to take what it was given.
    pub(super) fn is_waiting_for_reader(&self) -> bool {
        self.answered.get() && !self.is_waiting_for_endpoint()
    }

    /// What the time limit that is over means, if one is.
    pub(super) fn late(&self, patience: Patience, now_ms: u64) -> Option<RequestError> {
        if self.is_tunnel.get() {
            return None;
        }
        let limits = self.limits.get();
        let over = |since_ms: u64, limit: Duration| now_ms.saturating_sub(since_ms) as u128 >= limit.as_millis();
        let answered = self.answered.get();
        if limits.total.is_some_and(|total| over(self.started_ms, total)) {
            return Some(self.out_of_time());
        }
        if self.deadline.is_some_and(|deadline| over(self.started_ms, deadline)) {
            return Some(self.out_of_patience(now_ms));
        }
        if self.waits_at_edge.get().is_some() {
            return None;
        }
        let unread_ms = now_ms.saturating_sub(self.response_moved_ms.get());
        if self.is_waiting_for_reader() && patience.to_read_ms.is_some_and(|most_ms| unread_ms >= most_ms) {
            return Some(RequestError::ClientTooSlow);
        }
        if let since @ 1.. = self.waits_for_client_ms.get() {
            let waited = self.waited_for_client_ms.get() + now_ms.saturating_sub(since);
            let too_slow = waited > SLOW_AFTER_MS && self.request_bytes.get() * 1_000 < waited * MIN_RATE;
            let to_send = patience.to_send_ms.map_or(MAX_CLIENT_IDLE, Duration::from_millis);
            let is_late = match self.is_call.get() {
                true => over(since.max(self.response_moved_ms.get()), limits.idle),
                false => over(since, limits.idle.min(to_send)) || too_slow,
            };
            if is_late {
                return Some(RequestError::ClientTooSlow);
            }
        }
        if let until @ 1.. = self.patient_until_ms.get() {
            return (now_ms >= until).then_some(RequestError::QueueTimeout);
        }
        let blocked = !answered && !self.is_request_complete() && self.waits_for_client_ms.get() == 0;
        if blocked && over(self.body_moved_ms.get(), limits.idle) {
            return Some(RequestError::ResponseTimeout);
        }
        let request_moved_ms = if self.is_call.get() { self.body_moved_ms.get() } else { 0 };
        if let since @ 1.. = self.waits_for_endpoint_ms.get()
            && over(since.max(request_moved_ms), limits.idle)
        {
            return Some(RequestError::ResponseCut);
        }
        match self.request_complete_ms.get() {
            complete @ 1.. if !answered && over(complete, limits.request) => Some(RequestError::ResponseTimeout),
            _ => None,
        }
    }
}

/// How long a client may do nothing while its request has a place at an endpoint, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With a response to read; nothing where its connection tells whether it reads.
    pub(super) to_read_ms: Option<u64>,
    /// With more of the body to send, if that is less than usual.
    pub(super) to_send_ms: Option<u64>,
}

impl Timing {
    /// What it means that the time for all is over, by whom it is waited for now: an endpoint is not to blame for a client that
    /// sends slowly, nor for the edge and the queue.
    fn out_of_time(&self) -> RequestError {
        if let Some(in_vain) = self.waits_at_edge.get() {
            return in_vain;
        }
        match () {
            () if self.answered.get() => RequestError::ResponseCut,
            () if self.waits_for_client_ms.get() > 0 => RequestError::ClientTooSlow,
            () if self.patient_until_ms.get() > 0 => RequestError::QueueTimeout,
            () => RequestError::ResponseTimeout,
        }
    }

    /// The client waits no longer. That is its own affair, unless an endpoint had the whole request for long and has not begun to
    /// answer: where all clients have deadlines, nothing else would tell of one that hangs.
    fn out_of_patience(&self, now_ms: u64) -> RequestError {
        match self.request_complete_ms.get() {
            since @ 1..
                if !self.answered.get() && self.patient_until_ms.get() == 0 && now_ms - since >= HANGS_AFTER_MS =>
            {
                RequestError::ResponseTimeout
            }
            _ => RequestError::DeadlineExceeded,
        }
    }
}

/// A client's body may pause this long at most, whatever the route allows an endpoint.
const MAX_CLIENT_IDLE: Duration = Duration::from_secs(30);

/// How long an endpoint may look at a whole request without any answer before a client's deadline is held against it, in
/// milliseconds.
const HANGS_AFTER_MS: u64 = 1_000;

/// How late the worker's clock may be.
const CLOCK_STEP: Duration = Duration::from_millis(50);

/// After this much waiting for a body, its mean rate counts, in milliseconds.
const SLOW_AFTER_MS: u64 = 10_000;

/// Bytes per second a body must reach on average over the time it was waited for.
const MIN_RATE: u64 = 240;

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Patience = Patience { to_read_ms: None, to_send_ms: None };

    #[test]
    fn whoever_does_nothing_has_as_long_as_there_is_patience() {
        let too_slow = Some(RequestError::ClientTooSlow);
        let pressed = Patience { to_read_ms: Some(1_000), to_send_ms: Some(1_000) };
        let sends = patient(None);
        sends.waits_for_client(1_000);
        assert_eq!((sends.late(USUAL, 9_000), sends.late(pressed, 1_900)), (None, None));
        assert_eq!((sends.late(USUAL, 31_000), sends.late(pressed, 2_000)), (too_slow, too_slow));
        let reads = patient(None);
        reads.response_head_came(1_000);
        assert_eq!((reads.late(USUAL, 99_000), reads.late(pressed, 1_900)), (None, None));
        assert_eq!(reads.late(pressed, 2_000), too_slow);
        reads.waits_for_endpoint(2_000);
        assert_eq!(reads.late(pressed, 9_000), None, "it is not the client who is slow");
    }

    /// Whoever waits for a password to be looked at does not wait for an endpoint, however short its patience with that is.
    #[test]
    fn no_endpoint_is_blamed_for_the_edge() {
        let timing = Timing::begin(0);
        let limits = Timeouts {
            idle: Duration::from_secs(1),
            request: Duration::from_secs(1),
            total: Some(Duration::from_secs(20)),
            ..Timeouts::default()
        };
        timing.set_limits(&limits);
        timing.waits_at_edge(RequestError::PasswordsBusy);
        assert_eq!(timing.late(USUAL, 19_000), None);
        assert_eq!(timing.late(USUAL, 20_000), Some(RequestError::PasswordsBusy));
        timing.has_waited(10_000);
        assert_eq!(timing.late(USUAL, 10_900), None, "the endpoint has its whole time");
        assert_eq!(timing.late(USUAL, 11_000), Some(RequestError::ResponseTimeout));
    }

    /// With 15 minutes for pauses.
    fn patient(deadline: Option<Duration>) -> Timing {
        let timing = Timing::with_deadline(0, deadline);
        timing.set_limits(&Timeouts { idle: Duration::from_secs(900), ..Timeouts::default() });
        timing
    }

    #[test]
    fn messages_of_a_call_may_pause_once_its_endpoint_is_known_to_take_calls() {
        let timing = patient(None);
        timing.waits_for_client(1);
        assert_eq!(
            (timing.late(USUAL, 20_000), timing.late(USUAL, 31_000)),
            (Some(RequestError::ClientTooSlow), Some(RequestError::ClientTooSlow))
        );
        timing.becomes_call();
        assert_eq!((timing.late(USUAL, 31_000), timing.late(USUAL, 899_000)), (None, None));
        assert_eq!(timing.late(USUAL, 901_000), Some(RequestError::ClientTooSlow));
    }

    #[test]
    fn a_deadline_blames_who_had_all_for_long_and_said_nothing() {
        let after = |complete_ms: Option<u64>, head_ms: Option<u64>| {
            let timing = patient(Some(Duration::from_secs(5)));
            complete_ms.into_iter().for_each(|at| timing.request_complete(at));
            head_ms.into_iter().for_each(|at| timing.response_head_came(at));
            timing.late(USUAL, 5_050)
        };
        assert_eq!(after(Some(4_050), None), Some(RequestError::ResponseTimeout));
        for (complete, head) in [(Some(4_051), None), (None, None), (Some(1), Some(2_000))] {
            assert_eq!(after(complete, head), Some(RequestError::DeadlineExceeded), "{complete:?} {head:?}");
        }
    }

    #[test]
    fn little_time_is_not_taken_from_a_deadline() {
        let timing = patient(Some(Duration::from_secs(5)));
        assert_eq!((timing.deadline_left(50), timing.deadline_left(1_000)), (None, Some(Duration::from_secs(4))));
        assert_eq!(timing.deadline_left(9_000), Some(Duration::ZERO));
        assert_eq!(patient(None).deadline_left(1_000), None);
    }
}
