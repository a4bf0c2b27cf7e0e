//! One release in one window, as all who reported saw it.

use std::collections::BTreeMap;

use routing_rules::analysis::{Arm, Histogram, Record};
use routing_rules::rules::Release;

use super::observed::{Seen, Stage};
use super::reporter::Report;
use super::sixteenths::Sixteenths;

/// The sum of what was reported.
pub(super) struct Total {
    /// Where the release was for those who know its newest change.
    pub(super) stage: Stage,
    /// Whether it was there in all of the window; otherwise it cannot be judged by it.
    pub(super) is_whole: bool,
    pub(super) rules: BTreeMap<Box<str>, Record>,
    pub(super) block: Option<Box<Sixteenths>>,
    /// How many should have reported and did not, or of another stage.
    pub(super) missing: u32,
    /// Reports of earlier windows that came too late for them.
    pub(super) late: u32,
}

/// All control users of a window. Before a release the users who come in first are none of them, though they are on stable, too: what
/// they are measured by must not depend on them.
pub(super) struct Control {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) latencies: Histogram,
}

/// Sums up what was reported of a release with these rules, while so many instances did not report at all. `None` if nobody
/// says anything of it.
pub(super) fn total(rules: &Release, reports: &[&Report], absent: u32) -> Option<Total> {
    let name = rules.name();
    // What is not named in a report that has no room left may be missing there.
    let is_left_out = |report: &&&Report| report.left_out > 0 && !report.releases.contains_key(name);
    let left_out = reports.iter().filter(is_left_out).count();
    let (seen, foreign): (Vec<&Seen>, Vec<&Seen>) =
        reports.iter().filter_map(|report| report.releases.get(name)).partition(|seen| is_of(&seen.stage, rules));
    let stage = seen.iter().map(|seen| &seen.stage).max_by_key(|stage| stage.number)?.clone();
    let (usable, others): (Vec<&Seen>, Vec<&Seen>) =
        seen.into_iter().partition(|seen| seen.is_whole && seen.stage.is_like(&stage));
    let is_whole = !usable.is_empty();
    let unusable = if is_whole { others.len() } else { 0 };
    let missing = u32::try_from(left_out + foreign.len() + unusable).unwrap_or(u32::MAX).saturating_add(absent);
    let mut total = Total { stage, is_whole, rules: BTreeMap::new(), block: None, missing, late: 0 };
    for seen in if is_whole { usable } else { others } {
        total.add(seen);
    }
    Some(total)
}

impl Total {
    fn add(&mut self, seen: &Seen) {
        for (rule, record) in &seen.rules {
            let sum = self.rules.entry(rule.clone()).or_default();
            // Instances may have met the same ones, so there are as many at least as the one that met most has seen.
            let most = |sum: &Arm, one: &Arm| sum.failing_users.max(one.failing_users);
            let (canary, control) = (most(&sum.canary, &record.canary), most(&sum.control, &record.control));
            sum.add(record);
            (sum.canary.failing_users, sum.control.failing_users) = (canary, control);
        }
        if let Some(block) = &seen.block {
            self.block.get_or_insert_default().add(block);
        }
    }

    pub(super) fn control(&self) -> Control {
        let mut sum = Control { requests: 0, failed: 0, latencies: Histogram::default() };
        for record in self.rules.values() {
            sum.requests = sum.requests.saturating_add(record.control.requests);
            sum.failed = sum.failed.saturating_add(record.control.failed);
            sum.latencies.add_all(&record.control.latencies);
        }
        sum
    }
}

fn is_of(stage: &Stage, rules: &Release) -> bool {
    stage.stable == *rules.stable() && stage.canary == *rules.canary()
}
