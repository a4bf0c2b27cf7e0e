//! Draining one endpoint, and taking that back.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{AdminState, aside};

/// The body of a request that says all with its target: `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

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
type Body = Result<Json<Nothing>, JsonRejection>;
/// A status, and why.
type Refusal = (StatusCode, String);

/// Drains an endpoint, or takes that back.
pub(super) async fn set<const IS_DRAINED: bool>(
    State(state): State<AdminState>,
    peer: Peer,
    names: Names,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match check(peer.ip(), &headers, body) {
        Ok(()) => change(state, names, IS_DRAINED).await,
        Err(refusal) => refuse(refusal),
    }
}

/// What holds for every request that changes something. Nobody has to show who he is, so whoever can log in here may, and
/// nobody else: not from elsewhere, and not through a route that leads here by mistake.
fn check(peer: IpAddr, headers: &HeaderMap, body: Body) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() || headers.contains_key(FORWARDED_FOR) {
        let reason = "changes are taken from this machine only, and not through a proxy";
        return Err((StatusCode::FORBIDDEN, reason.to_owned()));
    }
    body.map(drop).map_err(|rejection| (rejection.status(), rejection.body_text()))
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

fn refuse((status, reason): Refusal) -> Response {
    (status, Json(json!({"error": reason}))).into_response()
}

/// Written by Serin into every request that it sends on.
const FORWARDED_FOR: &str = "x-forwarded-for";

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::http::{HeaderMap, StatusCode};

    use super::{FORWARDED_FOR, Nothing, check};

    #[test]
    fn only_this_machine_changes_anything() {
        let mut forwarded = HeaderMap::new();
        forwarded.insert(FORWARDED_FOR, "127.0.0.1".parse().unwrap());
        for (peer, may) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(check(peer, &HeaderMap::new(), Ok(Json(Nothing {}))).is_ok(), may, "{peer}");
            let refusal = check(peer, &forwarded, Ok(Json(Nothing {}))).unwrap_err();
            assert_eq!(refusal.0, StatusCode::FORBIDDEN);
        }
    }
}
