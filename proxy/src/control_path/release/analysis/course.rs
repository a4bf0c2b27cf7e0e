//! One release's analysis, from its first window to its end.

use routing_rules::analysis::{self, Analysis, Report, Start, State, Window};
use routing_rules::release::{ReleaseRecord, Status};
use routing_rules::rules::Release;
use routing_rules::spec::Percent;
use serde::{Deserialize, Serialize};

use super::observed::Seen;
use super::past::Past;

/// What is known of a release. Control is looked at from the beginning, also while there is no canary.
pub(super) struct Course {
    past: Past,
    run: Option<Run>,
    /// Of an earlier process, until it is known whether it is of this run.
    stored: Option<StoredAnalysis>,
}

/// An analysis under way: it begins with the first phase, and again after a rollback.
struct Run {
    analysis: Analysis,
    /// The number of the record it began with or after.
    since: u64,
    /// The state of the release that the last window was of.
    percent: Percent,
    epoch: u32,
}

/// An analysis, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnalysis {
    since: u64,
    percent: Percent,
    epoch: u32,
    state: State,
}

impl Course {
    pub(super) fn new(stored: Option<StoredAnalysis>) -> Self {
        Self { past: Past::default(), run: None, stored }
    }

    /// Takes a window.
    pub(super) fn take(&mut self, rules: &Release, record: &ReleaseRecord, window: u64, seen: Seen) {
        let is_block_full = self.past.take(window, &seen);
        match record.state.status {
            Status::Running | Status::Paused => {}
            // What was found stays to be seen. Whoever resumes it begins anew.
            Status::RolledBack | Status::Completed => {
                self.stored = None;
                if let Some(run) = &mut self.run {
                    run.since = 0;
                }
                return;
            }
        }
        let Some(phase) = phase(rules, record) else { return };
        self.go_on(rules, record);
        let edges = self.past.edges().filter(|_| self.past.knows_enough());
        let Some(run) = self.run.as_mut().filter(|run| run.since > 0) else {
            let start = Start {
                phases: compared_phases(rules),
                first: phase,
                edges,
                usual_failure_rate: self.past.usual_failure_rate(),
                window,
            };
            let analysis = Analysis::new(rules.analysis().settings.clone(), start);
            let (percent, epoch) = (record.state.percent, record.epoch);
            self.run = Some(Run { analysis, since: record.number, percent, epoch });
            return;
        };
        if is_block_full {
            run.analysis.set_dispersion(self.past.dispersion(run.analysis.state().edges().as_ref()));
        }
        if run.epoch != record.epoch {
            run.epoch = record.epoch;
            // A window that is done with cannot come again: the clock was set back.
            let _ = run.analysis.edit(window);
            return;
        }
        if run.percent != record.state.percent || run.analysis.state().phase() != phase {
            run.percent = record.state.percent;
            run.analysis.begin_phase(phase, edges);
            // In this window both shares were in force.
            return;
        }
        if let Some(edges) = edges.filter(|_| run.analysis.state().edges().is_none()) {
            run.analysis.fix_edges(edges);
        }
        let strata = seen.rules.into_iter();
        let window = strata.fold(Window::new(window), |window, rule| window.with(&rule.name, &rule.record));
        let _ = run.analysis.close(&window);
    }

    /// Takes up what an earlier process knew of this very run.
    fn go_on(&mut self, rules: &Release, record: &ReleaseRecord) {
        let Some(stored) = self.stored.take() else { return };
        if stored.since <= record.number && stored.epoch <= record.epoch && stored.since > 0 {
            let StoredAnalysis { since, percent, epoch, state } = stored;
            let analysis = Analysis::resume(rules.analysis().settings.clone(), state);
            self.run = Some(Run { analysis, since, percent, epoch });
        }
    }

    /// The analysis of a release in this state, if it is one of it.
    pub(super) fn analysis_of(&self, record: &ReleaseRecord) -> Option<&Analysis> {
        let run = self.run.as_ref().filter(|run| run.since > 0)?;
        let is_of = run.percent == record.state.percent && run.epoch == record.epoch;
        (is_of && record.state.is_active()).then_some(&run.analysis)
    }

    pub(super) fn report(&self, unix_s: u64) -> Option<Report> {
        self.run.as_ref().map(|run| run.analysis.report(unix_s))
    }

    pub(super) fn stored(&self) -> Option<StoredAnalysis> {
        let Run { analysis, since, percent, epoch } = self.run.as_ref()?;
        Some(StoredAnalysis { since: *since, percent: *percent, epoch: *epoch, state: analysis.state().clone() })
    }
}

/// The phase of a release as its analysis sees it. `None` if there is no canary, or no control.
pub(super) fn phase(rules: &Release, record: &ReleaseRecord) -> Option<analysis::Phase> {
    let percent = record.state.percent;
    let place = rules.phases().iter().position(|phase| phase.percent == percent);
    let number = place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0);
    let next = rules.phases().iter().map(|phase| phase.percent).find(|next| *next > percent);
    analysis::Phase::new(number, percent.basis_points(), next.unwrap_or(Percent::ALL).basis_points())
}

/// How many phases leave somebody to compare with.
fn compared_phases(rules: &Release) -> u32 {
    let compared = rules.phases().iter().filter(|phase| phase.percent > Percent::ZERO && phase.percent < Percent::ALL);
    u32::try_from(compared.count()).unwrap_or(u32::MAX).max(1)
}
