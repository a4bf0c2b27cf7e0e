//! The request body on its way to the endpoint: bounded, counted, and without trailers nobody asked for.

mod lent;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use routing_rules::rules::Route;

use super::Exchange;
use crate::data_path::error::RequestError;
use crate::data_path::mirror::Copying;
use crate::data_path::trailers::Trailers;

use lent::Lent;
pub(crate) use lent::{Loan, NewestLent};

/// A request on its way to an endpoint. Boxed: it goes through a handful of futures, each of which would have room for all of it,
/// and so large a future for every request is felt in the processor's caches.
pub(crate) type Outgoing = Box<Request<RequestBody>>;

/// A request body. Dropping it before its end leaves the client's connection unusable for another request.
pub(crate) struct RequestBody(Source);

/// Boxed because most requests have no body, and they are moved a lot.
enum Source {
    Nothing,
    Stream(Box<Stream>),
    Whole(Box<Whole>),
    /// Lent to whoever sends it.
    Lent(Rc<Lent>),
}

/// All that is left of a body that is here already.
struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

struct Stream {
    incoming: Incoming,
    exchange: Rc<Exchange>,
    limit: u64,
    trailers: Trailers,
    /// Frames read before the endpoint was asked.
    ahead: VecDeque<Frame<Bytes>>,
    /// The last piece of a body of HTTP/2 whose stream has not ended: with it the request would be whole, and more may come
    /// that makes it none (RFC 9113 §8.1.1).
    held: Option<Frame<Bytes>>,
    /// Trailers that came behind it.
    behind: Option<Frame<Bytes>>,
    ended: bool,
    /// It broke, or was too long.
    has_failed: bool,
    expects_continue: bool,
    copying: Option<Box<Copying>>,
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self(Source::Nothing)
    }

    /// A body that no client is still sending.
    pub(crate) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self(Source::Whole(Box::new(Whole { data, trailers })))
    }

    pub(crate) fn new(incoming: Incoming, exchange: &Rc<Exchange>, route: &Route) -> Self {
        Self::limited(incoming, exchange, route.body_limit(), Trailers::Named(route.trailers().into()))
    }

    /// A body that no endpoint gets. If it is here already, the connection can go on behind it.
    pub(crate) fn unwanted(incoming: Incoming, exchange: &Rc<Exchange>) -> Self {
        Self::limited(incoming, exchange, u64::MAX, Trailers::Named(Box::default()))
    }

    fn limited(incoming: Incoming, exchange: &Rc<Exchange>, limit: u64, trailers: Trailers) -> Self {
        if incoming.is_end_stream() {
            exchange.head_is_all();
            return Self::empty();
        }
        Self(Source::Stream(Box::new(Stream {
            incoming,
            exchange: Rc::clone(exchange),
            limit,
            trailers,
            ahead: VecDeque::new(),
            held: None,
            behind: None,
            ended: false,
            has_failed: false,
            expects_continue: exchange.expects_continue(),
            copying: None,
        })))
    }

    /// Copies the body: what was looked at ahead, and what comes from now on.
    pub(crate) fn copy_to(&mut self, copying: Copying) {
        if let Source::Stream(stream) = &mut self.0 {
            stream.copy_to(Box::new(copying));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.0, Source::Nothing)
    }

    /// Reads what has arrived already, before an endpoint is bothered: a small body whose framing is broken, or
    /// that is too large, is then refused without any endpoint having seen it. Does not wait for more, because a
    /// client may wait for the endpoint's answer before it goes on.
    pub(crate) async fn look_ahead(&mut self) -> Result<(), RequestError> {
        let Source::Stream(stream) = &mut self.0 else { return Ok(()) };
        if stream.expects_continue {
            return Ok(());
        }
        let mut bytes = 0;
        while bytes < LOOK_AHEAD && stream.ahead.len() < LOOK_AHEAD_FRAMES && !stream.ended {
            match stream.frame_if_there().await {
                Some(Ok(frame)) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    stream.ahead.push_back(frame);
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(())
    }
}

impl Whole {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::take(&mut self.data) {
            data if data.is_empty() => self.trailers.take().map(Frame::trailers),
            data => Some(Frame::data(data)),
        }
    }
}

impl Stream {
    fn copy_to(&mut self, copying: Box<Copying>) {
        self.copying = self.ahead.iter().try_fold(copying, |copying, frame| copying.with_frame(frame));
        if self.ended {
            self.send_copy();
        }
    }

    /// The next frame if the connection has read it or can read it without waiting. Reading is done by the
    /// connection's own task, which gets its turns while this one yields: one to read, one to pass it on.
    async fn frame_if_there(&mut self) -> Option<Result<Frame<Bytes>, RequestError>> {
        for _ in 0..2 {
            match poll_fn(|cx| Poll::Ready(self.poll_next(cx))).await {
                Poll::Ready(Some(result)) => return Some(result),
                Poll::Ready(None) => return None,
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
        None
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        if self.ended {
            return Poll::Ready(self.behind.take().map(Ok));
        }
        loop {
            return match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => {
                    self.exchange.waits_for_client();
                    Poll::Pending
                }
                Poll::Ready(None) => {
                    self.end();
                    Poll::Ready(self.held.take().map(Ok))
                }
                Poll::Ready(Some(Err(error))) => {
                    self.fails();
                    Poll::Ready(Some(Err(self.exchange.request_failed(&error))))
                }
                Poll::Ready(Some(Ok(frame))) => match self.accept(frame) {
                    Ok(frame) if !self.ended && self.incoming.size_hint().exact() == Some(0) => {
                        // More without anything in it may follow.
                        self.held.get_or_insert(frame);
                        continue;
                    }
                    Ok(last) if self.held.is_some() => {
                        self.behind = Some(last).filter(Frame::is_trailers);
                        Poll::Ready(self.held.take().map(Ok))
                    }
                    accepted => Poll::Ready(Some(accepted)),
                },
            };
        }
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, RequestError> {
        match frame.into_data() {
            Ok(data) => {
                let total = self.exchange.request_bytes_came(data.len());
                if total > self.limit {
                    self.fails();
                    return Err(self.exchange.body_too_large());
                }
                let frame = Frame::data(data);
                self.copy(&frame);
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Ok(frame)
            }
            Err(frame) => {
                let trailers = self.trailers.passing(frame.into_trailers().unwrap_or_default());
                // Who sends them would send a head without a field, which not everybody reads.
                let frame = match trailers.is_empty() {
                    true => Frame::data(Bytes::new()),
                    false => Frame::trailers(trailers),
                };
                self.copy(&frame);
                self.end();
                Ok(frame)
            }
        }
    }

    fn copy(&mut self, frame: &Frame<Bytes>) {
        self.copying = self.copying.take().and_then(|copying| copying.with_frame(frame));
    }

    fn fails(&mut self) {
        (self.ended, self.has_failed) = (true, true);
        self.exchange.leave_body_unread();
    }

    fn end(&mut self) {
        self.ended = true;
        self.exchange.body_complete();
        self.send_copy();
    }

    fn send_copy(&mut self) {
        if let Some(copying) = self.copying.take() {
            copying.send();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let stream = match &mut self.0 {
            Source::Nothing => return Poll::Ready(None),
            Source::Whole(whole) => return Poll::Ready(whole.next().map(Ok)),
            Source::Lent(lent) => return lent.poll_frame(cx),
            Source::Stream(stream) => stream,
        };
        if let Some(frame) = stream.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        stream.poll_next(cx).map(|next| next.map(|result| result.map_err(RequestBodyError::new)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Nothing => true,
            Source::Whole(whole) => whole.data.is_empty() && whole.trailers.is_none(),
            Source::Lent(lent) => lent.is_end_stream(),
            Source::Stream(stream) => stream.ended && stream.ahead.is_empty() && stream.behind.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Nothing => SizeHint::with_exact(0),
            // The framing follows the client's: its Content-Length or chunked, which the head still says.
            Source::Whole(_) | Source::Lent(_) | Source::Stream(_) => SizeHint::default(),
        }
    }
}

/// Tells hyper to give up the connection, or with HTTP/2 the stream; the reason is kept in the [`Exchange`].
#[derive(Debug, thiserror::Error)]
#[error("request body: {}", .error.token())]
pub(crate) struct RequestBodyError {
    error: RequestError,
    /// What the endpoint is told: nobody awaits its answer.
    #[source]
    told: h2::Error,
}

impl RequestBodyError {
    fn new(error: RequestError) -> Self {
        Self { error, told: h2::Reason::CANCEL.into() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.exchange.leave_body_unread();
        }
    }
}

/// How much of a body is read before an endpoint is asked, in bytes.
const LOOK_AHEAD: usize = 16 << 10;

/// And in how many pieces: each costs much more than a byte.
const LOOK_AHEAD_FRAMES: usize = 64;
