//! A release as the API shows it.

use routing_rules::release::ReleaseRecord;
use routing_rules::rules::{Phase, Share};
use routing_rules::table::{CompiledRelease, ReleaseId};
use serde::Serialize;
use utoipa::ToSchema;

use super::analysis::AnalysisView;
use super::compared::{ComparedView, GroupsView};
use super::headroom::HeadroomView;
use crate::control_path::release::{Entry, ToldChange, time};
use crate::moment;
use crate::server::Shared;
use crate::snapshot::Snapshot;

/// A release, and how far it is.
#[derive(Serialize, ToSchema)]
pub(super) struct ReleaseView {
    name: String,
    stable: String,
    canary: String,
    /// `running`, `paused`, `rolled_back` or `completed`.
    status: &'static str,
    /// The share of rules that follow the phases.
    percent: f64,
    /// Which phase that is, from 1; the last one it has reached if it is between two.
    phase: Option<usize>,
    phases: Vec<PhaseView>,
    /// Counts its changes: what `If-Match` names. 0 before it was first written down.
    number: u64,
    /// Since when it is in this state.
    since: Option<String>,
    /// How long its phase has lasted, in seconds, without the time in which its clock stood.
    phase_seconds: f64,
    /// How many seconds later the next phase begins by itself.
    next_phase_in_seconds: Option<f64>,
    /// What keeps it from going on: `canary_down` and `canary_absent`, while stable serves the canary's users and the clock stands;
    /// `headroom`, while the next phase waits for endpoints.
    hold: Option<&'static str>,
    /// Whether there is room for the users of the next phase.
    headroom: Option<HeadroomView>,
    /// Counts the edits of its rules.
    epoch: u32,
    /// What was done last.
    last: Option<ChangeView>,
    /// Whether it is rolled back in this instance only, because the store could not be told.
    rolled_back_here: bool,
    audience: Vec<RuleView>,
    salt: String,
    /// Of the users who came lately, a sample.
    recent_users: GroupsView,
    /// How the canary compares.
    analysis: AnalysisView,
}

#[derive(Serialize, ToSchema)]
struct PhaseView {
    percent: f64,
    /// Seconds until the next one begins by itself.
    lasts_seconds: Option<f64>,
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    action: String,
    by: String,
    reason: String,
    at: String,
}

/// A rule of an audience with its share now.
#[derive(Serialize, ToSchema)]
struct RuleView {
    name: String,
    percent: f64,
    follows_phase: bool,
    /// Of the users for whom this rule decides.
    compared: ComparedView,
}

/// An entry of history.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryView {
    #[serde(flatten)]
    change: ToldChange,
    /// The release as written, where that was new.
    #[schema(value_type = Option<Object>)]
    rules: Option<serde_json::Value>,
}

impl ReleaseView {
    pub(super) fn of(shared: &Shared, snapshot: &Snapshot, id: ReleaseId, release: &CompiledRelease) -> Self {
        let comparison = snapshot.traffic.comparison(id);
        let stratum = |place: usize| Some(&**comparison?.strata().get(place)?);
        let users = comparison.map(|comparison| comparison.recent_users()).unwrap_or_default();
        let reports = shared.releases.reports.load();
        let (rules, record) = (release.assigner.rules(), release.record.as_deref());
        let state = snapshot.table.context().state(rules);
        let (now_ms, is_before) = (moment::unix_ms(), release.assigner.preflight().is_some());
        let audience = rules.audience().iter().enumerate().map(|(index, rule)| RuleView {
            name: rule.name.to_string(),
            percent: number(release.assigner.share(index)),
            follows_phase: rule.share == Share::Phase,
            compared: ComparedView::of(stratum(index), is_before),
        });
        Self {
            name: rules.name().to_string(),
            stable: rules.stable().to_string(),
            canary: rules.canary().to_string(),
            status: state.status.as_str(),
            percent: number(state.percent),
            phase: state.phase(rules).map(|index| index + 1),
            phases: rules.phases().iter().map(PhaseView::of).collect(),
            number: record.map_or(0, |record| record.number),
            since: record.map(|record| time(record.since_ms)),
            phase_seconds: record.map_or(0.0, |record| seconds(record.clock.shows_ms(now_ms))),
            next_phase_in_seconds: record
                .and_then(|record| record.time_left(rules, now_ms))
                .map(|left| left.as_secs_f64()),
            hold: record.and_then(|record| record.hold).map(|hold| hold.as_str()),
            headroom: HeadroomView::of(shared, rules, state),
            epoch: record.map_or(0, |record| record.epoch),
            last: record.map(ChangeView::of),
            rolled_back_here: shared.is_rolled_back_here(rules.name()),
            audience: audience.collect(),
            salt: rules.sticky().salt.to_string(),
            recent_users: GroupsView::of(&users),
            analysis: AnalysisView::of(rules, record, reports.get(rules.name()).map(|finding| &**finding), &users),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl PhaseView {
    fn of(phase: &Phase) -> Self {
        Self { percent: number(phase.percent), lasts_seconds: phase.lasts.map(|lasts| lasts.as_secs_f64()) }
    }
}

impl ChangeView {
    fn of(record: &ReleaseRecord) -> Self {
        let last = &record.last;
        Self {
            action: last.action.to_string(),
            by: last.by.to_string(),
            reason: last.reason.to_string(),
            at: time(last.at_ms),
        }
    }
}

impl EntryView {
    pub(super) fn of(Entry { record, rules }: &Entry) -> Self {
        Self {
            change: ToldChange::of(record),
            rules: rules.as_ref().and_then(|rules| serde_json::to_value(rules).ok()),
        }
    }
}

/// 12.5 for 12.5 %.
pub(super) fn number(percent: routing_rules::spec::Percent) -> f64 {
    f64::from(percent.basis_points()) / 100.0
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
