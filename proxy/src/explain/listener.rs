//! Through which listener a request is taken to come.

use routing_rules::request::RequestView;
use routing_rules::rules::{Kind, Listener, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::question::{BadQuestion, Question};
use crate::data_path::decide;
use crate::snapshot::Snapshot;

/// The listener of a request, where routes ask for listeners and there are several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListenerExplanation {
    /// Its name.
    pub name: String,
    /// Nobody asked for it.
    pub is_assumed: bool,
    /// The other listeners through which the request gets another route, or none.
    pub otherwise: Vec<OtherListener>,
}

/// What a request would get through another listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OtherListener {
    /// The listener.
    pub name: String,
    /// The route; null: none.
    pub route: Option<String>,
}

/// The listener asked for, else the first by name; `None` if there is none at all.
pub(super) fn choose<'s>(snapshot: &'s Snapshot, question: &Question) -> Result<Option<&'s Listener>, BadQuestion> {
    let asked = |listener: &&Listener| question.listener.is_empty() || listener.name().as_str() == question.listener;
    let found = all(snapshot).find(asked);
    if found.is_none() && !question.listener.is_empty() {
        let names: Vec<&str> = all(snapshot).map(|listener| listener.name().as_str()).collect();
        let (asked, known) = (&question.listener, names.join(", "));
        return Err(BadQuestion(match names.is_empty() {
            true => format!("there is no listener `{asked}`, and no other"),
            false => format!("there is no listener `{asked}`; known are: {known}"),
        }));
    }
    Ok(found)
}

/// What to say about the listener: nothing where it makes no difference.
pub(super) fn explain(snapshot: &Snapshot, question: &Question, view: &RequestView<'_>) -> Option<ListenerExplanation> {
    let rules = snapshot.table.rules();
    let is_named = |listener: &Listener| rules.users(Kind::Listener, listener.name()).next().is_some();
    if rules.listeners().len() < 2 || !all(snapshot).any(is_named) {
        return None;
    }
    let route = |listener: &str| -> Option<&Name> {
        let view = RequestView { listener, ..*view };
        Some(decide::find(snapshot, &view)?.route().name())
    };
    let own = route(view.listener);
    let others = all(snapshot).map(|listener| listener.name().as_str()).filter(|name| *name != view.listener);
    let otherwise = others.map(|name| (name, route(name))).filter(|(_, route)| *route != own);
    Some(ListenerExplanation {
        name: view.listener.to_owned(),
        is_assumed: question.listener.is_empty(),
        otherwise: otherwise
            .map(|(name, route)| OtherListener { name: name.to_owned(), route: route.map(Name::to_string) })
            .collect(),
    })
}

fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Listener> {
    snapshot.table.rules().listeners().map(|listener| &**listener)
}
