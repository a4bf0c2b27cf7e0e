//! Saying that what is missing in etcd is missing on purpose.

use std::net::SocketAddr;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AdminState;
use super::change::{Body, check, refuse};
use super::wait::Wait;

/// Lets go what is held, here and in all instances.
pub(super) async fn confirm(
    State(state): State<AdminState>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wait: Result<Query<Wait>, QueryRejection>,
    body: Body,
) -> Response {
    if let Err(refusal) = check(&state.shared, peer.ip(), &headers, body) {
        return refuse(refusal);
    }
    let wait = match wait {
        Ok(Query(wait)) => wait,
        Err(rejection) => return refuse((rejection.status(), rejection.body_text())),
    };
    let Some(etcd) = &state.shared.etcd else {
        return refuse((StatusCode::NOT_FOUND, "no rules come from etcd".to_owned()));
    };
    let seen = etcd.state.seen();
    if seen.revision == 0 {
        let reason = "etcd was not heard yet: nobody knows what is missing there";
        return refuse((StatusCode::SERVICE_UNAVAILABLE, reason.to_owned()));
    }
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let told = etcd.fleet.confirm(&now, seen.routes).await;
    // It holds here also where the others cannot be told.
    let confirmed = etcd.state.confirm().max(seen.held);
    match told {
        Ok(revision) => wait.answer(&etcd.fleet, revision, json!({"confirmed": confirmed})).await,
        Err(trouble) => {
            let error =
                format!("done here, but etcd could not be told, so that other instances go on as before: {trouble}");
            let body = json!({"error": error, "confirmed": confirmed});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
