//! Whether a request may go on, and when, as far as filters and limits have a say in it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use routing_rules::request::RequestView;
use routing_rules::table::RouteMatch;

use super::{Exchange, Head, target};
use crate::data_path::decide::Destination;
use crate::data_path::edge::{self, Obstacle, Verification, Visit};
use crate::data_path::error::RequestError;
use crate::data_path::response::ResponseBody;
use crate::snapshot::{RouteRefusal, Snapshot, has_limits};

/// How a request is received by its route.
pub(super) enum Entry {
    /// It may go on.
    Open,
    /// A filter answers.
    Answer(Response<ResponseBody>),
    /// Its password is to be looked at.
    Verify(Box<Verification>),
}

/// Asks the filters of the route's edge and its limits: who guesses passwords is limited, too.
pub(super) fn enter(
    exchange: &Exchange,
    snapshot: &Snapshot,
    found: &RouteMatch<'_>,
    request: &RequestView<'_>,
    head: &Head<'_>,
    trusted: bool,
) -> Result<Entry, RequestError> {
    let route = found.route().rules();
    // Where filters are, nobody is let in without them.
    let edge =
        route.edge().map(|_| snapshot.route_edges.get(found.id()).ok_or(RequestError::Unavailable)).transpose()?;
    let visit = edge.map(|edge| {
        let is_secure = edge::is_secure(request.headers, trusted, exchange.connection().is_secure());
        exchange.visits(Visit::begin(edge, request, is_secure))
    });
    if let Some(answer) = visit.as_ref().map_or(Ok(None), |visit| answer_of(visit, exchange, request, head))? {
        return Ok(Entry::Answer(answer));
    }
    head.admitted_by(route)?;
    of_route(exchange, snapshot, found, request)?;
    let ask = |visit: Rc<Visit>| visit.ask_password(&exchange.worker().passwords, request, exchange.started_us());
    let asked = visit.map(ask).transpose()?.flatten();
    if asked.is_some() {
        exchange.waits_at_edge(route.timeouts(), RequestError::PasswordsBusy);
    }
    Ok(asked.map_or(Entry::Open, |verification| Entry::Verify(Box::new(verification))))
}

/// What the filters answer by themselves, if anything.
fn answer_of(
    visit: &Visit,
    exchange: &Exchange,
    request: &RequestView<'_>,
    head: &Head<'_>,
) -> Result<Option<Response<ResponseBody>>, RequestError> {
    match visit.obstacle(request) {
        None => Ok(None),
        Some(Obstacle::Address) => Err(RequestError::AddressDenied),
        Some(Obstacle::Preflight(_)) => Ok(Some(target::without_content(StatusCode::NO_CONTENT))),
        Some(Obstacle::HttpsRedirect) if head.host.name().is_empty() => {
            Err(RequestError::Malformed("no Host to redirect to"))
        }
        Some(Obstacle::HttpsRedirect) => {
            let https = visit.edge().rules().https_redirect.as_ref();
            Ok(https.map(|https| {
                target::redirected(https.redirect(), head, false, exchange.connection().listener.bound.port())
            }))
        }
    }
}

/// Asks the limits of the route. Most have none, and cost a look at the route.
fn of_route(
    exchange: &Exchange,
    snapshot: &Snapshot,
    found: &RouteMatch<'_>,
    request: &RequestView<'_>,
) -> Result<(), RequestError> {
    if !has_limits(found.route().rules()) {
        return Ok(());
    }
    let Some(limits) = snapshot.route_limits.get(found.id()) else { return Ok(()) };
    let place = limits.admit(request, exchange.started_us()).map_err(|refusal| match refusal {
        RouteRefusal::TooOften(wait) => RequestError::RateLimited(wait.retry_after_s()),
        RouteRefusal::ClientFull => RequestError::ClientFull,
        RouteRefusal::Full => RequestError::RouteFull,
    })?;
    exchange.set_route_place(place);
    Ok(())
}

/// Waits until the upstream has room for the request.
///
/// # Errors
/// That takes longer than its patience, or another time limit ends.
pub(super) async fn of_upstream(
    exchange: &Exchange,
    destination: &mut Destination,
    patience: Duration,
) -> Result<(), RequestError> {
    exchange.waits_for_room(patience);
    let waited = exchange.unless_expired(pin!(destination.wait(exchange.worker()))).await;
    if matches!(waited, Err(RequestError::QueueTimeout)) {
        destination.count_timeout();
    }
    exchange.has_waited(waited??);
    Ok(())
}
