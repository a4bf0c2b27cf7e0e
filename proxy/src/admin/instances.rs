//! The instances that follow the same etcd.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::AnyRefusal;
use super::{AdminState, aside};
use crate::control_path::fleet::Listed;
use crate::server::Shared;

/// All instances that are known.
#[derive(Serialize, ToSchema)]
#[schema(as = Instances)]
struct List {
    instances: Vec<Shown>,
    /// Whether etcd is heard. If not, this is what it said last.
    heard: bool,
    /// What would make instances decide differently of the same user.
    disagreements: Vec<String>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedInstance)]
struct Shown {
    /// It answers this request.
    this: bool,
    #[serde(flatten)]
    listed: Listed,
}

/// All instances that follow the same etcd.
#[utoipa::path(get, operation_id = "instances", path = "/api/v1/instances", tag = "fleet",
    responses((status = 200, description = "As far as this one knows", body = List), AnyRefusal))]
pub(super) async fn list(State(state): State<AdminState>) -> Response {
    aside(move || Json(all(&state.shared)).into_response()).await
}

fn all(shared: &Shared) -> List {
    let mut known = shared.etcd.as_ref().map(|etcd| etcd.fleet.instances()).unwrap_or_default();
    let heard = shared.etcd_facts().is_none_or(|etcd| etcd.is_heard);
    let me = &shared.me.id;
    // Of itself it knows without asking, and alone it leads.
    Arc::make_mut(&mut known.all).insert(me.clone(), Some(shared.instance()));
    if shared.etcd.is_none() {
        known.leader = Some(me.as_str().into());
    }
    let shown = known.list().map(|listed| Shown { this: listed.id == *me, listed });
    List { instances: shown.collect(), heard, disagreements: known.disagreements() }
}
