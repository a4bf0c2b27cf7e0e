//! Counts by status class and duration, of all requests and by route and release group, as Prometheus reads them.
//!
//! Written here and not by the recorder: that takes single observations only, but what there is are counts by bucket;
//! and of ten thousand routes it would make as many keys on every scrape.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::metrics::help;
use super::names;
use crate::snapshot::{DURATION_BOUNDS, TallyTotals, TrafficIndex};

/// Labels and counts of one series; sorted, so that scrapes can be compared.
type Series = BTreeMap<String, TallyTotals>;

/// Adds all counts to the text.
pub(super) fn render(all: &TallyTotals, traffic: &TrafficIndex, text: &mut String) {
    let (routes, releases) = series(traffic);
    counts(names::ROUTE_REQUESTS, &routes, text);
    counts(names::RELEASE_REQUESTS, &releases, text);
    durations(names::REQUEST_DURATION, &Series::from([(String::new(), *all)]), text);
    durations(names::ROUTE_DURATION, &routes, text);
    durations(names::RELEASE_DURATION, &releases, text);
}

/// The series of routes and of release groups that have had a request.
fn series(traffic: &TrafficIndex) -> (Series, Series) {
    let (mut routes, mut releases) = (Series::new(), Series::new());
    for (traffic, totals) in traffic.all().map(|traffic| (traffic, traffic.totals())) {
        if totals == TallyTotals::default() {
            continue;
        }
        // Names hold nothing that a label would have to escape.
        match traffic.group() {
            None => routes.insert(format!("route=\"{}\"", traffic.name()), totals),
            Some(group) => releases.insert(format!("release=\"{}\",group=\"{group}\"", traffic.name()), totals),
        };
    }
    (routes, releases)
}

fn counts(name: &str, series: &Series, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} counter", help(name));
    for (labels, totals) in series {
        for (class, count) in CLASSES.into_iter().zip(totals.statuses).filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "{name}{{{labels},code=\"{class}\"}} {count}");
        }
    }
}

fn durations(name: &str, series: &Series, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} histogram", help(name));
    for (labels, totals) in series {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (bound, count) in DURATION_BOUNDS.iter().zip(totals.durations) {
            below += count;
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
        }
        let all: u64 = totals.durations.iter().sum();
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {all}");
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let seconds = totals.duration_us as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum{braced} {seconds}\n{name}_count{braced} {all}");
    }
}

/// The values of the label `code`.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
