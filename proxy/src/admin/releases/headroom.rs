//! Whether a canary's endpoints have room for the users of the next phase, as the API and metrics show it.

use routing_rules::release::{ReleaseState, headroom};
use routing_rules::rules::Release;
use serde::Serialize;
use utoipa::ToSchema;

use super::view::number;
use crate::server::Shared;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::HeadroomFacts;

/// What the canary's endpoints would have to carry in the next phase, by what comes through this instance. Each number is of requests in
/// flight at one endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = Headroom)]
pub(super) struct HeadroomView {
    /// The share of the next phase; 100 where the release is complete with it.
    percent: f64,
    /// How many endpoints of the canary take requests.
    endpoints: usize,
    /// What the one with the largest weight would have.
    predicted: f64,
    /// The most that one of the canary's or of stable's has carried well in the last hour; nothing if that is not known.
    carried: Option<f64>,
    /// What its limits let in.
    limit: Option<f64>,
    /// Whether there is room, as far as that is known.
    enough: bool,
    /// The same in words.
    text: String,
}

impl HeadroomView {
    /// `None` if nothing comes next, or nothing is known yet.
    pub(super) fn of(shared: &Shared, rules: &Release, state: ReleaseState) -> Option<Self> {
        let (next, found) = of_next_phase(shared, rules, state)?;
        let headroom::Headroom { endpoints, predicted, carried, limit } = found;
        let (enough, text) = (found.is_enough(), found.words(rules, &next));
        Some(Self { percent: number(next.share()), endpoints, predicted, carried, limit, enough, text })
    }
}

/// For metrics.
pub(in crate::admin) fn facts(shared: &Shared, snapshot: &Snapshot) -> Vec<HeadroomFacts> {
    let releases = snapshot.table.releases().filter_map(|(_, release)| {
        let rules = release.assigner.rules();
        let (_, found) = of_next_phase(shared, rules, snapshot.table.context().state(rules))?;
        let (predicted, carried) = (found.predicted, found.carried);
        Some(HeadroomFacts { release: rules.name().to_string(), predicted, carried })
    });
    releases.collect()
}

fn of_next_phase(shared: &Shared, rules: &Release, state: ReleaseState) -> Option<(ReleaseState, headroom::Headroom)> {
    let next = state.promoted(rules)?;
    Some((next, shared.releases.loads.headroom(rules.name(), &next)?))
}
