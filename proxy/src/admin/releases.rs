//! What the API shows of releases: their rules as they are in force, and how the groups have fared since the start.

use routing_rules::release::Group;
use routing_rules::rules::Share;
use serde::Serialize;

use crate::snapshot::{Comparison, Outcomes, Snapshot, Stratum};

/// A release.
#[derive(Serialize)]
pub(super) struct ReleaseView {
    name: String,
    stable: String,
    canary: String,
    phases: Vec<String>,
    audience: Vec<RuleView>,
    salt: String,
    /// Of the users who came lately, a sample.
    recent_users: GroupsView,
}

/// Users by the group they are assigned to.
#[derive(Default, Serialize)]
struct GroupsView {
    stable: usize,
    canary: usize,
}

/// A rule of an audience with its share now.
#[derive(Serialize)]
struct RuleView {
    name: String,
    percent: String,
    follows_phase: bool,
    /// Of the users for whom this rule decides.
    compared: ComparedView,
}

/// Those within the share of a rule, and those outside it.
#[derive(Serialize)]
struct ComparedView {
    canary: ArmView,
    control: ArmView,
}

/// Requests by how their first attempt ended.
#[derive(Serialize)]
struct ArmView {
    requests: u64,
    failed: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

pub(super) fn releases(snapshot: &Snapshot) -> Vec<ReleaseView> {
    let mut views: Vec<ReleaseView> = snapshot
        .table
        .releases()
        .map(|(id, release)| {
            let rules = release.assigner.rules();
            let comparison = snapshot.traffic.comparison(id);
            let audience = rules.audience().iter().enumerate().map(|(index, rule)| RuleView {
                name: rule.name.to_string(),
                percent: release.assigner.share(index).to_string(),
                follows_phase: rule.share == Share::Phase,
                compared: compared(
                    comparison.and_then(|comparison| comparison.strata().get(index)).map(|stratum| &**stratum),
                ),
            });
            ReleaseView {
                name: rules.name().to_string(),
                stable: rules.stable().to_string(),
                canary: rules.canary().to_string(),
                phases: rules.phases().iter().map(ToString::to_string).collect(),
                audience: audience.collect(),
                salt: rules.sticky().salt.to_string(),
                recent_users: comparison.map(|comparison| recent_users(comparison)).unwrap_or_default(),
            }
        })
        .collect();
    views.sort_by(|one, other| one.name.cmp(&other.name));
    views
}

fn recent_users(comparison: &Comparison) -> GroupsView {
    let users = comparison.recent_users();
    let canary = users.iter().filter(|user| user.group == Group::Canary).count();
    GroupsView { stable: users.len() - canary, canary }
}

fn compared(stratum: Option<&Stratum>) -> ComparedView {
    let totals = stratum.map(Stratum::totals).unwrap_or_default();
    ComparedView { canary: arm(&totals.canary), control: arm(&totals.control()) }
}

fn arm(outcomes: &Outcomes) -> ArmView {
    ArmView {
        requests: outcomes.requests(),
        failed: outcomes.failed,
        mean_ms: outcomes.mean_ms(),
        p50_ms: outcomes.quantile_ms(0.5),
        p99_ms: outcomes.quantile_ms(0.99),
    }
}
