//! What the analysis of a release says, as the API shows it.

use std::cmp::Reverse;

use routing_rules::analysis::{MetricReport, PreflightReport, Report};
use routing_rules::release::{Group, ReleaseRecord};
use routing_rules::rules::{AnalysisMode, Release};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control_path::release::{Finding, time};
use crate::snapshot::RecentUser;

/// How the canary is judged, and what was found.
#[derive(Serialize, ToSchema)]
pub(super) struct AnalysisView {
    /// `off`, `observe`, `guard` or `drive`.
    mode: &'static str,
    /// While nobody is in the canary group yet: whether those who come in first are like all others.
    preflight: Option<PreflightView>,
    /// Nothing before the first window.
    report: Option<ReportView>,
    /// Users whose requests failed, of those who came to this instance lately.
    failing_users: FailingView,
}

/// Users of whom a request has failed since they came in, of a sample of those who came lately.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = FailingUsers)]
struct FailingView {
    canary: usize,
    stable: usize,
    /// Of each group the last ones to come, five at most.
    samples: Vec<UserView>,
}

#[derive(Clone, Serialize, ToSchema)]
#[schema(as = FailingUser)]
struct UserView {
    /// Its place on the line from 0 to 9999.
    bucket: u16,
    /// The rule that decided for it.
    rule: Option<String>,
    group: &'static str,
    device: &'static str,
    /// Where its last request came from.
    client: String,
    last_seen: String,
}

/// How the users who come in first fare before the release, beside all others. All of them are on stable.
#[derive(Serialize, ToSchema)]
#[schema(as = Preflight)]
struct PreflightView {
    /// `comparing`, `even`, `new_salt` (others are to come in first) or `uneven` (somebody must look).
    division: &'static str,
    /// The same in words, with the figures.
    text: String,
    /// The share of those who come in first.
    percent: f64,
    /// That they are worse off. 1 says nothing.
    evidence: f64,
    /// Evidence that asks for another salt.
    threshold: f64,
    /// The metric that most of it is about.
    trigger: Option<&'static str>,
    /// How long they have been compared, and how long they are, in seconds.
    seconds: u64,
    lasts_seconds: u64,
    /// How many other salts were tried before.
    salts: u8,
}

/// What an analysis says.
#[derive(Serialize, ToSchema)]
struct ReportView {
    /// `rolled_back`, `hold_data`, `hold_common`, `suspect`, `promote`, `inconclusive` or `observing`.
    verdict: &'static str,
    /// The same in words, with the figures.
    text: String,
    /// That the canary is worse than it may be. 1 says nothing.
    evidence: f64,
    /// Evidence that rolls back.
    threshold: f64,
    /// The metric that most of it is about.
    trigger: Option<String>,
    /// How long the phase has been looked at, in seconds.
    seconds: u64,
    windows_used: u64,
    records_late: u64,
    /// The most users who came in five seconds of this phase and have met a failure in their group, by what one instance remembers.
    failing_users_canary: u64,
    failing_users_control: u64,
    /// The part of the requests whose users were told by their addresses, for want of a cookie, from 0 to 1. Users behind one address
    /// share a group.
    without_cookie: Option<f64>,
    /// When the evidence first gave rise to suspicion.
    suspect_since: Option<String>,
    /// Between these the difference of the failure rates lies, in percentage points.
    difference: DifferenceView,
    metrics: Vec<MetricView>,
}

#[derive(Serialize, ToSchema)]
struct DifferenceView {
    least: f64,
    most: f64,
}

/// One metric in this phase.
#[derive(Serialize, ToSchema)]
struct MetricView {
    /// `errors`, or a quantile of control's latency: what is slower is slow.
    name: String,
    canary: CountView,
    control: CountView,
    /// How many times control's rate the canary's is.
    ratio: Option<f64>,
    /// The evidence that the canary is good enough, and what it has to reach.
    promotion: f64,
    promotion_threshold: f64,
    /// In how many seconds it is likely to reach it.
    promotion_in_seconds: Option<u64>,
    /// How much more unevenly than by chance control's events come.
    dispersion: f64,
    slow_above_ms: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct CountView {
    /// Failures, or slow answers.
    events: u64,
    requests: u64,
}

impl AnalysisView {
    pub(super) fn of(
        rules: &Release,
        record: Option<&ReleaseRecord>,
        finding: Option<&Finding>,
        users: &[RecentUser],
    ) -> Self {
        let mode = rules.analysis().mode;
        let finding = finding.filter(|_| mode != AnalysisMode::Off);
        Self {
            mode: mode.as_str(),
            preflight: finding.zip(record).and_then(|(finding, record)| finding.before(record)).map(PreflightView::of),
            report: finding.and_then(|finding| finding.report.as_ref()).map(ReportView::of),
            failing_users: FailingView::of(rules, users),
        }
    }
}

impl PreflightView {
    fn of(report: &PreflightReport) -> Self {
        let newcomers = report.newcomers;
        Self {
            division: report.division.token(),
            text: report.text.clone(),
            percent: f64::from(newcomers.share) / 100.0,
            evidence: report.evidence,
            threshold: report.threshold,
            trigger: report.trigger.map(|metric| metric.token()),
            seconds: report.seconds,
            lasts_seconds: newcomers.lasts_s,
            salts: newcomers.salts,
        }
    }
}

impl FailingView {
    fn of(rules: &Release, users: &[RecentUser]) -> Self {
        let failing = |group| {
            let mut failing: Vec<_> = users.iter().filter(|user| user.has_failed && user.group == group).collect();
            failing.sort_by_key(|user| (Reverse(user.last_seen), user.bucket.hash()));
            failing
        };
        let (canary, stable) = (failing(Group::Canary), failing(Group::Stable));
        let first = |users: &[&RecentUser]| -> Vec<UserView> {
            users.iter().take(SAMPLES).map(|user| UserView::of(rules, user)).collect()
        };
        let samples = [first(&canary), first(&stable)].concat();
        Self { canary: canary.len(), stable: stable.len(), samples }
    }
}

impl UserView {
    fn of(rules: &Release, user: &RecentUser) -> Self {
        let rule = user.rule.and_then(|place| rules.audience().get(place));
        Self {
            bucket: user.bucket.line(),
            rule: rule.map(|rule| rule.name.to_string()),
            group: user.group.as_str(),
            device: user.device.as_str(),
            client: user.client.to_string(),
            last_seen: time(user.last_seen.saturating_mul(1_000)),
        }
    }
}

impl ReportView {
    fn of(report: &Report) -> Self {
        Self {
            verdict: report.verdict.token(),
            text: report.text.clone(),
            evidence: report.evidence,
            threshold: report.threshold,
            trigger: report.trigger.map(|metric| metric.token().to_owned()),
            seconds: report.phase_s,
            windows_used: report.windows_used,
            records_late: report.records_late,
            failing_users_canary: report.failing_users_canary,
            failing_users_control: report.failing_users_control,
            without_cookie: report.without_cookie,
            suspect_since: report.suspect_since_s.map(|at_s| time(at_s.saturating_mul(1_000))),
            difference: DifferenceView {
                least: 100.0 * report.difference.lower,
                most: 100.0 * report.difference.upper,
            },
            metrics: report.metrics.iter().map(MetricView::of).collect(),
        }
    }
}

impl MetricView {
    fn of(report: &MetricReport) -> Self {
        let counts = report.counts;
        Self {
            name: report.metric.token().to_owned(),
            canary: CountView { events: counts.canary_events, requests: counts.canary },
            control: CountView { events: counts.control_events, requests: counts.control },
            ratio: report.ratio,
            promotion: report.promotion,
            promotion_threshold: report.promotion_threshold,
            promotion_in_seconds: report.promotion_in_s,
            dispersion: report.dispersion,
            slow_above_ms: report.control_edge_ms,
        }
    }
}

/// Of each group.
const SAMPLES: usize = 5;
