//! What holds for every request that changes something.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

/// The body of a request that says all with its target: `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) type Body = Result<Json<Nothing>, JsonRejection>;

/// A status, and why.
pub(super) type Refusal = (StatusCode, String);

/// Whether it may. Nobody has to show who he is, so whoever can log in here may, and nobody else: not from elsewhere, and not
/// through a route that leads here by mistake.
pub(super) fn check(peer: IpAddr, headers: &HeaderMap, body: Body) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() || headers.contains_key(FORWARDED_FOR) {
        let reason = "changes are taken from this machine only, and not through a proxy";
        return Err((StatusCode::FORBIDDEN, reason.to_owned()));
    }
    body.map(drop).map_err(|rejection| (rejection.status(), rejection.body_text()))
}

pub(super) fn refuse((status, reason): Refusal) -> Response {
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
