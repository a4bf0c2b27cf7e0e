//! The admin API, on a listener of its own: health, metrics, the rules as they are. All it changes is which endpoints drain, and
//! what is let go that went from etcd on purpose.
//!
//! Browsers of people inside the network must not become a way in: requests with a foreign `Host` or `Origin` are
//! refused, so neither a rebound DNS name nor another site's script reaches it. What changes something must be
//! JSON, which no form sends, and come from this machine.

mod change;
mod confirm;
mod discovery;
mod drain;
mod environments;
mod instances;
mod releases;
mod views;
mod wait;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::explain::{Question, explain};
use crate::server::Shared;
use crate::telemetry::metrics::{self, Facts};

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
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/routes", get(routes))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain", post(drain::set::<true>))
        .route("/api/v1/upstreams/{upstream}/endpoints/{endpoint}/undrain", post(drain::set::<false>))
        .route("/api/v1/environments", get(environments))
        .route("/api/v1/releases", get(releases))
        .route("/api/v1/rejected", get(rejected))
        .route("/api/v1/sources/etcd/confirm", post(confirm::confirm))
        .route("/api/v1/instances", get(instances::list))
        .route("/api/v1/explain", post(explain_request).get(explain_url))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"error": "no such resource"}))) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_strangers))
        .with_state(state)
}

async fn refuse_strangers(request: Request, next: Next) -> Response {
    match check_origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) => {
            (status, Json(json!({"error": "the Host or Origin of this request is not this API's"}))).into_response()
        }
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

async fn readyz(State(state): State<AdminState>) -> Response {
    let reasons = state.shared.not_ready();
    let status = state.shared.status.load();
    let body = json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "stale": status.stale,
        "rejected": status.problems.len(),
    });
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body)).into_response()
}

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
        };
        let text = metrics::render(&state.shared.counters(), &facts);
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
    })
    .await
}

async fn routes(State(state): State<AdminState>) -> Response {
    aside(move || Json(views::routes(&state.shared.snapshots.load()))).await
}

async fn upstreams(State(state): State<AdminState>) -> Response {
    aside(move || Json(views::upstreams(&state.shared.snapshots.load()))).await
}

async fn environments(State(state): State<AdminState>) -> Response {
    aside(move || Json(environments::templates(&state.shared.snapshots.load()))).await
}

async fn releases(State(state): State<AdminState>) -> Response {
    aside(move || Json(releases::releases(&state.shared.snapshots.load()))).await
}

async fn rejected(State(state): State<AdminState>) -> Response {
    aside(move || {
        let status = state.shared.status.load();
        let first = status.problems.get(..MOST_PROBLEMS).unwrap_or(&status.problems);
        Json(json!({"stale": status.stale, "count": status.problems.len(), "problems": first}))
    })
    .await
}

/// Writes an answer beside the control thread, which has orders to hear: with very many routes it takes long.
async fn aside<A: IntoResponse>(answer: impl FnOnce() -> A + Send + 'static) -> Response {
    let written = tokio::task::spawn_blocking(move || answer().into_response()).await;
    // It can only have panicked, which is in the log.
    written.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// `GET /api/v1/explain?url=http://shop.example.com/&ip=10.8.0.1`
#[derive(Deserialize)]
struct UrlQuestion {
    url: String,
    ip: Option<std::net::IpAddr>,
}

async fn explain_url(State(state): State<AdminState>, Query(query): Query<UrlQuestion>) -> Response {
    let ip = query.ip.unwrap_or_else(|| [127, 0, 0, 1].into());
    let question = Question::get(query.url, ip);
    aside(move || answer(&state, &question)).await
}

async fn explain_request(State(state): State<AdminState>, Json(question): Json<Question>) -> Response {
    aside(move || answer(&state, &question)).await
}

fn answer(state: &AdminState, question: &Question) -> Response {
    match explain(&state.shared.snapshots.load(), question) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()}))).into_response(),
    }
}

/// Problems in one answer. Whoever may write keys can make very many.
const MOST_PROBLEMS: usize = 1_000;

/// Largest request body in bytes.
const MAX_BODY: usize = 64 << 10;
