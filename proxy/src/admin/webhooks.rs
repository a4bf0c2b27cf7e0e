//! Who is told of changes of releases, and what became of that.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::openapi::AnyRefusal;
use super::{AdminState, aside};
use crate::control_path::release::webhooks::{Totals, WebhookView};
use crate::server::Shared;
use crate::telemetry::metrics::WebhookFacts;

/// All webhooks, and how they fare. In a fleet the instance that leads sends.
#[utoipa::path(get, operation_id = "webhooks", path = "/api/v1/webhooks", tag = "releases",
    responses((status = 200, description = "By name", body = Vec<WebhookView>), AnyRefusal))]
pub(super) async fn list(State(state): State<AdminState>) -> Response {
    aside(move || Json(state.shared.webhooks.iter().map(|webhook| webhook.view()).collect::<Vec<_>>())).await
}

/// The same as metrics tell it.
pub(super) fn facts(shared: &Shared) -> Vec<WebhookFacts> {
    let facts = shared.webhooks.iter().map(|webhook| {
        let (name, Totals { delivered, failed, given_up }, backlog) = webhook.totals();
        let outcomes = [("delivered", delivered), ("failed", failed), ("given_up", given_up)];
        WebhookFacts { name: name.to_owned(), outcomes, backlog }
    });
    facts.collect()
}
