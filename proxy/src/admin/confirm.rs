//! Letting go what stays though its keys have gone from etcd.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AdminState;
use super::change::{Body, check, refuse};

/// Lets go what is held.
pub(super) async fn let_go(
    State(state): State<AdminState>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(refusal) = check(peer.ip(), &headers, body) {
        return refuse(refusal);
    }
    match &state.shared.etcd {
        Some(etcd) => Json(json!({"released": etcd.let_go()})).into_response(),
        None => refuse((StatusCode::NOT_FOUND, "no rules come from etcd".to_owned())),
    }
}
