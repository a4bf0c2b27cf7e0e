//! The request body on its way to the endpoint: bounded, counted, and without trailers nobody asked for.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use routing_rules::rules::Route;

use super::Exchange;
use crate::data_path::error::RequestError;

/// A request body. Dropping it before its end leaves the client's connection unusable for another request.
pub(crate) struct RequestBody {
    /// Boxed because most requests have none, and they are moved a lot.
    stream: Option<Box<Stream>>,
}

struct Stream {
    incoming: Incoming,
    exchange: Rc<Exchange>,
    limit: u64,
    trailers: Box<[HeaderName]>,
    /// Frames read before the endpoint was asked.
    ahead: VecDeque<Frame<Bytes>>,
    ended: bool,
    expects_continue: bool,
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self { stream: None }
    }

    pub(crate) fn new(incoming: Incoming, exchange: &Rc<Exchange>, route: &Route) -> Self {
        Self::limited(incoming, exchange, route.body_limit(), route.trailers().into())
    }

    /// A body that no endpoint gets. If it is here already, the connection can go on behind it.
    pub(crate) fn unwanted(incoming: Incoming, exchange: &Rc<Exchange>) -> Self {
        Self::limited(incoming, exchange, u64::MAX, Box::default())
    }

    fn limited(incoming: Incoming, exchange: &Rc<Exchange>, limit: u64, trailers: Box<[HeaderName]>) -> Self {
        if incoming.is_end_stream() {
            exchange.head_is_all();
            return Self::empty();
        }
        Self {
            stream: Some(Box::new(Stream {
                incoming,
                exchange: Rc::clone(exchange),
                limit,
                trailers,
                ahead: VecDeque::new(),
                ended: false,
                expects_continue: exchange.expects_continue(),
            })),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_none()
    }

    /// Reads what has arrived already, before an endpoint is bothered: a small body whose framing is broken, or
    /// that is too large, is then refused without any endpoint having seen it. Does not wait for more, because a
    /// client may wait for the endpoint's answer before it goes on.
    pub(crate) async fn look_ahead(&mut self) -> Result<(), RequestError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
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

impl Stream {
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
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.exchange.waits_for_client();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                self.exchange.leave_body_unread();
                Poll::Ready(Some(Err(self.exchange.request_failed(&error))))
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.accept(frame))),
        }
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, RequestError> {
        match frame.into_data() {
            Ok(data) => {
                let total = self.exchange.request_bytes_came(data.len());
                if total > self.limit {
                    self.ended = true;
                    self.exchange.leave_body_unread();
                    return Err(self.exchange.body_too_large());
                }
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Ok(Frame::data(data))
            }
            Err(frame) => {
                self.end();
                let trailers = frame.into_trailers().unwrap_or_default();
                Ok(Frame::trailers(allowed(&trailers, &self.trailers)))
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.exchange.body_complete();
    }
}

/// The trailer fields that may pass (RFC 9110 §6.5.1).
pub(crate) fn allowed(trailers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in names {
        for value in trailers.get_all(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if let Some(frame) = stream.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        stream.poll_next(cx).map(|next| next.map(|result| result.map_err(RequestBodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.ended && stream.ahead.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stream {
            None => SizeHint::with_exact(0),
            // The framing follows the client's: its Content-Length or chunked, which the head still says.
            Some(_) => SizeHint::default(),
        }
    }
}

/// Tells hyper to give up the connection; the reason is kept in the [`Exchange`].
#[derive(Debug, thiserror::Error)]
#[error("request body: {}", .0.token())]
pub(crate) struct RequestBodyError(RequestError);

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream
            && !stream.ended
        {
            stream.exchange.leave_body_unread();
        }
    }
}

/// How much of a body is read before an endpoint is asked, in bytes.
const LOOK_AHEAD: usize = 16 << 10;

/// And in how many pieces: each costs much more than a byte.
const LOOK_AHEAD_FRAMES: usize = 64;
