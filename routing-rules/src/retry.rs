//! Retries: whether a request may be tried again, and how many of all may be.
//!
//! [`Attempt::verdict`] is a total function of what is known about a failed try. It answers no wherever the endpoint might
//! have begun to act and a second try could act twice (RFC 9110 §9.2.2). [`Budget`] keeps retries from multiplying a
//! fault: it is kept by each worker for itself. Neither sends anything, and deadlines are the caller's business.

use std::fmt;

/// What failed, as far as a retry is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failed {
    /// No connection came to stand (name, TCP, TLS): nothing of the request was sent.
    Connect,
    /// A connection that had served before was closed or reset before any byte of a response: typically it was idle for
    /// longer than the endpoint allows, and the two messages crossed.
    ReusedConnectionClosed,
    /// Such a connection was closed before anything of the request was written to it.
    NotSent,
    /// The endpoint says that it has not looked at the request: REFUSED_STREAM, or a GOAWAY that names an earlier stream
    /// (RFC 9113 §8.7).
    NotProcessed,
    /// A connection that was new was closed or reset before any byte of a response.
    NewConnectionClosed,
    /// The response did not come in time.
    Timeout,
    /// What came was not a response.
    Malformed,
    /// A response, whatever its status.
    Answered,
}

impl Failed {
    /// Whether an endpoint had closed an idle connection, for which nobody is to blame.
    pub fn is_of_idle_connection(self) -> bool {
        matches!(self, Self::ReusedConnectionClosed | Self::NotSent)
    }

    /// Whether it says nothing of the endpoint, if the request goes elsewhere or comes again: an idle connection was closed, or the endpoint
    /// has not looked at the request.
    pub fn is_excused(self) -> bool {
        self.is_of_idle_connection() || self == Self::NotProcessed
    }
}

/// A try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// What failed.
    pub failed: Failed,
    /// The method may be repeated without effect (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The body can be sent from its first byte: there is none, nothing of it has been taken, or all of it is kept.
    pub replayable: bool,
    /// A byte of a response has been seen, interim ones included.
    pub response_seen: bool,
    /// Tries so far, this one included.
    pub tries: u32,
}

/// Whether to try again, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Yes, if the budget allows it.
    Retry(Reason),
    /// No.
    GiveUp(Obstacle),
}

/// Why a retry does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing was sent.
    NothingSent,
    /// A repetition has no effect of its own.
    Idempotent,
    /// The endpoint says that it did nothing.
    NotProcessed,
}

/// Why there is no retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The response had begun.
    ResponseSeen,
    /// Such a failure says that the endpoint may be at work, or has answered.
    NotThatFailure,
    /// The endpoint may have acted, and the method must not act twice.
    NotIdempotent,
    /// The beginning of the body is gone.
    BodyGone,
    /// It was the last try.
    NoTriesLeft,
    /// Too many of the last requests were retried. Said by [`Budget::withdraw`].
    NoBudget,
}

impl Attempt {
    /// Whether it may be tried again when `max_tries` are allowed in all.
    ///
    /// ```
    /// # use routing_rules::retry::{Attempt, Failed, Obstacle, Reason, Verdict};
    /// let attempt = Attempt { failed: Failed::Connect, idempotent: false, replayable: true, response_seen: false, tries: 1 };
    /// assert_eq!(attempt.verdict(2), Verdict::Retry(Reason::NothingSent));
    /// let attempt = Attempt { failed: Failed::ReusedConnectionClosed, ..attempt };
    /// assert_eq!(attempt.verdict(2), Verdict::GiveUp(Obstacle::NotIdempotent));
    /// ```
    pub fn verdict(&self, max_tries: u32) -> Verdict {
        let reason = match self.failed {
            _ if self.response_seen => return Verdict::GiveUp(Obstacle::ResponseSeen),
            Failed::Connect | Failed::NotSent => Reason::NothingSent,
            Failed::NotProcessed => Reason::NotProcessed,
            Failed::ReusedConnectionClosed if self.idempotent => Reason::Idempotent,
            Failed::ReusedConnectionClosed => return Verdict::GiveUp(Obstacle::NotIdempotent),
            Failed::NewConnectionClosed | Failed::Timeout | Failed::Malformed | Failed::Answered => {
                return Verdict::GiveUp(Obstacle::NotThatFailure);
            }
        };
        match (self.replayable, self.tries < max_tries) {
            (false, _) => Verdict::GiveUp(Obstacle::BodyGone),
            (true, false) => Verdict::GiveUp(Obstacle::NoTriesLeft),
            (true, true) => Verdict::Retry(reason),
        }
    }
}

/// How many requests of the last ten seconds may have been retried: a share of them, and a few in any case.
///
/// The few are a floor under the share and not an addition to it: little traffic may be retried, and much traffic never
/// exceeds the share. What was not used is forgotten after ten seconds, so an hour of peace does not pay for a storm, yet
/// all requests of one endpoint that went away with its connections may be tried again at once.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Hundredths of a percent.
    share: u16,
    /// Requests and retries of the second that is in the slot.
    slots: [(u64, u64); SLOTS],
    requests: u64,
    retries: u64,
    newest: u64,
}

impl Budget {
    /// From hundredths of a percent, at most 10,000.
    pub fn new(share: u16) -> Self {
        Self { share: share.min(10_000), slots: [(0, 0); SLOTS], requests: 0, retries: 0, newest: 0 }
    }

    /// A request has come (not a retry of one).
    pub fn request(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.requests += 1;
        self.slots[index(self.newest)].0 += 1;
    }

    /// Takes one retry out of the budget.
    ///
    /// # Errors
    /// There is none left.
    pub fn withdraw(&mut self, now_ms: u64) -> Result<(), Obstacle> {
        self.advance(now_ms);
        let shared = u128::from(self.requests) * u128::from(self.share) / 10_000;
        // A share of nothing is meant: no retries at all.
        let least = if self.share == 0 { 0 } else { LEAST };
        if u128::from(self.retries) >= shared.max(least) {
            return Err(Obstacle::NoBudget);
        }
        self.retries += 1;
        self.slots[index(self.newest)].1 += 1;
        Ok(())
    }

    fn advance(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        let gone = second.saturating_sub(self.newest).min(SLOTS as u64);
        self.newest = self.newest.max(second);
        for back in 0..gone {
            let (requests, retries) = std::mem::take(&mut self.slots[index(self.newest - back)]);
            self.requests -= requests;
            self.retries -= retries;
        }
    }
}

fn index(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

const SLOTS: usize = 10;
/// Retries in ten seconds that need no requests to pay for them.
const LEAST: u128 = 3;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingSent => "nothing of the request was sent",
            Self::Idempotent => "the connection was closed before a response, and the method may be repeated",
            Self::NotProcessed => "the endpoint has not looked at the request",
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResponseSeen => "the response had begun",
            Self::NotThatFailure => "the endpoint may be at work on the request",
            Self::NotIdempotent => "the method must not act twice",
            Self::BodyGone => "the beginning of the body is gone",
            Self::NoTriesLeft => "no tries are left",
            Self::NoBudget => "too many requests are being retried",
        })
    }
}
