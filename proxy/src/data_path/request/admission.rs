//! Whether a request may go on, and when, as far as filters and limits have a say in it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Response, StatusCode};
use routing_rules::request::RequestView;
use routing_rules::table::RouteMatch;

use super::{Exchange, Head, target};
use crate::data_path::decide::Destination;
use crate::data_path::edge::{self, Obstacle, Question, Verification, Visit};
use crate::data_path::error::RequestError;
use crate::data_path::headers;
use crate::data_path::response::ResponseBody;
use crate::snapshot::{RouteRefusal, Snapshot, has_limits};

/// How a request is received by its route.
pub(super) enum Entry {
    /// It may go on.
    Open,
    /// A filter answers.
    Answer(Response<ResponseBody>),
    /// That is still to be found out.
    Check(Box<Checks>),
}

/// What it takes to know whether a request may go on, and is waited for.
pub(super) struct Checks {
    verification: Option<Verification>,
    question: Option<Question>,
}

/// Asks the filters of the route's edge and its limits: who guesses passwords is limited, too, and the service is not asked for more
/// than the route takes.
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
    let verification = visit.map(ask).transpose()?.flatten();
    let question = route.forward_auth().map(|auth| {
        let fields = fields_for_service(exchange, request, head, trusted);
        Question::new(auth, snapshot, request, head, fields, route.timeouts().connect)
    });
    let checks = Checks { verification, question: question.transpose()? };
    Ok(match checks {
        Checks { verification: None, question: None } => Entry::Open,
        checks => {
            exchange.set_limits(route.timeouts());
            Entry::Check(Box::new(checks))
        }
    })
}

/// What is known of the request, as its endpoint would get it.
fn fields_for_service(exchange: &Exchange, request: &RequestView<'_>, head: &Head<'_>, trusted: bool) -> HeaderMap {
    let mut fields = request.headers.clone();
    target::name_host(&mut fields, head.host_value(), exchange.connection());
    headers::clean_request(&mut fields, head.seen, trusted);
    exchange.connection().forwarding.add_to(&mut fields, trusted);
    fields.insert(headers::X_REQUEST_ID, exchange.request_id());
    fields
}

/// Finds out whether a request may go on: by its password, then by the service of its route. Returns what the client gets if it
/// may not.
///
/// # Errors
/// The password is wrong, or nobody can say; or a time limit ends.
pub(super) async fn check(
    exchange: &Rc<Exchange>,
    checks: Checks,
    fields: &mut HeaderMap,
) -> Result<Option<Response<ResponseBody>>, RequestError> {
    let Some(visit) = exchange.visit() else { return Ok(None) };
    if let Some(verification) = checks.verification {
        exchange.waits_at_edge(RequestError::PasswordsBusy);
        exchange.unless_expired(pin!(visit.verify(verification))).await.flatten()?;
    }
    let Some(question) = checks.question else { return Ok(None) };
    exchange.waits_at_edge(RequestError::AuthUnavailable);
    let denied = visit.ask(question, exchange).await?;
    // Before anything is decided: releases may ask for these fields, too.
    visit.replace_claims(fields);
    Ok(denied)
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
