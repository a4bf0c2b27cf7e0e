//! Draining one endpoint, and taking that back.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::change::{Body, Nothing, check, refuse};
use super::{AdminState, aside};

/// How the endpoint is now.
#[derive(Serialize)]
struct Drained {
    upstream: String,
    endpoint: SocketAddr,
    draining: bool,
    /// Requests that it still works on.
    in_flight: u64,
}

type Peer = ConnectInfo<SocketAddr>;
type Names = Path<(String, String)>;

/// Drains an endpoint, or takes that back.
pub(super) async fn set<const IS_DRAINED: bool>(
    State(state): State<AdminState>,
    peer: Peer,
    names: Names,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match check(&state.shared, peer.ip(), &headers, body) {
        Ok(Nothing {}) => change(state, names, IS_DRAINED).await,
        Err(refusal) => refuse(refusal),
    }
}

async fn change(state: AdminState, Path(names): Names, is_drained: bool) -> Response {
    aside(move || {
        let (upstream, endpoint) = names;
        let address = endpoint.parse().ok();
        let found = address.and_then(|address| state.shared.drain(&upstream, address, is_drained));
        let Some(found) = found else { return refuse((StatusCode::NOT_FOUND, "no such endpoint".to_owned())) };
        let (in_flight, endpoint) = (found.totals().in_flight, found.address());
        Json(Drained { upstream, endpoint, draining: is_drained, in_flight }).into_response()
    })
    .await
}
