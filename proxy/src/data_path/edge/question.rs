//! The question whether a request may pass, and what the service of its route says.
//!
//! It is a request like others, of Serin's own: breaker, limits, queue and pools of the upstream hold for it, and what it meets
//! counts there. It has neither body nor effect, so that it may be asked again, within the upstream's budget. It is not
//! asked of two endpoints at once.
//!
//! Invariant: nobody is let in but by a whole answer of 2xx that came in time.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use routing_rules::release::Bucket;
use routing_rules::request::RequestView;
use routing_rules::retry::{self, Failed};
use routing_rules::rules::ForwardAuth;
use routing_rules::table::UpstreamId;
use tokio::time::{Instant, timeout_at};

use crate::data_path::decide::{Destination, Placement};
use crate::data_path::error::RequestError;
use crate::data_path::headers::{self, Seen};
use crate::data_path::request::{Exchange, Head, RequestBody};
use crate::data_path::response::{self, ResponseBody};
use crate::data_path::upstream::{self, Attempt, Lease, Stay, Unanswered};
use crate::moment;
use crate::snapshot::Snapshot;

/// What a service is to be asked.
pub(crate) struct Question {
    upstream: UpstreamId,
    head: Request<()>,
    client: IpAddr,
    connect: Duration,
}

/// What it says.
pub(super) enum Verdict {
    Pass(Granted),
    /// The client gets this instead of an endpoint's answer.
    Deny(Response<ResponseBody>),
}

/// What comes with a request that may pass.
#[derive(Default)]
pub(super) struct Granted {
    /// For the endpoint.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    /// `Set-Cookie` lines for the client.
    pub(super) cookies: Vec<HeaderValue>,
}

impl Question {
    /// The question about a request. `fields` are those that its endpoint would get.
    ///
    /// # Errors
    /// The path is not one that can be asked for.
    pub(crate) fn new(
        auth: &ForwardAuth,
        snapshot: &Snapshot,
        request: &RequestView<'_>,
        head: &Head<'_>,
        mut fields: HeaderMap,
        connect: Duration,
    ) -> Result<Self, RequestError> {
        let target = head.target();
        headers::keep(&mut fields, |name| auth.sees(name) || STANDARD.contains(name));
        fields.insert(X_FORWARDED_METHOD, HeaderValue::from_str(request.method.as_str()).map_err(unspeakable)?);
        fields.insert(X_FORWARDED_URI, HeaderValue::try_from(&target).map_err(unspeakable)?);
        let uri = match auth.path() {
            Some(path) => Uri::from(path.clone()),
            None => Uri::try_from(target).map_err(unspeakable)?,
        };
        let mut head = Request::new(());
        *head.uri_mut() = uri;
        *head.headers_mut() = fields;
        let upstream = snapshot.table.upstream_id(auth.upstream().as_str()).ok_or(RequestError::AuthUnavailable)?;
        Ok(Self { upstream, head, client: request.client, connect })
    }

    /// The fields that the service gets.
    pub(super) fn fields(&mut self) -> &mut HeaderMap {
        self.head.headers_mut()
    }

    /// Asks. An error is why there is no answer; what it says of the upstream has been counted there.
    pub(super) async fn ask(self, auth: &ForwardAuth, exchange: &Rc<Exchange>) -> Result<Verdict, RequestError> {
        let mut stay = Stay::default();
        let deadline = Instant::now() + auth.timeout();
        let asked = timeout_at(deadline, self.run(auth, exchange, &mut stay, deadline)).await;
        let verdict = asked.unwrap_or(Err(RequestError::ResponseTimeout));
        let error = verdict.as_ref().err().copied();
        if let (Some(error), Some(attempt)) = (error, stay.attempt()) {
            attempt.failed(error, moment::now_us());
        }
        stay.end(error);
        verdict
    }

    async fn run(
        self,
        auth: &ForwardAuth,
        exchange: &Rc<Exchange>,
        stay: &mut Stay,
        deadline: Instant,
    ) -> Result<Verdict, RequestError> {
        let mut destination = self.choose(exchange, stay)?;
        destination.upstream().count_request(exchange.now_ms());
        if let Some(patience) = destination.patience() {
            wait(exchange, &mut destination, stay, deadline.min(Instant::now() + patience)).await?;
        }
        let (mut request, mut tries) = (Box::new(self.head.map(|()| RequestBody::empty())), 1);
        loop {
            let endpoint = stay.endpoint().map(Rc::clone).ok_or(RequestError::NoEndpoint)?;
            stay.attempt().into_iter().for_each(|attempt| attempt.start_clock(moment::now_us()));
            match upstream::send(&endpoint, exchange, request, tries > 1, self.connect).await {
                Ok((answer, lease)) => return read(auth, exchange, stay, answer, lease).await,
                Err(Unanswered { error, again, is_told }) => {
                    if is_told && let Some(attempt) = stay.attempt() {
                        attempt.excuse();
                    }
                    let (unsent, failed) = again.ok_or(error)?;
                    turn(exchange, &mut destination, stay, (error, failed), tries).ok_or(error)?;
                    (request, tries) = (unsent, tries + 1);
                }
            }
        }
    }

    fn choose(&self, exchange: &Exchange, stay: &mut Stay) -> Result<Destination, RequestError> {
        let worker = exchange.worker();
        let (snapshot, _) = exchange.route().ok_or(RequestError::NoEndpoint)?;
        let line = Bucket::from_hash(worker.draw()).line();
        let placement = Placement { upstream: self.upstream, instead: None, line, release: None, others: Vec::new() };
        let fields = self.head.headers();
        let view = RequestView::new(&Method::GET, "", self.head.uri().path(), fields, self.client);
        Destination::choose(worker, &snapshot, &placement, &view, moment::now_us(), stay)
    }
}

/// Waits for a place at the upstream.
async fn wait(
    exchange: &Exchange,
    destination: &mut Destination,
    stay: &mut Stay,
    until: Instant,
) -> Result<(), RequestError> {
    let Ok(waited) = timeout_at(until, destination.wait(exchange.worker())).await else {
        destination.count_timeout();
        return Err(RequestError::QueueTimeout);
    };
    if let Some((attempt, place)) = waited? {
        stay.enter(attempt, Some(place));
    }
    Ok(())
}

/// Turns to another endpoint, or to the same again. `None` if it is not to be tried again.
fn turn(
    exchange: &Exchange,
    destination: &mut Destination,
    stay: &mut Stay,
    (error, failed): (RequestError, Failed),
    tries: u32,
) -> Option<()> {
    let attempt = stay.attempt()?;
    let tried = retry::Attempt { failed, idempotent: true, replayable: true, response_seen: false, tries };
    let another = destination.turn(attempt, &tried, false, exchange.worker(), exchange.now_ms())?;
    if failed == Failed::Connect {
        attempt.failed(error, moment::now_us());
    }
    stay.move_to(another);
    stay.attempt().map(Attempt::count_retry)
}

/// Reads what the service says, to its end.
async fn read(
    auth: &ForwardAuth,
    exchange: &Exchange,
    stay: &mut Stay,
    answer: Response<Incoming>,
    lease: Lease,
) -> Result<Verdict, RequestError> {
    let (mut head, body) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(RequestError::BadResponse);
    }
    let seen = Seen::of(&head.headers);
    let keep = response::check_framing(&mut head, seen)?;
    stay.answered(head.status, moment::now_us());
    let body = whole(body).await.map_err(|_| RequestError::ResponseCut)?;
    if body.is_some() {
        lease.keep(keep, exchange.now_ms());
    }
    Ok(match head.status.is_success() {
        true => Verdict::Pass(granted(auth, &head.headers)),
        false => Verdict::Deny(denied(head, seen, body)),
    })
}

/// The whole body; `None` if it is larger than it may be.
async fn whole(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.freeze()))
}

fn granted(auth: &ForwardAuth, said: &HeaderMap) -> Granted {
    let of =
        |name: &HeaderName| said.get_all(name).iter().map(|value| (name.clone(), value.clone())).collect::<Vec<_>>();
    Granted {
        fields: auth.response_headers().iter().flat_map(of).collect(),
        cookies: said.get_all(header::SET_COOKIE).iter().cloned().collect(),
    }
}

/// The service's answer as one of Serin's own.
fn denied(mut head: Parts, seen: Seen, body: Option<Bytes>) -> Response<ResponseBody> {
    headers::clean_response(&mut head.headers, seen);
    head.headers.remove(header::CONTENT_LENGTH);
    if body.is_none() {
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ETAG] {
            head.headers.remove(name);
        }
    }
    head.version = Version::HTTP_11;
    Response::from_parts(head, ResponseBody::text(body.unwrap_or_default()))
}

fn unspeakable<E>(_: E) -> RequestError {
    RequestError::Malformed("target is not a URI")
}

/// What the service is told of every request, besides what its rules name: that of Serin's own.
const STANDARD: [HeaderName; 6] = [
    header::HOST,
    headers::X_REQUEST_ID,
    headers::X_FORWARDED_FOR,
    headers::X_FORWARDED_PROTO,
    headers::X_FORWARDED_HOST,
    headers::X_FORWARDED_PORT,
];

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Largest body of an answer that a client gets, in bytes. It is held in memory.
const MAX_BODY: usize = 64 << 10;
