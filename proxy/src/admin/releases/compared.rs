//! How the groups of a release have fared since the start, as the API shows it.

use routing_rules::release::Group;
use serde::Serialize;
use utoipa::ToSchema;

use crate::snapshot::{Outcomes, RecentUser, Stratum};

/// Users by the group they are assigned to.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct GroupsView {
    stable: usize,
    canary: usize,
}

/// Those within the share of a rule, and those outside it.
#[derive(Serialize, ToSchema)]
pub(super) struct ComparedView {
    canary: ArmView,
    control: ArmView,
}

/// Requests by how their first attempt ended.
#[derive(Serialize, ToSchema)]
struct ArmView {
    requests: u64,
    failed: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl GroupsView {
    pub(super) fn of(users: &[RecentUser]) -> Self {
        let canary = users.iter().filter(|user| user.group == Group::Canary).count();
        Self { stable: users.len() - canary, canary }
    }
}

impl ComparedView {
    /// Before anybody is in the canary group, all that was counted is of users of stable.
    pub(super) fn of(stratum: Option<&Stratum>, is_before: bool) -> Self {
        let totals = stratum.map(Stratum::totals).unwrap_or_default();
        let (mut control, mut canary) = (totals.control(), totals.canary);
        if is_before {
            control.add(&std::mem::take(&mut canary));
        }
        Self { canary: ArmView::of(&canary), control: ArmView::of(&control) }
    }
}

impl ArmView {
    fn of(outcomes: &Outcomes) -> Self {
        Self {
            requests: outcomes.requests(),
            failed: outcomes.failed,
            mean_ms: outcomes.mean_ms(),
            p50_ms: outcomes.quantile_ms(0.5),
            p99_ms: outcomes.quantile_ms(0.99),
        }
    }
}
