//! What is shown of an analysis: numbers for programs, and a text for people (specification of the analysis, §8).

use super::{Analysis, Counts, Interval, Metric, Verdict, WINDOW_S, text};

/// An analysis as it stands. Everything in it is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where the release stands.
    pub verdict: Verdict,
    /// The phase, 0 for a percent that no phase has.
    pub phase: u32,
    /// The canary's share, in hundredths of a percent.
    pub share: u16,
    /// How long the phase has lasted, in seconds, without windows that are missing.
    pub phase_s: u64,
    /// The evidence that the canary is worse than it may be. 1 says nothing.
    pub evidence: f64,
    /// Evidence that rolls back.
    pub threshold: f64,
    /// The metric that most of the evidence is about.
    pub trigger: Option<Metric>,
    /// What is judged, metric by metric.
    pub metrics: Vec<MetricReport>,
    /// The difference of the failure rates in this phase.
    pub difference: Interval,
    /// Windows that were used.
    pub windows_used: u64,
    /// Records that came too late to be used.
    pub records_late: u64,
    /// When the evidence first gave rise to suspicion, in seconds since 1970.
    pub suspect_since_s: Option<u64>,
    /// The most users with a failure in one window of this phase: there are at least so many.
    pub failing_users_canary: u64,
    /// The same of control.
    pub failing_users_control: u64,
    /// The part of requests that came without a cookie and was assigned by address, from 0 to 1.
    pub without_cookie: Option<f64>,
    /// All of this in words.
    pub text: String,
}

/// One metric in this phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricReport {
    /// Which one.
    pub metric: Metric,
    /// Failures, or slow answers, of both arms.
    pub counts: Counts,
    /// How many times control's rate the canary's is, if both are known.
    pub ratio: Option<f64>,
    /// The evidence that the canary is good enough, G.
    pub promotion: f64,
    /// What it must reach.
    pub promotion_threshold: f64,
    /// In how many seconds it is likely to reach it, if it grows.
    pub promotion_in_s: Option<u64>,
    /// How much more unevenly than by chance events come, at least 1.
    pub dispersion: f64,
    /// Slower answers of control are slow, in ms.
    pub control_edge_ms: Option<f64>,
    /// Slower answers of the canary are slow, in ms.
    pub canary_edge_ms: Option<f64>,
}

impl Analysis {
    /// What there is to show at a moment, in seconds since 1970.
    pub fn report(&self, unix_s: u64) -> Report {
        let (state, shown) = (&self.state, &self.state.shown);
        let mut report = Report {
            verdict: self.verdict_at(unix_s),
            phase: state.phase.number(),
            share: state.phase.share(),
            phase_s: self.phase_s(),
            evidence: finite_exp(state.rollback.ln_evidence()),
            threshold: 1.0 / self.settings.options().alpha,
            trigger: state.rollback.trigger(),
            metrics: self.settings.judged().map(|metric| self.report_of(metric)).collect(),
            difference: state.difference.interval(),
            windows_used: shown.used,
            records_late: shown.late,
            suspect_since_s: shown.suspect.map(|window| window.saturating_mul(WINDOW_S)),
            failing_users_canary: shown.failing_users[0],
            failing_users_control: shown.failing_users[1],
            without_cookie: rate(shown.without_cookie, shown.requests),
            text: String::new(),
        };
        report.text = text::of(&report, self);
        report
    }

    fn report_of(&self, metric: Metric) -> MetricReport {
        let state = &self.state;
        let counts = state.counts[metric];
        let edge = state.edges.and_then(|edges| edges.of(metric));
        let shift = self.settings.limits(metric).rollback_shift;
        let windows_left = state.promotion.windows_left(metric, &self.settings);
        MetricReport {
            metric,
            counts,
            ratio: counts.canary_rate().zip(counts.control_rate()).and_then(|(canary, control)| {
                let ratio = canary / control;
                ratio.is_finite().then_some(ratio)
            }),
            promotion: finite_exp(state.promotion.ln_evidence(metric)),
            promotion_threshold: 1.0 / self.settings.options().beta,
            promotion_in_s: windows_left.map(|windows| (windows * WINDOW_S as f64).ceil() as u64),
            dispersion: state.dispersion.of_metric(metric),
            control_edge_ms: edge.map(super::Latency::end_ms),
            canary_edge_ms: edge.map(|edge| edge.slower_by(shift).end_ms()),
        }
    }
}

impl Report {
    /// What is said of a metric, if it is judged.
    pub fn metric(&self, metric: Metric) -> Option<&MetricReport> {
        self.metrics.iter().find(|report| report.metric == metric)
    }
}

impl MetricReport {
    /// Whether the canary is shown to be good enough in this metric.
    pub fn is_safe(&self) -> bool {
        self.promotion >= self.promotion_threshold
    }
}

impl Counts {
    /// The canary's events for each request, from 0 to 1; none without requests.
    pub fn canary_rate(&self) -> Option<f64> {
        rate(self.canary_events, self.canary)
    }

    /// The same of control.
    pub fn control_rate(&self) -> Option<f64> {
        rate(self.control_events, self.control)
    }
}

fn rate(events: u64, requests: u64) -> Option<f64> {
    (requests > 0).then(|| events as f64 / requests as f64)
}

/// Beyond the largest number there is nothing to tell.
pub(super) fn finite_exp(logarithm: f64) -> f64 {
    logarithm.exp().min(f64::MAX)
}
