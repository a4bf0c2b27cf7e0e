//! What the API shows of endpoints that are discovered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::snapshot::{Discovered, State};

/// Where the endpoints of an upstream come from.
#[derive(Serialize, ToSchema)]
pub(super) struct DiscoveryView {
    /// What is asked, in words.
    asks: String,
    /// `waiting` before the end of the first lookup (`stored` if the endpoints come from the state folder), `answered`,
    /// `partial` if a part of the answer could not be had, or `failing`.
    state: &'static str,
    /// How old the last good answer is, also if an earlier process had it.
    age_s: Option<f64>,
    /// Since when every lookup failed.
    failing_since: Option<String>,
    /// Why the last lookup failed, or a part of it.
    reason: Option<String>,
}

impl DiscoveryView {
    pub(super) fn new(discovered: &Discovered) -> Self {
        let state = discovered.state();
        let failure = state.failure.as_ref();
        Self {
            asks: discovered.rules().to_string(),
            state: word(&state),
            age_s: state.age().map(|age| age.as_secs_f64()),
            failing_since: failure.map(|failed| humantime::format_rfc3339_millis(failed.since).to_string()),
            reason: failure.map(|failed| &failed.reason).or(state.doubt.as_ref()).map(ToString::to_string),
        }
    }
}

fn word(state: &State) -> &'static str {
    match (&state.failure, state.lookups.0) {
        (Some(_), _) => "failing",
        (None, 0) if state.is_stored => "stored",
        (None, 0) => "waiting",
        (None, _) if state.doubt.is_some() => "partial",
        (None, _) => "answered",
    }
}
