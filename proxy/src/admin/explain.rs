//! Why a request goes where it goes, or went at some time before.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::change::{Refusal, refuse};
use super::{AdminState, aside};
use crate::control_path::release::{History, then, time};
use crate::explain::{BadQuestion, Explanation, Question, explain, explain_at};
use crate::moment;
use crate::snapshot::Snapshot;

/// `GET /api/v1/explain?url=http://shop.example.com/&ip=10.8.0.1`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UrlQuestion {
    url: String,
    ip: Option<std::net::IpAddr>,
    at: Option<String>,
}

pub(super) async fn url(
    State(state): State<AdminState>,
    query: Result<Query<UrlQuestion>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(UrlQuestion { url, ip, at })) => {
            let ip = ip.unwrap_or_else(|| [127, 0, 0, 1].into());
            answer(state, Question { at, ..Question::get(url, ip) }).await
        }
        Err(rejection) => refuse((rejection.status(), rejection.body_text())),
    }
}

pub(super) async fn request(
    State(state): State<AdminState>,
    question: Result<Json<Question>, JsonRejection>,
) -> Response {
    match question {
        Ok(Json(question)) => answer(state, question).await,
        Err(rejection) => refuse((rejection.status(), rejection.body_text())),
    }
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
    let snapshot: Snapshot = then(&now, &route, &histories, at_ms).map_err(|reason| (StatusCode::NOT_FOUND, reason))?;
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
