//! Draining one endpoint, and taking that back.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::change::{Body, Nothing, check, refuse};
use super::openapi::ChangeRefusal;
use super::{AdminState, aside};

/// How the endpoint is now.
#[derive(Serialize, ToSchema)]
struct Drained {
    upstream: String,
    #[schema(value_type = String)]
    endpoint: SocketAddr,
    draining: bool,
    /// Requests that it still works on.
    in_flight: u64,
}

type Peer = ConnectInfo<SocketAddr>;
/// The names of an upstream and of its endpoint.
type At = Path<(String, String)>;

/// Drain an endpoint: it finishes what it has, and gets no new requests.
#[utoipa::path(post, operation_id = "drain_endpoint", path = "/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain", tag = "upstreams",
    params(("upstream" = String, Path), ("endpoint" = String, Path, description = "Its address: `10.0.0.1:8080`")),
    request_body = Nothing, security((), ("token" = [])),
    responses((status = 200, description = "How it is now", body = Drained), ChangeRefusal))]
pub(super) async fn drain(state: State<AdminState>, peer: Peer, at: At, headers: HeaderMap, body: Body) -> Response {
    set(state, peer, at, &headers, body, true).await
}

/// Let an endpoint take requests again.
#[utoipa::path(post, operation_id = "undrain_endpoint", path = "/api/v1/upstreams/{upstream}/endpoints/{endpoint}/undrain", tag = "upstreams",
    params(("upstream" = String, Path), ("endpoint" = String, Path, description = "Its address: `10.0.0.1:8080`")),
    request_body = Nothing, security((), ("token" = [])),
    responses((status = 200, description = "How it is now", body = Drained), ChangeRefusal))]
pub(super) async fn undrain(state: State<AdminState>, peer: Peer, at: At, headers: HeaderMap, body: Body) -> Response {
    set(state, peer, at, &headers, body, false).await
}

async fn set(
    State(state): State<AdminState>,
    peer: Peer,
    Path((upstream, endpoint)): At,
    headers: &HeaderMap,
    body: Body,
    is_drained: bool,
) -> Response {
    if let Err(refusal) = check(&state.shared, peer.ip(), headers, body) {
        return refuse(refusal);
    }
    aside(move || {
        let address = endpoint.parse().ok();
        let found = address.and_then(|address| state.shared.drain(&upstream, address, is_drained));
        let Some(found) = found else { return refuse((StatusCode::NOT_FOUND, "no such endpoint".to_owned())) };
        let (in_flight, endpoint) = (found.totals().in_flight, found.address());
        Json(Drained { upstream, endpoint, draining: is_drained, in_flight }).into_response()
    })
    .await
}
