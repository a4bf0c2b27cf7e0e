//! Releases: how far they are, and orders to them.

mod analysis;
mod compared;
mod headroom;
mod order;
mod preview;
mod verdict;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use routing_rules::rules::Name;
use routing_rules::table::CompiledRelease;
use serde::Deserialize;
use utoipa::IntoParams;

use super::change::refuse;
use super::openapi::{AnyRefusal, QuestionRefusal, Refused};
use super::{AdminState, aside};
use crate::control_path::release::StoreError;
pub(super) use headroom::facts as headroom_facts;
pub(super) use order::{__path_order, order};
pub(super) use preview::{__path_preview, preview};
pub(super) use verdict::{__path_verdict, verdict};
use view::{EntryView, ReleaseView};

/// All releases, by name.
#[utoipa::path(get, operation_id = "releases", path = "/api/v1/releases", tag = "releases",
    responses((status = 200, description = "By name", body = Vec<ReleaseView>), AnyRefusal))]
pub(super) async fn list(State(state): State<AdminState>) -> Response {
    aside(move || {
        let snapshot = state.shared.snapshots.load();
        let mut views: Vec<_> = snapshot
            .table
            .releases()
            .map(|(id, release)| ReleaseView::of(&state.shared, &snapshot, id, release))
            .collect();
        views.sort_by(|one, other| one.name().cmp(other.name()));
        Json(views)
    })
    .await
}

/// A release, with what an order has to name in `If-Match`.
#[utoipa::path(get, operation_id = "release", path = "/api/v1/releases/{release}", tag = "releases", params(("release" = String, Path)),
    responses(
        (status = 200, description = "How far it is", body = ReleaseView,
            headers(("etag" = String, description = "Its number, as `If-Match` takes it: `\"7\"`"))),
        QuestionRefusal, (status = 404, description = "There is no such release", body = Refused)))]
pub(super) async fn show(State(state): State<AdminState>, Path(name): Path<String>) -> Response {
    aside(move || {
        let snapshot = state.shared.snapshots.load();
        let id = snapshot.table.release_id(&name);
        let Some((id, release)) = id.and_then(|id| Some((id, snapshot.table.release(id)?))) else {
            return unknown(&name);
        };
        let view = ReleaseView::of(&state.shared, &snapshot, id, release);
        ([(ETAG, format!("\"{}\"", view.number()))], Json(view)).into_response()
    })
    .await
}

/// `?most=20`
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Most {
    /// No more entries than this: at most 500, which is what is kept. Default: 100.
    #[serde(default = "usual")]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 500)]
    most: usize,
}

fn usual() -> usize {
    100
}

/// What was done to a release, the newest first. Also of one that has gone, as long as the store knows it.
#[utoipa::path(get, operation_id = "release_history", path = "/api/v1/releases/{release}/history", tag = "releases", params(("release" = String, Path), Most),
    responses(
        (status = 200, description = "The newest first", body = Vec<EntryView>), QuestionRefusal,
        (status = 404, description = "There is no such release", body = Refused),
        (status = 503, description = "The store cannot be read", body = Refused)))]
pub(super) async fn history(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    most: Result<Query<Most>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let most = match most {
        Ok(Query(Most { most })) => most,
        Err(rejection) => return refuse((rejection.status(), rejection.body_text())),
    };
    if most > MOST_ENTRIES {
        return refuse((StatusCode::BAD_REQUEST, format!("most: at most {MOST_ENTRIES}")));
    }
    let Ok(known) = Name::new(&name) else { return unknown(&name) };
    match state.shared.releases.desk.history(&known, most).await {
        Ok(entries) if entries.is_empty() && find(&state, &name).is_none() => unknown(&name),
        Ok(entries) => Json(entries.iter().map(EntryView::of).collect::<Vec<_>>()).into_response(),
        Err(error) => refuse(trouble(&error)),
    }
}

fn find(state: &AdminState, name: &str) -> Option<Arc<CompiledRelease>> {
    let snapshot = state.shared.snapshots.load();
    let id = snapshot.table.release_id(name)?;
    snapshot.table.release(id).map(Arc::clone)
}

fn unknown(name: &str) -> Response {
    refuse((StatusCode::NOT_FOUND, format!("no release is called `{}`", name.escape_debug())))
}

fn trouble(error: &StoreError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// As many as are kept.
const MOST_ENTRIES: usize = 500;
