//! From the endpoint's response head to the client: checks, hop-by-hop fields, filters, the body's relay.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use routing_rules::rules::{Filter, HeaderEdit};

use super::decide::Decision;
use super::edge::Compressed;
use super::error::{Blame, RequestError};
use super::grpc;
use super::headers::{self, Seen};
use super::read_budget::Share;
use super::request::{Exchange, Life, trailer_names};
use super::trailers::Trailers;
use super::upstream::Lease;

/// Largest response head of an endpoint in bytes; larger ones are a bad response.
pub(crate) const MAX_HEAD: usize = 32 << 10;

/// How much of a response one stream of HTTP/2 is given at once, in bytes: a frame's worth. A client that takes less within
/// the time of a stall has stalled, because hyper does not tell of parts of a piece.
const STREAM_PIECE: usize = 16 << 10;

/// A response body on its way to the client.
pub(crate) struct ResponseBody {
    source: Source,
    life: Option<Life>,
}

enum Source {
    Text(Option<Bytes>),
    Endpoint(Box<Relay>),
}

struct Relay {
    incoming: Incoming,
    /// Data that came and is not yet given on. With HTTP/2 each stream gets a piece at a time, because what it is given
    /// waits in memory until its client gives leave to send it.
    rest: Bytes,
    /// Until its end is read.
    _share: Share,
    piece: usize,
    exchange: Rc<Exchange>,
    trailers: Trailers,
    /// The connection the body comes from.
    lease: Option<Lease>,
    /// Whether other requests share it.
    is_shared: bool,
    /// Whether it may serve another request once both bodies are at their end.
    keep: bool,
    /// In flight until the body ends.
    decision: Option<Box<Decision>>,
    /// Who compresses it, if it is compressed here.
    compressed: Option<Box<Compressed>>,
}

/// Why a relay stopped; hyper then cuts the connection, so that no client takes a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("response body: {}", .0.token())]
pub(crate) struct ResponseBodyError(RequestError);

/// Gives a response that Serin made the duty to end the request.
pub(crate) fn attach(mut response: Response<ResponseBody>, life: Life) -> Response<ResponseBody> {
    life.exchange().answers(response.status());
    if let Some(visit) = life.exchange().visit() {
        visit.rewrite_answer(life.exchange().error(), life.exchange().request_id(), response.headers_mut());
    }
    if life.exchange().speaks_http2() {
        // The stream ends with its answer, and the connection says in frames of its own that it will.
        response.headers_mut().remove(header::CONNECTION);
        if life.exchange().is_head()
            && let Some(length) = response.body_mut().withhold()
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        headers::detach_values(response.headers_mut());
    } else if !life.exchange().is_request_complete() || life.exchange().is_draining() {
        // What is still coming of the body will not be read, so no request can follow it; nor after a drain began.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().life.get_or_insert(life);
    response
}

/// Turns an error into an answer, a counter and a log line.
pub(crate) fn refuse(error: RequestError, life: Life) -> Response<ResponseBody> {
    life.exchange().fail(error);
    let request_id = life.exchange().request_id();
    let response = match life.exchange().is_call() {
        true => grpc::refusal(error, &request_id),
        false => error.response(&request_id),
    };
    attach(response, life)
}

/// Prepares the endpoint's response for the client.
pub(crate) fn relay(
    life: Life,
    head: Response<Incoming>,
    lease: Lease,
    decision: Box<Decision>,
    asked_to_upgrade: bool,
) -> Result<Response<ResponseBody>, (RequestError, Life)> {
    let (mut parts, incoming) = head.into_parts();
    let seen = Seen::of(&parts.headers);
    let keep = match check_framing(&mut parts, seen) {
        Ok(keep) => keep,
        Err(error) => return Err((error, life)),
    };
    life.exchange().endpoint_began(&parts);
    let exchange = life.exchange();
    let secure = exchange.connection().is_secure();
    let session = |attempt: &mut _| decision.destination.session_cookie(attempt, exchange.worker(), secure);
    rewrite(&mut parts.headers, seen, &decision, exchange.with_attempt(session).flatten());
    // The version of this connection, whatever the endpoint's was (RFC 9110 §2.5).
    parts.version = Version::HTTP_11;
    // RFC 9110 §7.8 leaves open what follows an answer other than 101 to an upgrade; so nothing does.
    if asked_to_upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let mut relay = Box::new(Relay {
        incoming,
        rest: Bytes::new(),
        _share: exchange.worker().read_budget.join(),
        piece: if exchange.speaks_http2() { STREAM_PIECE } else { usize::MAX },
        exchange: Rc::clone(exchange),
        trailers: trailers_of(exchange, &decision, &parts.headers),
        is_shared: lease.is_shared(),
        lease: Some(lease),
        keep,
        decision: Some(decision),
        compressed: None,
    });
    if let Some(visit) = exchange.visit() {
        let has_body = !relay.incoming.is_end_stream();
        relay.compressed = visit.compress(&mut parts, has_body, exchange.is_head(), exchange.worker());
        // So much is compressed at once, and others wait for it.
        relay.piece = if relay.compressed.is_some() { STREAM_PIECE } else { relay.piece };
    }
    if relay.incoming.is_end_stream() {
        relay.end();
    }
    let body = ResponseBody { source: Source::Endpoint(relay), life: None };
    Ok(attach(Response::from_parts(parts, body), life))
}

/// Which trailer fields may pass. Clients alone do not make a call of a request.
fn trailers_of(exchange: &Exchange, decision: &Decision, answer: &HeaderMap) -> Trailers {
    let names = decision.route().trailers().into();
    match exchange.is_call() && grpc::is_grpc(answer) {
        true => Trailers::OfCall(names),
        false => Trailers::Named(names),
    }
}

/// Refuses what must not be relayed and removes what is ambiguous (RFC 9112 §6.3). Returns whether the connection
/// may serve another request.
pub(crate) fn check_framing(parts: &mut http::response::Parts, seen: Seen) -> Result<bool, RequestError> {
    // RFC 9110 §15: statuses are 100 to 599. A 101 is handled elsewhere, and hyper skips all other interim responses.
    if parts.status.as_u16() > 599 {
        return Err(RequestError::BadResponse);
    }
    let chunked = seen.transfer_encoding;
    if chunked && !is_chunked_once(&parts.headers) {
        return Err(RequestError::BadResponse);
    }
    if chunked && parts.version == Version::HTTP_10 {
        return Err(RequestError::BadResponse);
    }
    if chunked && seen.content_length {
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(false);
    }
    if seen.content_length {
        let length = one_length(&parts.headers).ok_or(RequestError::BadResponse)?;
        // RFC 9110 §8.6: no Content-Length with 204.
        if parts.status == StatusCode::NO_CONTENT {
            parts.headers.remove(header::CONTENT_LENGTH);
        } else if let Some(length) = length {
            parts.headers.insert(header::CONTENT_LENGTH, length);
        }
    }
    // After an HTTP/1.0 response hyper would go on in HTTP/1.0, which has neither Host nor chunked bodies.
    Ok(parts.version == Version::HTTP_11)
}

/// hyper looks at the last coding only.
fn is_chunked_once(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next().is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// `Some` if all fields say the same and it is a number; within, the value to put in the place of several.
fn one_length(headers: &HeaderMap) -> Option<Option<HeaderValue>> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    if first.is_empty() || !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut several = None;
    for other in lengths {
        if other != first {
            return None;
        }
        several = Some(first.clone());
    }
    Some(several)
}

fn rewrite(fields: &mut HeaderMap, seen: Seen, decision: &Decision, session: Option<HeaderValue>) {
    let announces_trailers = !decision.route().trailers().is_empty() && fields.contains_key(header::TRAILER);
    headers::clean_response(fields, seen);
    let route = decision.route();
    if announces_trailers {
        fields.insert(header::TRAILER, trailer_names(route));
    }
    if let Some(placed) = &decision.placed {
        if decision.exposes_group(placed) {
            fields.insert(headers::X_SERIN_GROUP, HeaderValue::from_static(placed.group.as_str()));
        }
        for cookie in &placed.cookies {
            fields.append(header::SET_COOKIE, cookie.clone());
        }
    }
    if let Some(session) = session {
        fields.append(header::SET_COOKIE, session);
    }
    for filter in route.filters() {
        if let Filter::ResponseHeader(edit) = filter {
            apply(edit, fields);
        }
    }
}

/// Carries out one edit.
pub(crate) fn apply(edit: &HeaderEdit, fields: &mut HeaderMap) {
    match edit {
        HeaderEdit::Set(name, value) => drop(fields.insert(name.clone(), value.clone())),
        HeaderEdit::Add(name, value) => drop(fields.append(name.clone(), value.clone())),
        HeaderEdit::Remove(name) => drop(fields.remove(name)),
    }
}

impl ResponseBody {
    /// A body that Serin made.
    pub(crate) fn text(text: Bytes) -> Self {
        Self { source: Source::Text(Some(text).filter(|text| !text.is_empty())), life: None }
    }

    /// Leaves out what a body that Serin made would say, as hyper does by itself with HTTP/1. Returns how long it was.
    fn withhold(&mut self) -> Option<usize> {
        match &mut self.source {
            Source::Text(text) => text.take().map(|text| text.len()),
            Source::Endpoint(_) => None,
        }
    }

    /// All of it was asked for. With HTTP/2 that is before the client gives leave to send it, so that the request is over when hyper
    /// lets go of the body.
    fn given(&mut self) {
        if !self.life.as_ref().is_some_and(|life| life.exchange().speaks_http2()) {
            self.completed();
        }
    }

    fn completed(&mut self) {
        if let Some(life) = &mut self.life {
            life.completed();
        }
        // Dropping it ends the request: now, and not when hyper lets go of the body.
        self.life = None;
    }
}

impl Relay {
    /// The body is at its end.
    fn end(&mut self) {
        // Whoever has said how a call went has said it by now.
        self.exchange.call_ended(None);
        if let Some(mut lease) = self.lease.take() {
            match self.exchange.is_request_complete() {
                true => lease.keep(self.keep, self.exchange.now_ms()),
                // The stream is there as long as somebody reads what came of it.
                false if self.is_shared => {
                    lease.stop_sending();
                    self.lease = Some(lease);
                }
                false => {}
            }
        }
        self.exchange.endpoint_done();
        self.decision = None;
    }

    /// The next frame for the client.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let Some(mut compressed) = self.compressed.take() else { return self.poll_endpoint(cx) };
        let next = compressed.poll(cx, self.piece, |cx| self.poll_endpoint(cx));
        if let Poll::Ready(next) = &next {
            self.exchange.response_moves();
            // The encoder's own error; what went wrong with the endpoint is known already.
            if let Some(Err(error)) = next {
                self.exchange.fail(*error);
            }
        }
        self.compressed = Some(compressed);
        next
    }

    /// The next frame of the endpoint.
    fn poll_endpoint(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        if let Some(error) = self.exchange.expired() {
            self.lease = None;
            // A limit on the whole may end while it is the client that does not read.
            if error.blame() == Blame::Upstream && self.exchange.is_waiting_for_endpoint() {
                self.exchange.endpoint_failed(RequestError::ResponseCut);
            }
            return Poll::Ready(Some(Err(error)));
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.exchange.keep_waker(cx.waker());
                self.exchange.waits_for_endpoint();
                Poll::Pending
            }
            // hyper also says so of a stream that its endpoint has reset without an error.
            Poll::Ready(None) if !self.is_shared || self.incoming.is_end_stream() => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(None | Some(Err(_))) => {
                self.lease = None;
                // A request body that broke ends the connection to the endpoint too, and that is the client's doing.
                if self.exchange.error().is_none() {
                    self.exchange.endpoint_failed(RequestError::ResponseCut);
                }
                Poll::Ready(Some(Err(self.exchange.fail(RequestError::ResponseCut))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = match frame.into_data() {
                    Ok(data) => {
                        self.exchange.response_bytes_came(data.len());
                        if self.incoming.is_end_stream() {
                            self.end();
                        }
                        self.rest = data;
                        self.next_piece()
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.exchange.call_ended(Some(&trailers));
                        self.end();
                        let trailers = self.trailers.passing(trailers);
                        if trailers.is_empty() {
                            return Poll::Ready(None);
                        }
                        Frame::trailers(trailers)
                    }
                };
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_given(&self) -> bool {
        let is_compressed = self.compressed.as_ref().is_none_or(|compressed| compressed.is_done());
        self.decision.is_none() && self.rest.is_empty() && is_compressed
    }

    fn next_piece(&mut self) -> Frame<Bytes> {
        self.exchange.response_moves();
        Frame::data(self.rest.split_to(self.piece.min(self.rest.len())))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match &mut self.source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Endpoint(relay) => relay.poll(cx),
        };
        if self.is_end_stream() || matches!(next, Poll::Ready(None)) {
            self.given();
        }
        next.map(|next| next.map(|result| result.map_err(ResponseBodyError)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            // The connection is kept or given up exactly when the end has been seen.
            Source::Endpoint(relay) => relay.is_given(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Endpoint(relay) if relay.compressed.is_some() => SizeHint::default(),
            Source::Endpoint(relay) => relay.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper never polls a body that is empty, or that must not be sent (HEAD): such a one is complete.
        let whole = matches!(self.source, Source::Text(_)) || self.is_end_stream();
        if whole {
            self.completed();
        }
    }
}
