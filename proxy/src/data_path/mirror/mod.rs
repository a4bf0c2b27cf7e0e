//! Copies of requests for another upstream, whose answers nobody gets.
//!
//! A copy is sent once its request is whole, by a task of its own that begins behind what is there to do already: by then
//! the request itself is on its way, and nothing ever waits for the copy. It is not tried again. What it meets counts at
//! the endpoint it meets. It is decided by the rules in force when it is sent, and holds no snapshot.
//!
//! Invariants: what did not come whole, or still waits for its endpoint, is not sent; so many copies are under way in a
//! worker and no more; what became of each is counted once.

mod visit;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::Frame;
use routing_rules::release::Bucket;
use routing_rules::rules::{Mirror, Name, Timeouts};
use tokio::time::{Instant, timeout_at};

use super::decide::Decision;
use super::error::RequestError;
use super::headers;
use super::request::{Exchange, RequestBody, copy_of};
use crate::connect::Ends;
use crate::snapshot::{Mirrored, Traffic};
use crate::worker::Worker;

use visit::Visit;

/// Copies a request that has its endpoint and is about to be sent, if its route has a mirror and the draw is for it.
pub(crate) fn begin(decision: &Decision, exchange: &Exchange, request: &mut Request<RequestBody>) {
    if let Some(mirror) = decision.route().mirror()
        && is_wanted(mirror, decision, exchange.worker(), request.headers())
        && let Some(copy) = RequestCopy::begin(mirror, decision, exchange, request)
    {
        let body = request.body_mut();
        match body.is_empty() {
            true => copy.send(RequestBody::empty()),
            false => body.copy_to(Copying { copy, limit: mirror.max_body, data: Vec::new(), trailers: None }),
        }
    }
}

fn is_wanted(mirror: &Mirror, decision: &Decision, worker: &Worker, fields: &HeaderMap) -> bool {
    Bucket::from_hash(worker.draw()).line() < mirror.percent.basis_points()
        // A release, a split or a fallback may have sent it there; nobody wants it twice.
        && *decision.destination.upstream().shared().name() != mirror.upstream
        // What follows an upgrade is no request.
        && !fields.contains_key(header::UPGRADE)
}

/// A request to be sent once more, and its place among those under way. Says what became of it when it is dropped.
struct RequestCopy {
    worker: Rc<Worker>,
    traffic: Option<Arc<Traffic>>,
    /// Until it is sent, it has not come whole.
    outcome: Mirrored,
    upstream: Name,
    timeouts: Timeouts,
    /// Whether the time it takes says something of its endpoint.
    samples: bool,
    /// The connection that the request came on.
    client: Rc<Ends>,
    head: Request<()>,
}

/// A copy whose body is still coming.
pub(crate) struct Copying {
    copy: RequestCopy,
    limit: u64,
    /// The pieces themselves would keep the buffers they were read into, which may be much larger.
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl RequestCopy {
    /// `None` if the request is not to be copied, which is counted.
    fn begin(
        mirror: &Mirror,
        decision: &Decision,
        exchange: &Exchange,
        request: &Request<RequestBody>,
    ) -> Option<Self> {
        let worker = exchange.worker();
        let traffic = decision.snapshot.traffic.route(decision.route);
        let refusal = match worker.mirrors.get() {
            MAX_UNDER_WAY.. => Some(Mirrored::TooMany),
            _ => (announced_length(request.headers()) > mirror.max_body).then_some(Mirrored::TooLarge),
        };
        if let Some(refusal) = refusal {
            traffic.into_iter().for_each(|traffic| traffic.count_mirrored(worker.index, refusal));
            return None;
        }
        worker.mirrors.set(worker.mirrors.get() + 1);
        Some(Self {
            worker: Rc::clone(worker),
            traffic: traffic.cloned(),
            outcome: Mirrored::Incomplete,
            upstream: mirror.upstream.clone(),
            timeouts: *decision.route().timeouts(),
            samples: decision.route().samples(),
            client: Rc::clone(exchange.connection().ends()),
            head: copied(request),
        })
    }

    fn send(mut self, body: RequestBody) {
        tokio::task::spawn_local(async move {
            // Whoever has something to do already comes first, the request itself among them.
            tokio::task::yield_now().await;
            let outcome = self.run(body).await;
            self.became(outcome);
        });
    }

    fn became(&mut self, outcome: Mirrored) {
        self.outcome = outcome;
    }

    async fn run(&mut self, body: RequestBody) -> Mirrored {
        let Some(mut visit) = Visit::choose(self) else { return Mirrored::NoEndpoint };
        let request = Box::new(std::mem::take(&mut self.head).map(|()| body));
        let deadline = Instant::now() + self.timeouts.request;
        let answer = timeout_at(deadline, visit.ask(&self.worker, request, &self.timeouts)).await;
        match answer.unwrap_or(Err(RequestError::ResponseTimeout)) {
            Ok(answer) => visit.read(&self.worker, answer, deadline).await,
            Err(error) => visit.fail(error),
        }
    }
}

impl Drop for RequestCopy {
    fn drop(&mut self) {
        self.worker.mirrors.set(self.worker.mirrors.get() - 1);
        if let Some(traffic) = &self.traffic {
            traffic.count_mirrored(self.worker.index, self.outcome);
        }
    }
}

/// The head as it is sent, and a field that says what it is.
fn copied(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = copy_of(request);
    copy.headers_mut().insert(headers::X_SERIN_MIRROR, HeaderValue::from_static("true"));
    copy
}

/// What the head says of the body's length; 0 if it says nothing.
fn announced_length(fields: &HeaderMap) -> u64 {
    let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

impl Copying {
    /// A piece of the body came, or trailers that may pass. Returns the copy, unless the body is larger than it may be.
    pub(crate) fn with_frame(mut self: Box<Self>, frame: &Frame<Bytes>) -> Option<Box<Self>> {
        if let Some(data) = frame.data_ref() {
            if (self.data.len() + data.len()) as u64 > self.limit {
                self.copy.became(Mirrored::TooLarge);
                return None;
            }
            self.data.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone()).filter(|trailers| !trailers.is_empty());
        }
        Some(self)
    }

    /// The request is whole.
    pub(crate) fn send(self: Box<Self>) {
        let Self { copy, data, trailers, .. } = *self;
        copy.send(RequestBody::whole(Bytes::from(data), trailers));
    }
}

/// Copies under way in one worker: with bodies of 64 KiB they hold 16 MiB.
const MAX_UNDER_WAY: usize = 256;
