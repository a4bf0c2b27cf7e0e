//! Saying that what is missing in etcd is missing on purpose.

use std::net::SocketAddr;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::change::{Body, Nothing, check, refuse};
use super::openapi::ChangeRefusal;
use super::wait::{Wait, Waited};

/// What was confirmed.
#[derive(Serialize, ToSchema)]
struct Confirmed {
    /// How many objects and registrations were let go here.
    confirmed: usize,
}

/// What holds here, though etcd could not be told.
#[derive(Serialize, ToSchema)]
struct ConfirmedHere {
    /// How many objects and registrations were let go here.
    confirmed: usize,
    error: String,
}

/// Let go what is held because most of it went from etcd at once: it went on purpose. Here and in all instances.
#[utoipa::path(post, operation_id = "confirm_etcd", path = "/api/v1/sources/etcd/confirm", tag = "fleet", params(Wait), request_body = Nothing,
    security((), ("token" = [])),
    responses(
        (status = 200, description = "Done", body = Waited<Confirmed>), ChangeRefusal,
        (status = 503, description = "Done here, but etcd could not be told; or etcd was never heard", body = ConfirmedHere),
        (status = 504, description = "Done, but not all instances have applied it in time", body = Waited<Confirmed>)))]
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
        Ok(revision) => wait.answer(Some((&etcd.fleet, revision)), Confirmed { confirmed }).await,
        Err(trouble) => {
            let error =
                format!("done here, but etcd could not be told, so that other instances go on as before: {trouble}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(ConfirmedHere { confirmed, error })).into_response()
        }
    }
}
