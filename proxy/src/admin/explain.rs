//! Why a request goes where it goes, or went at some time before.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::change::{Object, Refusal, refuse};
use super::openapi::{QuestionRefusal, Refused};
use super::{AdminState, aside};
use crate::control_path::release::{History, then, time};
use crate::explain::{BadQuestion, Explanation, Question, explain, explain_at};
use crate::moment;

/// `GET /api/v1/explain?url=http://shop.example.com/&ip=10.8.0.1`
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UrlQuestion {
    /// The whole URL, for example `http://shop.example.com/cart?id=7`.
    url: String,
    /// The address the connection comes from. Default: 127.0.0.1.
    #[param(value_type = Option<String>)]
    ip: Option<std::net::IpAddr>,
    /// For which time, as `2026-11-28T10:00:00Z` or `-2h`. Default: now.
    at: Option<String>,
}

/// Why a `GET` of a URL would go where it goes, or would have gone at some time before.
#[utoipa::path(get, operation_id = "explain_url", path = "/api/v1/explain", tag = "rules", params(UrlQuestion),
    responses(
        (status = 200, description = "What it meets", body = Explanation), QuestionRefusal,
        (status = 404, description = "History does not reach back so far", body = Refused),
        (status = 503, description = "History cannot be read", body = Refused)))]
pub(super) async fn url(State(state): State<AdminState>, Query(query): Query<UrlQuestion>) -> Response {
    let UrlQuestion { url, ip, at } = query;
    let ip = ip.unwrap_or_else(|| [127, 0, 0, 1].into());
    answer(state, Question { at, ..Question::get(url, ip) }).await
}

/// Why a request would go where it goes, or would have gone at some time before.
#[utoipa::path(post, operation_id = "explain_request", path = "/api/v1/explain", tag = "rules", request_body = Question,
    responses(
        (status = 200, description = "What it meets", body = Explanation), QuestionRefusal,
        (status = 404, description = "History does not reach back so far", body = Refused),
        (status = 413, description = "The body has more than 64 KiB", body = Refused),
        (status = 415, description = "The body does not say that it is JSON", body = Refused),
        (status = 422, description = "The body has other fields, or other values, than it may have", body = Refused),
        (status = 503, description = "History cannot be read", body = Refused)))]
pub(super) async fn request(
    State(state): State<AdminState>,
    Json(Object(question)): Json<Object<Question>>,
) -> Response {
    answer(state, question).await
}

async fn answer(state: AdminState, question: Question) -> Response {
    let now_ms = moment::unix_ms();
    let answered = match question.at_ms(now_ms) {
        Ok(None) => return aside(move || shown(explain(&state.shared.snapshots.load(), &question).map_err(bad))).await,
        Ok(Some(at_ms)) => before(&state, &question, at_ms).await,
        Err(error) => Err(bad(error)),
    };
    shown(answered)
}

/// As it was at a time, by the history of the releases that have a say.
async fn before(state: &AdminState, question: &Question, at_ms: u64) -> Result<Explanation, Refusal> {
    let now = state.shared.snapshots.load_full();
    let explanation = explain(&now, question).map_err(bad)?;
    let id = explanation.route.as_deref().and_then(|name| now.table.route_id(name));
    let Some(route) = id.and_then(|id| now.table.route(id)).map(|route| route.rules().clone()) else {
        return Ok(dated(explanation, at_ms));
    };
    let mut histories = Vec::new();
    for release in route.releases() {
        let entries = state.shared.releases.desk.history(release, usize::MAX).await;
        let entries = entries.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        histories.push(History { release: release.clone(), entries });
    }
    let snapshot = then(&now, &route, &histories, at_ms).map_err(|reason| (StatusCode::NOT_FOUND, reason))?;
    explain_at(&snapshot, question, at_ms).map(|explanation| dated(explanation, at_ms)).map_err(bad)
}

fn dated(explanation: Explanation, at_ms: u64) -> Explanation {
    Explanation { at: Some(time(at_ms)), ..explanation }
}

fn shown(answer: Result<Explanation, Refusal>) -> Response {
    match answer {
        Ok(explanation) => Json(explanation).into_response(),
        Err(refusal) => refuse(refusal),
    }
}

fn bad(error: BadQuestion) -> Refusal {
    (StatusCode::BAD_REQUEST, error.to_string())
}
