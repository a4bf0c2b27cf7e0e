//! What the analysis of a release says, as the API shows it.

use routing_rules::analysis::{MetricReport, Report};
use routing_rules::rules::{AnalysisMode, Release};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control_path::release::time;

/// How the canary is judged, and what was found.
#[derive(Serialize, ToSchema)]
pub(super) struct AnalysisView {
    /// `off`, `observe`, `guard` or `drive`.
    mode: &'static str,
    /// Nothing before the first window.
    report: Option<ReportView>,
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
    pub(super) fn of(rules: &Release, report: Option<&Report>) -> Self {
        let mode = rules.analysis().mode;
        let report = report.filter(|_| mode != AnalysisMode::Off).map(ReportView::of);
        Self { mode: mode.as_str(), report }
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
