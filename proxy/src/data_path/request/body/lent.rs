//! A body that somebody else sends, and that can be taken back from them: whole, as long as they have taken little of it, to
//! send it elsewhere; or at once, because nobody awaits its answer any more.
//!
//! Who sends hears of that when it asks for more. One that waits for leave to send what it has asks for nothing, and maybe
//! never again: it is ended.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::task::AbortHandle;

use super::{LOOK_AHEAD, LOOK_AHEAD_FRAMES, RequestBody, RequestBodyError, Source};
use crate::data_path::error::RequestError;

/// Our end of a body that somebody sends. With it the sending ends.
pub(crate) struct Loan(Rc<Lent>);

/// The sender's end.
pub(super) struct Lent(RefCell<State>);

struct State {
    /// `None` once it has been taken back.
    body: Option<RequestBody>,
    /// What was taken of it, as long as it may have to be sent again.
    taken: Option<Vec<Frame<Bytes>>>,
    /// Whoever waits for more.
    waker: Option<Waker>,
    /// Who is told of the first look at it.
    newest: Option<NewestLent>,
    /// The task that sends it, if there is one.
    sender: Option<AbortHandle>,
}

/// The body that was looked at for the first time. hyper does that once by itself, and what it spawns next, if the body is not
/// at its end by then, is the task that sends it.
#[derive(Clone, Default)]
pub(crate) struct NewestLent(Rc<RefCell<Option<Rc<Lent>>>>);

impl NewestLent {
    /// Tells a body whose first look was just now who sends it.
    pub(crate) fn is_sent_by(&self, task: &AbortHandle) {
        if let Some(lent) = self.0.take() {
            lent.0.borrow_mut().sender = Some(task.clone());
        }
    }
}

impl RequestBody {
    /// Gives a body to somebody to send. One that is empty need not come back.
    pub(crate) fn lend(self, newest: &NewestLent) -> (Self, Option<Loan>) {
        if self.is_empty() {
            return (self, None);
        }
        let newest = Some(newest.clone());
        let state = State { body: Some(self), taken: Some(Vec::new()), waker: None, newest, sender: None };
        let lent = Rc::new(Lent(RefCell::new(state)));
        (Self(Source::Lent(Rc::clone(&lent))), Some(Loan(lent)))
    }
}

impl Loan {
    /// There is an answer: it is not sent again.
    pub(crate) fn answered(&self) {
        self.0.0.borrow_mut().taken = None;
    }

    /// The body as it was, if what was taken of it is still known.
    pub(crate) fn take_back(self) -> Option<RequestBody> {
        let mut state = self.0.0.borrow_mut();
        let taken = state.taken.take()?;
        let mut body = state.body.take()?;
        match &mut body.0 {
            Source::Stream(stream) if stream.has_failed => None,
            Source::Stream(stream) => {
                taken.into_iter().rev().for_each(|frame| stream.ahead.push_front(frame));
                Some(body)
            }
            _ => taken.is_empty().then_some(body),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let (body, waker, sender) = {
            let mut state = self.0.0.borrow_mut();
            (state.body.take(), state.waker.take(), state.sender.take())
        };
        // The client is told meanwhile that it may stop.
        drop(body);
        match (waker, sender) {
            (Some(waker), _) => waker.wake(),
            // With the task's end of the stream, and that of whoever awaits the answer, the stream is reset.
            (None, Some(sender)) => sender.abort(),
            (None, None) => {}
        }
    }
}

impl Lent {
    pub(super) fn poll_frame(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut state = self.0.borrow_mut();
        if let Some(newest) = state.newest.take() {
            *newest.0.borrow_mut() = Some(Rc::clone(self));
        }
        let Some(body) = &mut state.body else {
            return Poll::Ready(Some(Err(RequestBodyError::new(RequestError::ClientGone))));
        };
        let next = Pin::new(body).poll_frame(cx);
        state.waker = next.is_pending().then(|| cx.waker().clone());
        if let Poll::Ready(Some(Ok(frame))) = &next {
            state.keep(frame);
        }
        next
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.0.borrow().body.as_ref().is_some_and(RequestBody::is_end_stream)
    }
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(taken) = &mut self.taken else { return };
        let length = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len);
        let bytes: usize = taken.iter().map(length).sum();
        if bytes + length(frame) > 2 * LOOK_AHEAD || taken.len() >= LOOK_AHEAD_FRAMES {
            self.taken = None;
            return;
        }
        taken.extend(match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Some(Frame::data(data.clone())),
            (None, trailers) => trailers.cloned().map(Frame::trailers),
        });
    }
}
