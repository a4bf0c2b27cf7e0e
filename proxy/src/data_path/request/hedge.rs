//! The same request at a second endpoint when the first takes long: whichever answers first serves, the other is let go.
//!
//! Only what may be repeated is hedged, and only within the budget of retries, so hedging cannot multiply the load of an
//! upstream that has become slow as a whole. Who was let go is known to have taken at least so long.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Exchange, Outgoing, RequestBody, copy_of};
use crate::data_path::decide::Destination;
use crate::data_path::upstream::{self, Lease, LocalEndpoint, Unanswered};
use crate::moment;

/// Sends a request; and once more, elsewhere, if no answer comes within `after`.
pub(super) async fn send(
    endpoint: &Rc<LocalEndpoint>,
    exchange: &Rc<Exchange>,
    destination: &mut Destination,
    request: Outgoing,
    after: Duration,
    connect: Duration,
) -> Result<(Response<Incoming>, Lease), Unanswered> {
    let copy = Box::new(copy_of(&request).map(|()| RequestBody::empty()));
    let mut first = pin!(upstream::send(endpoint, exchange, request, false, connect));
    if let Ok(answer) = timeout(after, first.as_mut()).await {
        return answer;
    }
    let Some(elsewhere) = begin(exchange, destination) else { return first.await };
    let mut second = pin!(upstream::send(&elsewhere, exchange, copy, false, connect));
    tokio::select! {
        answer = first.as_mut() => match answer {
            Ok(answer) => Ok(answer),
            Err(failed) => match second.await {
                Ok(answer) => {
                    exchange.hedge_serves(failed.fault());
                    Ok(answer)
                }
                Err(second) => {
                    exchange.hedge_failed(second.fault());
                    Err(failed)
                }
            },
        },
        answer = second.as_mut() => match answer {
            Ok(answer) => {
                exchange.hedge_serves(None);
                Ok(answer)
            }
            Err(failed) => {
                exchange.hedge_failed(failed.fault());
                first.await
            }
        },
    }
}

/// Another endpoint for the request, if there is one and the budget allows it.
fn begin(exchange: &Exchange, destination: &mut Destination) -> Option<Rc<LocalEndpoint>> {
    let another = |attempt: &mut _| destination.choose_another(attempt, exchange.worker(), moment::now_us());
    // Where there is no other endpoint, the budget is left to those that can use it.
    let hedge = exchange.with_attempt(another).flatten()?;
    if !destination.upstream().may_hedge(exchange.now_ms()) {
        return None;
    }
    destination.has_tried(&hedge);
    let endpoint = Rc::clone(hedge.endpoint());
    exchange.hedge_at(hedge);
    Some(endpoint)
}
