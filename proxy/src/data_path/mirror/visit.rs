//! One copy at one endpoint: where it goes, what comes back, and what that says of the endpoint.
//!
//! The answer is read no further than it takes to use its connection again.

use std::rc::Rc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use routing_rules::release::Bucket;
use routing_rules::request::RequestView;
use routing_rules::rules::Timeouts;
use tokio::time::{Instant, timeout_at};

use super::RequestCopy;
use crate::connect::Ends;
use crate::data_path::error::RequestError;
use crate::data_path::headers::{self, Seen};
use crate::data_path::request::Outgoing;
use crate::data_path::response;
use crate::data_path::upstream::{self, Admission, Attempt, GroupPass, Lease, LocalEndpoint, NotOpened, Stay};
use crate::moment;
use crate::snapshot::Mirrored;
use crate::worker::Worker;

/// A copy's stay at its upstream.
pub(super) struct Visit {
    endpoint: Rc<LocalEndpoint>,
    stay: Stay,
    /// Whose request was copied.
    client: Rc<Ends>,
}

/// The head of an answer has been looked at; here is the rest.
pub(super) struct Answer {
    body: Incoming,
    lease: Lease,
    /// Whether the connection may serve another request behind the body.
    keep: bool,
}

impl Visit {
    /// `None` if no endpoint takes it. Fallbacks are not followed: what stands in for the upstream may be the very one that
    /// has the request already.
    pub(super) fn choose(copy: &RequestCopy) -> Option<Self> {
        let (worker, now_us) = (&copy.worker, moment::now_us());
        let snapshot = worker.snapshot();
        let id = snapshot.table.upstream_id(copy.upstream.as_str())?;
        let upstream = worker.upstreams.get(id, snapshot.upstream(id)?, || worker.draw());
        upstream.shared().has_news();
        let mut stay = Stay::default();
        if !copy.samples {
            stay.leave_no_sample();
        }
        stay.begin(
            GroupPass::take(&upstream, Bucket::from_hash(worker.draw()).line(), copy.head.method().is_idempotent())
                .ok()?,
        );
        let fields = copy.head.headers();
        let client = headers::client_address(fields, copy.client.client(), |address| snapshot.trusts(address));
        let view = RequestView::new(copy.head.method(), "", copy.head.uri().path(), fields, client);
        let wants = upstream.wants(&view, worker.unix_secs());
        let (choice, place) = match upstream.admit(wants, now_us, || worker.draw()) {
            Ok(Admission::Admitted(choice, place)) => (choice, place),
            // A copy is not worth waiting for.
            Ok(Admission::Waits(_)) => return None,
            Err(error) => {
                stay.refused(error);
                return None;
            }
        };
        let mut attempt = Attempt::new(upstream, choice);
        attempt.start_clock(now_us);
        let endpoint = Rc::clone(attempt.endpoint());
        stay.enter(attempt, place);
        Some(Self { endpoint, stay, client: Rc::clone(&copy.client) })
    }

    /// Sends, and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        worker: &Rc<Worker>,
        request: Outgoing,
        timeouts: &Timeouts,
    ) -> Result<Answer, RequestError> {
        let endpoint = &self.endpoint;
        let client = || Rc::clone(&self.client);
        let kept = endpoint.pool.take(endpoint, client, worker.clock.now_ms());
        let mut lease = match kept {
            Some(lease) => lease,
            None => upstream::open(endpoint, worker, client, timeouts.connect).await.map_err(not_sent)?,
        };
        match lease.send(request).await {
            Ok(response) => self.look(response, lease),
            Err(refused) => {
                // As with a request that is sent again.
                if refused.again.as_ref().is_some_and(|(_, failed)| failed.is_excused()) {
                    self.stay.excuse();
                }
                Err(refused.error.unwrap_or(RequestError::BadResponse))
            }
        }
    }

    fn look(&mut self, response: Response<Incoming>, lease: Lease) -> Result<Answer, RequestError> {
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(RequestError::BadResponse);
        }
        let seen = Seen::of(&head.headers);
        let keep = response::check_framing(&mut head, seen)?;
        self.stay.answered(head.status, moment::now_us());
        Ok(Answer { body, lease, keep })
    }

    /// Reads the rest of the answer, so that the connection can be used again. If that takes too much, the connection ends,
    /// for which the endpoint is not to blame.
    pub(super) async fn read(&mut self, worker: &Worker, answer: Answer, deadline: Instant) -> Mirrored {
        let Answer { body, lease, keep } = answer;
        match timeout_at(deadline, drop_body(body)).await {
            Ok(Ok(Ending::Whole)) => lease.keep(keep, worker.clock.now_ms()),
            Ok(Err(_)) => return self.fail(RequestError::ResponseCut),
            _ => {}
        }
        Mirrored::Answered
    }

    pub(super) fn fail(&mut self, error: RequestError) -> Mirrored {
        if let Some(attempt) = self.stay.attempt() {
            attempt.failed(error, moment::now_us());
        }
        self.stay.end(Some(error));
        match error {
            RequestError::ConnectTimeout | RequestError::ResponseTimeout => Mirrored::TimedOut,
            _ => Mirrored::Failed,
        }
    }
}

/// Why a copy has no connection. What a client's request would make room for, it does without.
fn not_sent(not_opened: NotOpened) -> RequestError {
    match not_opened {
        NotOpened::Endpoint(error) | NotOpened::Told(error) => error,
        NotOpened::NoPort | NotOpened::NoRoom | NotOpened::Full => RequestError::Unavailable,
        NotOpened::Closed => RequestError::TlsUnusable,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    TooLarge,
}

async fn drop_body(mut body: Incoming) -> Result<Ending, hyper::Error> {
    let mut bytes = 0;
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
        if bytes > MAX_ANSWER {
            return Ok(Ending::TooLarge);
        }
    }
    Ok(Ending::Whole)
}

/// Bytes of an answer that are read for the sake of its connection; a new one costs about as much.
const MAX_ANSWER: usize = 1 << 20;
