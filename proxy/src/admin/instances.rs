//! The instances that follow the same etcd.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{AdminState, aside};
use crate::control_path::fleet::{Instance, Instances};
use crate::server::Shared;

/// All instances that are known.
#[derive(Serialize)]
struct List {
    instances: Vec<Listed>,
    /// Whether etcd is heard. If not, this is what it said last.
    heard: bool,
    /// What would make instances decide differently of the same user.
    disagreements: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    /// It answers this request.
    this: bool,
    leader: bool,
    /// Absent where the key of the instance does not say.
    #[serde(flatten)]
    says: Option<Instance>,
}

pub(super) async fn list(State(state): State<AdminState>) -> Response {
    aside(move || Json(all(&state.shared)).into_response()).await
}

fn all(shared: &Shared) -> List {
    let mut known = shared.etcd.as_ref().map(|etcd| etcd.fleet.instances()).unwrap_or_default();
    let heard = shared.etcd_facts().is_none_or(|etcd| etcd.is_heard);
    let me = &shared.me.id;
    // Of itself it knows without asking.
    std::sync::Arc::make_mut(&mut known.all).insert(me.clone(), Some(shared.instance()));
    let disagreements = known.disagreements();
    let Instances { all, leader } = known;
    let leader = leader.unwrap_or_else(|| if shared.etcd.is_none() { me.as_str().into() } else { "".into() });
    let listed = |(id, says): (&String, &Option<Instance>)| Listed {
        id: id.clone(),
        this: id == me,
        leader: **id == *leader,
        says: says.clone(),
    };
    List { instances: all.iter().map(listed).collect(), heard, disagreements }
}
