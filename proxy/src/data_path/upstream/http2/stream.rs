//! One request on a connection of HTTP/2.

use std::error::Error;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use routing_rules::retry::Failed;

use super::connection::Connection;
use super::head::in_terms_of_http2;
use crate::data_path::request::{Loan, MAX_FIELDS, RequestBody, copy_of};
use crate::data_path::upstream::{LocalEndpoint, Refused};

/// A request's place on a connection. Dropped before its answer is at its end, the stream is reset.
pub(crate) struct Stream {
    connection: Rc<Connection>,
    endpoint: Rc<LocalEndpoint>,
    /// The body that is being sent, if there is one.
    loan: Option<Loan>,
}

impl Stream {
    pub(super) fn begin(connection: Rc<Connection>, endpoint: Rc<LocalEndpoint>) -> Self {
        connection.enter();
        Self { connection, endpoint, loan: None }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none. The request comes back if the endpoint did nothing with it, which it says itself (RFC 9113 §8.7), or
    /// got nothing of it.
    pub(in crate::data_path::upstream) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Refused> {
        let (mut head, body) = request.into_parts();
        let copy = copy_of(&head);
        if in_terms_of_http2(&mut head).is_err() {
            return Err(Refused::default());
        }
        let (body, loan) = body.lend();
        self.loan = loan;
        let mut sender = self.connection.sender.clone();
        let sent = sender.try_send_request(Request::from_parts(head, body)).await;
        let mut failed = match sent {
            Ok(response) if response.headers().len() <= MAX_FIELDS => {
                self.loan.iter().for_each(Loan::answered);
                return Ok(response);
            }
            Ok(_) => return Err(Refused::default()),
            Err(failed) => failed,
        };
        let was_leaving = failed.take_message().is_some();
        if !was_leaving && !is_unprocessed(failed.error()) {
            return Err(Refused::default());
        }
        // Without its beginning it cannot be sent again.
        let body = match self.loan.take() {
            Some(loan) => loan.take_back(),
            None => Some(RequestBody::empty()),
        };
        let again = body.map(|body| (copy.map(|()| body), Failed::NotProcessed));
        Err(Refused { again, was_leaving, is_of_the_client: false })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
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
