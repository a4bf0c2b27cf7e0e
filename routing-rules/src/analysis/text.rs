//! A report in sentences, for the person who runs a release: what was seen, what follows, and what is still missing.

use super::metric::Metric;
use super::{
    Analysis, Division, Latency, Limits, MetricReport, Missing, Newcomers, Preflight, PreflightReport, Report, Verdict,
};

/// What there is to say.
pub(super) fn of(report: &Report, analysis: &Analysis) -> String {
    let limits = |metric: Metric| analysis.settings.limits(metric);
    let sentences = match report.verdict {
        Verdict::RolledBack(metric) => vec![seen(report, metric, limits(metric)), proof(report)],
        Verdict::HoldData(missing) => vec![what_is_missing(missing), STAYS.to_owned()],
        Verdict::HoldCommon => vec![common(analysis), STAYS.to_owned()],
        Verdict::Suspect(metric) => {
            let evidence =
                format!("Evidence {} of {} for a rollback.", number(report.evidence), number(report.threshold));
            vec![seen(report, metric, limits(metric)), evidence, STAYS.to_owned()]
        }
        Verdict::Promote => {
            let next = f64::from(analysis.state.phase.next_share()) / 100.0;
            vec![format!("Shown safe for {} %: {}.", short(next), all(report))]
        }
        Verdict::Inconclusive => vec![
            format!("Not decided after {}: {}.", duration(report.phase_s), not_yet(report)),
            STAYS.to_owned(),
            "Let the phase last longer, promote it or roll it back.".to_owned(),
        ],
        Verdict::Observing => vec![observing(report, analysis)],
    };
    sentences.join(" ")
}

/// What there is to say before a release.
pub(super) fn of_preflight(report: &PreflightReport, preflight: &Preflight) -> String {
    let Newcomers { share, lasts_s, .. } = report.newcomers;
    let (share, whole) = (short(f64::from(share) / 100.0), duration(lasts_s));
    let evidence = format!("evidence {} of {}", number(report.evidence), number(report.threshold));
    let said = match report.division {
        Division::Comparing if !preflight.has_begun() => {
            format!(
                "it is not known yet what stable is like. Then the next {share} % are compared with all others for {whole}."
            )
        }
        Division::Comparing => {
            format!(
                "{} of {whole}, the next {share} % are like all others so far ({evidence}).",
                duration(report.seconds)
            )
        }
        Division::Even => format!("in {whole} the next {share} % were like all others ({evidence})."),
        Division::NewSalt | Division::Uneven => {
            let seen = report.trigger.map(|metric| divided(metric, preflight)).unwrap_or_default();
            let then = match (report.division, report.newcomers.may_have_another) {
                (Division::NewSalt, _) => "With another salt others come first.",
                (_, true) => "So were those whom other salts chose. Look into it, or promote the release by hand.",
                (_, false) => "Its rules allow no other salt. Look into it, or promote the release by hand.",
            };
            format!(
                "the next {share} % are unlike all others, and all are on stable. {seen}{}. {then}",
                capital(&evidence)
            )
        }
    };
    format!("Before the release: {said}")
}

/// `Errors: 1.60 % (12/750), all others 0.44 % (30/6750). `
fn divided(metric: Metric, preflight: &Preflight) -> String {
    let counts = preflight.counts(metric);
    let edge = preflight.state().edges().and_then(|edges| edges.of(metric));
    let shifted = edge.map(|edge| edge.slower_by(preflight.shift(metric)));
    let next = group(counts.canary_events, counts.canary, shifted.map(Latency::end_ms));
    let others = group(counts.control_events, counts.control, edge.map(Latency::end_ms));
    format!("{}: {next}, all others {others}. ", title(metric))
}

const STAYS: &str = "The percent stays.";

/// `Errors: canary 1.60 % (12/750), stable 0.44 % (30/6750), 3.6 times; allowed 1.25 times + 0.01 pt.`
fn seen(report: &Report, metric: Metric, limits: &Limits) -> String {
    let Some(metric) = report.metric(metric) else { return format!("{metric}: not judged any more.") };
    let counts = metric.counts;
    let canary = group(counts.canary_events, counts.canary, metric.canary_edge_ms);
    let stable = group(counts.control_events, counts.control, metric.control_edge_ms);
    let times = metric.ratio.map(|ratio| format!(", {ratio:.1} times")).unwrap_or_default();
    let allowed = match limits.rollback_difference {
        difference if difference > 0.0 => format!("{} times + {} pt", limits.rollback_ratio, short(difference * 100.0)),
        _ => format!("{} times", limits.rollback_ratio),
    };
    let name = title(metric.metric);
    let seen = format!("{name}: canary {canary}, stable {stable}{times}; allowed {allowed}.");
    match difference(report).filter(|_| metric.metric == Metric::Errors) {
        Some(difference) => format!("{seen} {difference}"),
        None => seen,
    }
}

fn title(metric: Metric) -> &'static str {
    if metric == Metric::Errors { "Errors" } else { metric.token() }
}

/// `1.60 % (12/750)`, for latency `1.60 % slower than 120 ms (12/750)`.
fn group(events: u64, requests: u64, edge_ms: Option<f64>) -> String {
    if requests == 0 {
        return "nothing".to_owned();
    }
    let edge = edge_ms.map(|edge| format!(" slower than {} ms", number(edge))).unwrap_or_default();
    format!("{}{edge} ({events}/{requests})", percent(events as f64 / requests as f64))
}

fn difference(report: &Report) -> Option<String> {
    let (lower, upper) = (report.difference.lower, report.difference.upper);
    if lower > 0.0 {
        return Some(format!("Difference at least {} pt.", points(lower)));
    }
    (upper < 1.0).then(|| format!("Difference at most {} pt.", points(upper)))
}

fn proof(report: &Report) -> String {
    format!(
        "Evidence {} >= {}: a false alarm has probability <= {} % over this release.",
        number(report.evidence),
        number(report.threshold),
        short(100.0 / report.threshold)
    )
}

fn what_is_missing(missing: Missing) -> String {
    match missing {
        Missing::Windows(seconds) => format!("Nothing has been counted for {seconds} s."),
        Missing::Records(seconds) => format!("Some proxy has not reported for {seconds} s."),
        Missing::Canary(requests) => {
            format!("The canary got no request where about {requests} were to be expected.")
        }
    }
}

fn common(analysis: &Analysis) -> String {
    let (requests, failed) = analysis.state.recent.total();
    let rate = failed as f64 / requests.max(1) as f64;
    format!(
        "Stable itself fails: errors {} in the last minute ({failed}/{requests}), {} is usual and {} the limit. It is an \
         outage, or damage that both have.",
        percent(rate),
        percent(analysis.state.usual_failure_rate),
        percent(analysis.common_rate())
    )
}

fn observing(report: &Report, analysis: &Analysis) -> String {
    let min_s = u64::from(analysis.settings.options().min_phase_s);
    match report.metrics.iter().all(MetricReport::is_safe) {
        true => format!("Shown safe so far: {}. The phase lasts {} at least.", all(report), duration(min_s)),
        false => format!("{}.", capital(&not_yet(report))),
    }
}

/// What has not been shown, and when it may be: `p99 not yet shown safe, G = 7.1 of 20, about 4 min`.
fn not_yet(report: &Report) -> String {
    let open = report.metrics.iter().filter(|metric| !metric.is_safe());
    let open = open.map(|metric| {
        let (name, needed) = (metric.metric, number(metric.promotion_threshold));
        let left = metric.promotion_in_s.map(|left_s| format!(", about {}", duration(left_s))).unwrap_or_default();
        let unknown = metric.metric != Metric::Errors && metric.control_edge_ms.is_none();
        match unknown {
            true => format!("{name} not judged, stable had no answers before the phase"),
            false => format!("{name} not yet shown safe, G = {} of {needed}{left}", number(metric.promotion)),
        }
    });
    open.collect::<Vec<_>>().join("; ")
}

/// `errors G = 31.4, p50 G = 56 of 20`.
fn all(report: &Report) -> String {
    let all = report.metrics.iter().map(|metric| format!("{} G = {}", metric.metric, number(metric.promotion)));
    let needed = report.metrics.first().map_or(0.0, |metric| metric.promotion_threshold);
    format!("{} of {}", all.collect::<Vec<_>>().join(", "), number(needed))
}

/// `1.60 %`; small rates with two digits that say something.
fn percent(rate: f64) -> String {
    format!("{} %", points(rate))
}

fn points(rate: f64) -> String {
    match rate * 100.0 {
        points if points.abs() < 0.095 && points != 0.0 => number(points),
        points => format!("{points:.2}"),
    }
}

/// Two or three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{value:.1e}"),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 0.995 => short((value * 10.0).round() / 10.0),
        size if size >= 0.0095 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// As many digits as there are.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    // `p99` is a name and stays as it is.
    match chars.next() {
        Some('e') => format!("E{}", chars.as_str()),
        _ => text.to_owned(),
    }
}
