//! The admin API, on a listener of its own: health, metrics, the rules as they are. It changes which endpoints drain,
//! what is let go that went from etcd on purpose, and how far releases are.
//!
//! Browsers of people inside the network must not become a way in: requests with a foreign `Host` or `Origin` are
//! refused, so neither a rebound DNS name nor another site's script reaches it. What changes something must be
//! JSON, which no form sends, and come from this machine or show a token.

mod certificates;
mod change;
mod confirm;
mod discovery;
mod drain;
mod environments;
mod explain;
mod instances;
mod openapi;
mod releases;
mod token;
mod views;
mod wait;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control_path::decode::Problem;
use crate::server::Shared;
use crate::telemetry::metrics::{self, Facts};
use change::refuse;
use openapi::{AnyRefusal, Document, Refused};
pub(crate) use token::AdminToken;

/// Whether new requests are welcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The process is about to end.
    pub draining: bool,
    /// And this is why, if nobody has asked for it.
    pub failure: Option<String>,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct AdminState {
    shared: Arc<Shared>,
}

impl AdminState {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Serves the API until the process ends.
pub(crate) async fn serve(socket: std::net::TcpListener, state: AdminState) -> std::io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    axum::serve(socket, router(state).into_make_service_with_connect_info::<SocketAddr>()).await
}

fn router(state: AdminState) -> Router {
    Router::from(routes())
        .fallback(|| async { refuse((StatusCode::NOT_FOUND, "no such resource".to_owned())) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_strangers))
        .layer(map_response(in_json))
        .with_state(state)
}

/// All there is, and its description.
fn routes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics_text))
        .routes(routes!(openapi::openapi))
        .routes(routes!(show_routes))
        .routes(routes!(upstreams))
        .routes(routes!(drain::drain))
        .routes(routes!(drain::undrain))
        .routes(routes!(templates))
        .routes(routes!(certificates::list))
        .routes(routes!(releases::list))
        .routes(routes!(releases::show))
        .routes(routes!(releases::history))
        .routes(routes!(releases::verdict))
        .routes(routes!(releases::preview))
        .routes(routes!(releases::order))
        .routes(routes!(webhooks::list))
        .routes(routes!(rejected))
        .routes(routes!(confirm::confirm))
        .routes(routes!(instances::list))
        .routes(routes!(explain::request, explain::url))
}

/// Whoever refuses a request, a part of axum or we, the answer is JSON and says why.
async fn in_json(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let status = response.status();
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let said = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let error = match String::from_utf8_lossy(&said) {
        nothing if nothing.is_empty() => status.canonical_reason().unwrap_or("refused").to_lowercase(),
        reason => reason.into_owned(),
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(CONTENT_TYPE);
    let (kind, body) = Json(Refused { error }).into_response().into_parts();
    head.headers.extend(kind.headers);
    Response::from_parts(head, body)
}

async fn refuse_strangers(request: Request, next: Next) -> Response {
    match check_origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) => refuse((status, "the Host or Origin of this request is not this API's".to_owned())),
    }
}

/// An address or `localhost` cannot be rebound to another machine; any other name could be (421). A script of
/// another site says so in `Origin` (403).
fn check_origin(headers: &HeaderMap) -> Result<(), StatusCode> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).ok_or(StatusCode::MISDIRECTED_REQUEST)?;
    let name = routing_rules::request::canonical::host(host.as_bytes()).map_err(|_| StatusCode::MISDIRECTED_REQUEST)?;
    let is_address = name.name().trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if !is_address && name.name() != "localhost" {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    match headers.get(ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes()) => Ok(()),
        Some(_) => Err(StatusCode::FORBIDDEN),
    }
}

/// Whether it runs.
#[utoipa::path(get, operation_id = "health", path = "/healthz", tag = "instance",
    responses((status = 200, description = "It does: `ok`", body = String, content_type = "text/plain"), AnyRefusal))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether new requests are welcome.
#[derive(Serialize, ToSchema)]
struct ReadyView {
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
    /// How many problems there are with what is written.
    rejected: usize,
    /// Whether the rules come from the state folder, because their sources could not be used.
    stale: bool,
}

/// Whether new requests are welcome.
#[utoipa::path(get, operation_id = "readiness", path = "/readyz", tag = "instance",
    responses(
        (status = 200, description = "They are", body = ReadyView), AnyRefusal,
        (status = 503, description = "They are not", body = ReadyView)))]
async fn readyz(State(state): State<AdminState>) -> Response {
    let reasons = state.shared.not_ready();
    let status = state.shared.status.load();
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (ready, rejected, stale) = (reasons.is_empty(), status.problems.len(), status.stale);
    (code, Json(ReadyView { ready, reasons, rejected, stale })).into_response()
}

/// All metrics.
#[utoipa::path(get, operation_id = "metrics", path = "/metrics", tag = "instance",
    responses((status = 200, description = "As Prometheus reads them", body = String, content_type = "text/plain"), AnyRefusal))]
async fn metrics_text(State(state): State<AdminState>) -> Response {
    aside(move || {
        let snapshot = state.shared.snapshots.load_full();
        let status = state.shared.status.load_full();
        let (rejected, stale) = (status.problems.len(), status.stale);
        let facts = Facts {
            snapshot: &snapshot,
            rejected,
            stale,
            log_lines_dropped: state.shared.log.dropped(),
            etcd: state.shared.etcd_facts(),
            kubernetes: state.shared.kubernetes_facts(),
            webhooks: webhooks::facts(&state.shared),
            orders: certificates::facts(&state.shared),
            headroom: releases::headroom_facts(&state.shared, &snapshot),
        };
        let text = metrics::render(&state.shared.counters(), &facts);
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
    })
    .await
}

/// The routes in force.
#[utoipa::path(get, operation_id = "routes", path = "/api/v1/routes", tag = "rules",
    responses((status = 200, description = "By name", body = Vec<views::RouteView>), AnyRefusal))]
async fn show_routes(State(state): State<AdminState>) -> Response {
    aside(move || Json(views::routes(&state.shared.snapshots.load()))).await
}

/// The upstreams, with their endpoints and how each is.
#[utoipa::path(get, operation_id = "upstreams", path = "/api/v1/upstreams", tag = "upstreams",
    responses((status = 200, description = "By name", body = Vec<views::UpstreamView>), AnyRefusal))]
async fn upstreams(State(state): State<AdminState>) -> Response {
    aside(move || Json(views::upstreams(&state.shared.snapshots.load()))).await
}

/// The templates, with the environments that are live.
#[utoipa::path(get, operation_id = "environments", path = "/api/v1/environments", tag = "rules",
    responses((status = 200, description = "By name", body = Vec<environments::TemplateView>), AnyRefusal))]
async fn templates(State(state): State<AdminState>) -> Response {
    aside(move || Json(environments::templates(&state.shared.snapshots.load()))).await
}

/// What is written and not in force.
#[derive(Serialize, ToSchema)]
struct RejectedView {
    /// How many problems there are.
    count: usize,
    /// The first 1,000 of them.
    problems: Vec<Problem>,
    /// Whether the rules come from the state folder, because their sources could not be used.
    stale: bool,
}

/// What is written and not in force, because it is wrong.
#[utoipa::path(get, operation_id = "rejected", path = "/api/v1/rejected", tag = "rules",
    responses((status = 200, description = "With the place of each problem", body = RejectedView), AnyRefusal))]
async fn rejected(State(state): State<AdminState>) -> Response {
    aside(move || {
        let status = state.shared.status.load();
        let first = status.problems.get(..MOST_PROBLEMS).unwrap_or(&status.problems);
        Json(RejectedView { count: status.problems.len(), problems: first.to_vec(), stale: status.stale })
    })
    .await
}

/// Writes an answer beside the control thread, which has orders to hear: with very many routes it takes long.
async fn aside<A: IntoResponse>(answer: impl FnOnce() -> A + Send + 'static) -> Response {
    let written = tokio::task::spawn_blocking(move || answer().into_response()).await;
    // It can only have panicked, which is in the log.
    written.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Problems in one answer. Whoever may write keys can make very many.
const MOST_PROBLEMS: usize = 1_000;

/// Largest request body in bytes.
const MAX_BODY: usize = 64 << 10;
