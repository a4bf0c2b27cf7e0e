//! A change of a release, as other programs are told of it: by the admin API and by webhooks, in the same words.

use routing_rules::release::ReleaseRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::time;

/// What was done, and how the release was from then on.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub struct ToldChange {
    /// Counts the changes of a release.
    number: u64,
    action: String,
    by: String,
    reason: String,
    at: String,
    /// `running`, `paused`, `rolled_back` or `completed`.
    status: &'static str,
    /// The share of rules that follow the phases.
    percent: f64,
    /// What keeps it from going on.
    hold: Option<&'static str>,
    /// Counts the edits of its rules.
    epoch: u32,
    stable: String,
    canary: String,
}

impl ToldChange {
    /// The change that a record is about.
    pub fn of(record: &ReleaseRecord) -> Self {
        let ReleaseRecord { number, state, hold, epoch, stable, canary, last, .. } = record;
        Self {
            number: *number,
            action: last.action.to_string(),
            by: last.by.to_string(),
            reason: last.reason.to_string(),
            at: time(last.at_ms),
            status: state.status.as_str(),
            percent: f64::from(state.percent.basis_points()) / 100.0,
            hold: hold.map(|hold| hold.as_str()),
            epoch: *epoch,
            stable: stable.to_string(),
            canary: canary.to_string(),
        }
    }
}
