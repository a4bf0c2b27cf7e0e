//! The life of one request, top to bottom. Start reading here.
//!
//! [`serve`] checks the head, decides synchronously from one snapshot, rewrites the head, sends it to the endpoint
//! and hands the response to the client. Whatever happens, [`Life`] ends with one line in the log and the counters.

mod admission;
mod body;
mod comparing;
mod exchange;
mod head;
mod hedge;
mod target;
mod timing;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use routing_rules::request::RequestView;
use routing_rules::retry::{self, Failed};
use routing_rules::rules::{Filter, Protocol, Route, Target};

use super::challenge;
use super::decide::{self, Decision, Destination};
use super::edge;
use super::error::RequestError;
use super::headers::{self, Seen};
use super::http::{ConnectionState, http2};
use super::mirror;
use super::response::{self, ResponseBody};
use super::tls::Secured;
use super::tunnel::{self, Switching, Upgrade};
use super::upstream::{self, Lease, Unanswered};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

use admission::{Checks, Entry};
pub(crate) use body::{Loan, NewestLent, Outgoing, RequestBody};
pub(crate) use exchange::{Exchange, Life};
pub(crate) use head::{Head, MAX_FIELDS, MAX_HEAD, copy_of};
pub(crate) use target::location;
use target::{redirected, rewritten_uri};

/// A request being served: boxed, because hyper gives a connection's parts back only if its futures may move.
pub(crate) type Serving = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>>>>;

/// Serves one request. Never fails: what goes wrong becomes an answer.
///
/// All that needs no waiting is done before there is a future: what a future holds, every request under way holds.
pub(crate) fn serve(worker: &Rc<Worker>, connection: &Rc<ConnectionState>, request: Request<Incoming>) -> Serving {
    let life = Life::begin(worker, connection, &request);
    let (mut parts, body) = request.into_parts();
    let planned = http2::in_terms_of_http1(&mut parts, &body);
    let planned = planned.and_then(|()| plan(worker, connection, life.exchange(), &mut parts));
    carry_out(planned, life, parts, body)
}

/// Does what was planned.
fn carry_out(planned: Result<Plan, RequestError>, life: Life, parts: Parts, body: Incoming) -> Serving {
    match planned {
        Ok(Plan::Send { decision, upgrade }) => {
            let body = RequestBody::new(body, life.exchange(), decision.route());
            let mut request = Box::new(Request::from_parts(parts, body));
            // Who waits may be refused yet, and is copied when it goes on.
            if decision.destination.patience().is_none() {
                mirror::begin(&decision, life.exchange(), &mut request);
            }
            Box::pin(forward(life, decision, upgrade, request))
        }
        Ok(Plan::Check(checks)) => Box::pin(check(life, *checks, parts, body)),
        Ok(Plan::Answer(response)) => Box::pin(answer(life, Ok(response), body)),
        Err(error) => Box::pin(answer(life, Err(error), body)),
    }
}

/// Goes on with a request once it is known whether it may.
async fn check(
    life: Life,
    checks: Checks,
    mut parts: Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, Infallible> {
    let exchange = life.exchange();
    let checked = admission::check(exchange, checks, &mut parts.headers).await;
    exchange.is_let_in();
    let planned = match checked {
        Ok(None) => plan(exchange.worker(), exchange.connection(), exchange, &mut parts),
        Ok(Some(denied)) => Ok(Plan::Answer(denied)),
        Err(error) => Err(error),
    };
    carry_out(planned, life, parts, body).await
}

/// Answers without an endpoint, once it is known whether the connection can go on behind the body.
async fn answer(
    life: Life,
    answer: Result<Response<ResponseBody>, RequestError>,
    body: Incoming,
) -> Result<Response<ResponseBody>, Infallible> {
    RequestBody::unwanted(body, life.exchange()).look_ahead().await.ok();
    Ok(match answer {
        Ok(response) => response::attach(response, life),
        Err(error) => response::refuse(error, life),
    })
}

/// Sends the request to the endpoint that was decided on, and its answer to the client.
async fn forward(
    life: Life,
    mut decision: Box<Decision>,
    upgrade: Option<Upgrade>,
    mut request: Outgoing,
) -> Result<Response<ResponseBody>, Infallible> {
    if !request.body().is_empty()
        && let Err(error) = Box::pin(request.body_mut().look_ahead()).await
    {
        return Ok(response::refuse(error, life));
    }
    if let Some(patience) = decision.destination.patience() {
        let destination = &mut decision.destination;
        if let Err(error) = Box::pin(admission::of_upstream(life.exchange(), destination, patience)).await {
            return Ok(response::refuse(error, life));
        }
        mirror::begin(&decision, life.exchange(), &mut request);
    }
    let connect = decision.route().timeouts().connect;
    let mut fresh = false;
    let answer = loop {
        let Some(endpoint) = life.exchange().endpoint() else { break Err(RequestError::NoEndpoint) };
        // A second handshake would open a second session.
        let may_hedge = !fresh && upgrade.is_none() && upstream::is_repeatable(&request);
        let hedge = decision.route().hedge_after().filter(|_| may_hedge);
        let (exchange, destination) = (life.exchange(), &mut decision.destination);
        let sent = match hedge {
            Some(after) => Box::pin(hedge::send(&endpoint, exchange, destination, request, after, connect)).await,
            None => upstream::send(&endpoint, exchange, request, fresh, connect).await,
        };
        match sent {
            Ok(answer) => break Ok(answer),
            Err(Unanswered { error, again, is_told }) => {
                if is_told {
                    life.exchange().endpoint_excused();
                }
                match again.and_then(|again| retry(&life, &mut decision, error, again)) {
                    Some(unsent) => (request, fresh) = (unsent, true),
                    None => break Err(error),
                }
            }
        }
    };
    Ok(respond(life, decision, upgrade, answer))
}

/// Turns to another endpoint, or to the same again, with a request that may be sent again.
fn retry(
    life: &Life,
    decision: &mut Decision,
    error: RequestError,
    (request, failed): (Outgoing, Failed),
) -> Option<Outgoing> {
    let (exchange, destination) = (life.exchange(), &mut decision.destination);
    let tried = retry::Attempt {
        failed,
        idempotent: request.method().is_idempotent(),
        replayable: true,
        response_seen: false,
        tries: exchange.retries() + 1,
    };
    let (worker, is_late) = (exchange.worker(), exchange.expired().is_some());
    let turn = |attempt: &mut _| destination.turn(attempt, &tried, is_late, worker, exchange.now_ms());
    let another = exchange.with_attempt(turn).flatten()?;
    if failed == Failed::Connect {
        exchange.endpoint_failed(error);
    }
    exchange.retry_at(another);
    Some(request)
}

/// Turns what an endpoint answered, or did not, into the client's answer, and counts how it went there.
fn respond(
    life: Life,
    decision: Box<Decision>,
    upgrade: Option<Upgrade>,
    answer: Result<(Response<Incoming>, Lease), RequestError>,
) -> Response<ResponseBody> {
    let (head, lease) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            life.exchange().endpoint_failed(error);
            return response::refuse(error, life);
        }
    };
    life.exchange().response_head_came();
    let relayed = match head.status() {
        StatusCode::SWITCHING_PROTOCOLS => tunnel::switch(life, head, lease, decision, upgrade),
        status if upgrade.as_ref().is_some_and(|upgrade| upgrade.misleads(status)) => {
            Err((RequestError::BadResponse, life))
        }
        _ => response::relay(life, head, lease, decision, upgrade.is_some()),
    };
    match relayed {
        Ok(response) => response,
        Err((error, life)) => {
            life.exchange().endpoint_failed(error);
            response::refuse(error, life)
        }
    }
}

/// What is to be done with a request.
enum Plan {
    /// The head is rewritten and can be sent.
    Send {
        decision: Box<Decision>,
        /// The protocol the client asked to switch to, if the route allows it.
        upgrade: Option<Upgrade>,
    },
    Answer(Response<ResponseBody>),
    /// Whether it may go on takes a while to find out. Then it is planned once more.
    Check(Box<Checks>),
}

/// Everything synchronous: checks, decision, rewriting. Of a request that had to wait at the edge of its route the checks are done,
/// and it goes on by the route and the rules that let it in, though a service may have changed its fields.
fn plan(
    worker: &Rc<Worker>,
    connection: &ConnectionState,
    exchange: &Exchange,
    parts: &mut Parts,
) -> Result<Plan, RequestError> {
    let head = Head::check(parts)?;
    let known = exchange.route();
    let is_checked = known.is_some();
    let (snapshot, route) = match known {
        Some((snapshot, route)) => (snapshot, Some(route)),
        None => (worker.snapshot(), None),
    };
    let trusted = snapshot.trusts(connection.peer());
    let client = match trusted {
        true => headers::client_address(&parts.headers, connection.peer(), |address| snapshot.trusts(address)),
        false => connection.peer(),
    };
    if !is_checked {
        exchange.record().target(client, &head);
    }
    if trusted && let Some(id) = given_request_id(parts) {
        exchange.set_request_id(id);
    }
    if !is_checked
        && connection.secured().is_none()
        && let Some(answered) = challenge::answer(worker, &parts.method, &head.path)
    {
        return Ok(Plan::Answer(answered));
    }
    let view = RequestView {
        method: &parts.method,
        host: head.host.name(),
        path: &head.path,
        query: head.query.as_deref(),
        headers: &parts.headers,
        client,
        listener: snapshot
            .listener_at(connection.listener.bound)
            .map_or(&*connection.listener.name, |name| name.as_str()),
        geo: snapshot.geo.as_deref(),
    };
    if !is_directed(connection, &snapshot, view.host) {
        return Err(RequestError::Misdirected);
    }
    let found = match route {
        Some(route) => snapshot.table.found(route),
        None => decide::find(&snapshot, &view),
    };
    let found = found.ok_or(RequestError::NoRoute)?;
    let route = found.route().rules();
    if !is_checked {
        exchange.record().route(found.route().name().as_str());
        exchange.set_route(&snapshot, found.id());
        match admission::enter(exchange, &snapshot, &found, &view, &head, trusted)? {
            Entry::Open => {}
            Entry::Answer(response) => return Ok(Plan::Answer(response)),
            Entry::Check(checks) => return Ok(Plan::Check(checks)),
        }
    }
    let placement = match route.target() {
        Target::Redirect(redirect) => {
            let is_secure = edge::is_secure(&parts.headers, trusted, connection.is_secure());
            return Ok(Plan::Answer(redirected(redirect, &head, is_secure, connection.listener.bound.port())));
        }
        _ => decide::place(&snapshot, &found, &view, &worker.moment()).ok_or(RequestError::NoEndpoint)?,
    };
    if let Some(placing) = &placement.release {
        exchange.record().placing(placing, || placing.name(&snapshot));
        exchange.set_group(placing.id, placing.group());
        exchange.comparing().begin(worker, &snapshot, &view, &placement);
    }
    exchange.set_limits(route.timeouts());
    let id = found.id();
    let seen = head.seen;
    let upgrade = if seen.upgrade { wanted_upgrade(parts, seen, route)? } else { None };
    let uri = rewritten_uri(&head, route)?;
    let host = head.host_value();
    let destination = exchange.enter(|stay| {
        if !route.samples() {
            stay.leave_no_sample();
        }
        Destination::choose(worker, &snapshot, &placement, &view, exchange.let_in_us(), stay)
    })?;
    if destination.upstream().is_half_full() && connection.is_client_full() {
        return Err(RequestError::ClientFull);
    }
    if destination.upstream().shared().rules.protocol() == Protocol::Http2 {
        if upgrade.is_some() {
            return Err(RequestError::SharedUpgrade);
        }
        exchange.goes_to_http2();
    }
    let placed = placement.keep(&snapshot, connection.is_secure());
    destination.upstream().count_request(exchange.now_ms());
    let decision = Box::new(Decision { snapshot, route: id, placed, destination });

    if let Some(uri) = uri {
        parts.uri = uri;
    }
    parts.version = Version::HTTP_11;
    if seen.transfer_encoding
        && let Some(coding) = parts.headers.get_mut(header::TRANSFER_ENCODING)
    {
        // Checked to mean this; sent in the one spelling that every endpoint reads the same way.
        *coding = HeaderValue::from_static("chunked");
    }
    target::name_host(&mut parts.headers, host, connection);
    rewrite_headers(parts, seen, connection, exchange, &decision, trusted, upgrade.as_ref());
    Ok(Plan::Send { decision, upgrade })
}

/// Whether a request for a host may come on its connection. In clear text it may on any.
fn is_directed(connection: &ConnectionState, snapshot: &Snapshot, host: &str) -> bool {
    let Some(secured) = connection.secured() else { return true };
    let listener = &connection.listener;
    let asked = listener.in_force(snapshot, |tls, listening| secured.is_for(tls, listening.tls.as_ref(), host));
    asked.unwrap_or(false)
}

/// Hop-by-hop fields out, forwarding fields in, then what the operator wants.
fn rewrite_headers(
    parts: &mut Parts,
    seen: Seen,
    connection: &ConnectionState,
    exchange: &Exchange,
    decision: &Decision,
    trusted: bool,
    upgrade: Option<&Upgrade>,
) {
    let fields = &mut parts.headers;
    headers::clean_request(fields, seen, trusted);
    connection.forwarding.add_to(fields, trusted);
    if let Some(certificate) = connection.secured().and_then(Secured::client_certificate) {
        fields.insert(headers::CLIENT_CERT, certificate.clone());
        // What stands there belongs to another certificate, whoever wrote it.
        fields.remove(headers::CLIENT_CERT_CHAIN);
    }
    fields.insert(headers::X_REQUEST_ID, exchange.request_id());
    if let Some(visit) = exchange.visit() {
        visit.rewrite_request(fields);
    }
    if let Some(placed) = &decision.placed {
        if let Some(name) = decision.override_header(placed) {
            fields.remove(name);
        }
        fields.insert(headers::X_SERIN_RELEASE, placed.name.clone());
        fields.insert(headers::X_SERIN_GROUP, HeaderValue::from_static(placed.group.as_str()));
    }
    if let Some(upgrade) = upgrade {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, upgrade.protocol().clone());
    }
    let route = decision.route();
    if !route.trailers().is_empty() {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        // RFC 9110 §10.1.4: TE speaks about this connection, and must say so.
        fields.append(header::CONNECTION, HeaderValue::from_static("te"));
        if seen.transfer_encoding {
            fields.insert(header::TRAILER, trailer_names(route));
        }
    }
    for filter in route.filters() {
        match filter {
            Filter::RequestHeader(edit) => response::apply(edit, fields),
            Filter::ReplaceHost(host) => drop(fields.insert(header::HOST, host.clone())),
            Filter::ReplacePrefix(_) | Filter::ReplacePath(_) | Filter::ResponseHeader(_) => {}
        }
    }
}

/// hyper writes only those trailer fields that the head announces.
pub(crate) fn trailer_names(route: &Route) -> HeaderValue {
    let names: Vec<&str> = route.trailers().iter().map(|name| name.as_str()).collect();
    HeaderValue::try_from(names.join(", ")).expect("header names are visible ASCII")
}

/// The request id that a trusted proxy gave, if it is one that logs can bear.
fn given_request_id(parts: &Parts) -> Option<HeaderValue> {
    let id = parts.headers.get(headers::X_REQUEST_ID)?;
    let sound = (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    sound.then(|| id.clone())
}

/// The protocol a client asks to switch to, if it asks rightly (RFC 9110 §7.8) and the route allows it. Without that, a request
/// of HTTP/1 is one like any other; one of HTTP/2 would be none.
fn wanted_upgrade(parts: &Parts, seen: Seen, route: &Route) -> Result<Option<Upgrade>, RequestError> {
    let switching = parts.extensions.get::<Switching>().cloned();
    let Some(wanted) = parts.headers.get(header::UPGRADE) else { return Ok(None) };
    let asks = parts.version == Version::HTTP_11
        && headers::has_token(&parts.headers, header::CONNECTION, "upgrade")
        && !seen.transfer_encoding
        && !seen.content_length;
    let allowed = route.upgrades().iter().any(|protocol| wanted.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    match asks && allowed {
        true => Ok(Some(Upgrade::new(wanted.clone(), switching))),
        false if switching.is_some() => Err(RequestError::ConnectMethod),
        false => Ok(None),
    }
}
