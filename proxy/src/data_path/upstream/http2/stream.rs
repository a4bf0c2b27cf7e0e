//! One request on a connection of HTTP/2.

use std::error::Error;
use std::io;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use routing_rules::retry::Failed;

use super::connection::Connection;
use super::head::in_terms_of_http2;
use crate::connect;
use crate::data_path::error::RequestError;
use crate::data_path::headers;
use crate::data_path::request::{Loan, MAX_FIELDS, Outgoing, RequestBody, copy_of};
use crate::data_path::upstream::{LocalEndpoint, Refused, is_repeatable};
use crate::moment;
use crate::snapshot::ConnectionEnd;

/// A request's place on a connection. Dropped before its answer is at its end, the stream is reset.
pub(crate) struct Stream {
    connection: Rc<Connection>,
    endpoint: Rc<LocalEndpoint>,
    /// The body that is being sent, if there is one.
    loan: Option<Loan>,
    /// While the head of its answer is awaited.
    sent: Option<Sent>,
    /// Both sides have said all.
    is_whole: bool,
}

/// When a request was sent.
struct Sent {
    at_us: u64,
    /// What had come over its connection by then, in bytes.
    received: u64,
}

impl Stream {
    pub(super) fn begin(connection: Rc<Connection>, endpoint: Rc<LocalEndpoint>) -> Self {
        connection.enter();
        Self { connection, endpoint, loan: None, sent: None, is_whole: false }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none. The request comes back if the endpoint did nothing with it, which it says itself (RFC 9113 §8.7), or
    /// got nothing of it; or if the connection was lost that had carried others, and it may be repeated.
    pub(in crate::data_path::upstream) async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, Refused> {
        let may_repeat = self.connection.has_answered.get() && is_repeatable(&request);
        let copy = copy_of(&request);
        let (mut head, body) = request.into_parts();
        if in_terms_of_http2(&mut head, connect::scheme(self.connection.is_secure)).is_err() {
            // Whatever a client sends was checked to be one: an operator has set it.
            return Err(Refused { error: Some(RequestError::Unavailable), ..Refused::default() });
        }
        let (body, loan) = body.lend(&self.connection.newest);
        self.loan = loan;
        self.sent = Some(Sent { at_us: moment::now_us(), received: self.connection.wire.received() });
        let mut sender = self.connection.sender.clone();
        let sent = sender.try_send_request(Request::from_parts(head, body)).await;
        self.sent = None;
        let mut failed = match sent {
            Ok(response) => {
                self.connection.has_answered.set(true);
                self.loan.iter().for_each(Loan::answered);
                let fields = response.headers();
                return match fields.len() <= MAX_FIELDS && fields.keys().all(headers::is_token) {
                    true => Ok(response),
                    false => Err(Refused::default()),
                };
            }
            Err(failed) => failed,
        };
        let was_leaving = failed.take_message().is_some();
        let is_lost = is_lost(failed.error());
        if was_leaving || is_lost {
            self.connection.retired.set(Some(ConnectionEnd::Endpoint));
        }
        let failed = match () {
            () if was_leaving || is_unprocessed(failed.error()) => Failed::NotProcessed,
            () if may_repeat && is_lost => Failed::ReusedConnectionClosed,
            () => return Err(Refused::default()),
        };
        // Without its beginning it cannot be sent again.
        let body = match self.loan.take() {
            Some(loan) => loan.take_back(),
            None => Some(RequestBody::empty()),
        };
        let again = body.map(|body| (Box::new(copy.map(|()| body)), failed));
        let was_unused = !self.connection.has_answered.get();
        Err(Refused { again, was_leaving, was_unused, error: None })
    }

    /// What is left of the request is not sent.
    pub(in crate::data_path::upstream) fn stop_sending(&mut self) {
        self.loan = None;
    }

    /// Request and answer are at their end.
    pub(in crate::data_path::upstream) fn is_whole(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_whole {
            self.connection.resets.set(self.connection.resets.get() + 1);
        }
        // Not a byte for anybody: maybe the other end is there no more, of which TCP would tell much later.
        let is_silent = |sent: &Sent| {
            let waited_us = moment::now_us().saturating_sub(sent.at_us);
            waited_us >= SILENT_US && self.connection.wire.received() == sent.received
        };
        if self.sent.as_ref().is_some_and(is_silent) {
            self.connection.retired.set(Some(ConnectionEnd::Broken));
        }
        self.connection.leave();
        self.endpoint.pool.streams.left();
    }
}

/// Whether the endpoint says that it has not looked at a request.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|error| {
        let refuses = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // h2 gives this error to the streams above the last one only.
        error.is_remote() && (refuses || error.is_go_away())
    })
}

/// Whether the connection broke, without a word.
fn is_lost(error: &hyper::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<io::Error>())
}

/// A connection over which nothing has come for so long while a request waited that is now given up gets no others.
const SILENT_US: u64 = 1_000_000;
