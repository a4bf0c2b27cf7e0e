//! One release's analysis, from its first window to its end.

use std::sync::Arc;

use routing_rules::analysis::{self, Analysis, Report, Settings, Start, State, WINDOW_S, Window};
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::{Name, Release};
use routing_rules::spec::Percent;
use serde::{Deserialize, Serialize};

use super::observed::Seen;
use super::past::Past;

/// What is known of a release. Control is looked at from the beginning, also while there is no canary.
pub(super) struct Course {
    /// Of which versions.
    stable: Name,
    canary: Name,
    past: Past,
    run: Option<Run>,
    /// Of an earlier process, until it is known whether it is of this run.
    stored: Option<StoredAnalysis>,
    /// As it was when the last window was taken.
    report: Option<Arc<Report>>,
}

/// An analysis under way: it begins with the first users of the canary, and anew after a rollback.
struct Run {
    analysis: Analysis,
    /// With which change of the release that was.
    began: u64,
    /// What the last window was of.
    percent: Percent,
    epoch: u32,
}

/// An analysis, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnalysis {
    began: u64,
    percent: Percent,
    epoch: u32,
    state: State,
}

impl Course {
    pub(super) fn new(rules: &Release, stored: Option<StoredAnalysis>) -> Self {
        let (stable, canary) = (rules.stable().clone(), rules.canary().clone());
        Self { stable, canary, past: Past::default(), run: None, stored, report: None }
    }

    /// Whether it is about these versions.
    pub(super) fn is_of(&self, rules: &Release) -> bool {
        self.stable == *rules.stable() && self.canary == *rules.canary()
    }

    /// Takes a window.
    pub(super) fn take(&mut self, rules: &Release, record: &ReleaseRecord, window: u64, seen: Seen, unix_s: u64) {
        if record.state.is_active()
            && let Some(phase) = phase(rules, record)
        {
            self.judge(rules, record, phase, window, &seen);
            self.report = self.run.as_ref().map(|run| Arc::new(run.analysis.report(unix_s)));
        }
        // What is known of control must not depend on what it is compared with: it is learned afterwards.
        let is_block_full =
            self.past.take(window, &seen, self.run.as_ref().and_then(|run| run.analysis.state().edges()));
        let Some(run) = &mut self.run else { return };
        if self.past.knows_enough() {
            run.analysis.fix_usual_failure_rate(self.past.usual_failure_rate());
            if run.analysis.state().edges().is_none()
                && let Some(edges) = self.past.edges()
            {
                run.analysis.fix_edges(edges);
            }
        }
        if is_block_full {
            run.analysis.set_dispersion(self.past.dispersion());
        }
    }

    fn judge(&mut self, rules: &Release, record: &ReleaseRecord, phase: analysis::Phase, window: u64, seen: &Seen) {
        let settings = &rules.analysis().settings;
        self.go_on(settings, record);
        let past = &self.past;
        let edges = || if past.knows_enough() { past.edges() } else { None };
        let Some(run) = self.run.as_mut().filter(|run| run.began == record.began) else {
            let usual_failure_rate = if past.knows_enough() { past.usual_failure_rate() } else { UNKNOWN };
            let start = Start {
                phases: u32::try_from(compared_phases(rules).count()).unwrap_or(u32::MAX),
                first: phase,
                edges: edges(),
                usual_failure_rate,
                window,
            };
            let mut analysis = Analysis::new(settings.clone(), start);
            analysis.set_dispersion(past.dispersion());
            let (began, percent, epoch) = (record.began, record.state.percent, record.epoch);
            self.run = Some(Run { analysis, began, percent, epoch });
            return;
        };
        run.analysis.set_settings(settings.clone());
        if run.epoch != record.epoch {
            run.epoch = record.epoch;
            // A window that is done with cannot come again: the clock was set back.
            let _ = run.analysis.edit(window);
            return;
        }
        let is_gap = window > run.analysis.state().window() + LONGEST_GAP;
        if run.percent != record.state.percent || run.analysis.state().phase() != phase || is_gap {
            run.percent = record.state.percent;
            run.analysis.begin_phase(phase, edges());
            // Not used, because both shares were in force in it; but it has been.
            let _ = run.analysis.pass(window);
            return;
        }
        let strata = seen.rules.iter();
        let window = strata.fold(Window::new(window), |window, rule| window.with(&rule.name, &rule.record));
        let _ = run.analysis.close(&window);
    }

    /// Takes up what an earlier process knew of this very run.
    fn go_on(&mut self, settings: &Settings, record: &ReleaseRecord) {
        let Some(stored) = self.stored.take() else { return };
        if stored.began == record.began && stored.epoch <= record.epoch {
            let StoredAnalysis { began, percent, epoch, state } = stored;
            let analysis = Analysis::resume(settings.clone(), state);
            self.run = Some(Run { analysis, began, percent, epoch });
        }
    }

    /// The analysis of a release in this state, if there is one of just that.
    pub(super) fn analysis_of(&self, rules: &Release, record: &ReleaseRecord) -> Option<&Analysis> {
        let run = self.run.as_ref()?;
        let is_of = (run.began, run.percent, run.epoch) == (record.began, record.state.percent, record.epoch);
        let is_this_phase = phase(rules, record) == Some(run.analysis.state().phase());
        (is_of && is_this_phase && record.state.is_active() && self.is_of(rules)).then_some(&run.analysis)
    }

    /// What was found last.
    pub(super) fn report(&self) -> Option<&Arc<Report>> {
        self.report.as_ref()
    }

    pub(super) fn stored(&self) -> Option<StoredAnalysis> {
        let Some(Run { analysis, began, percent, epoch }) = &self.run else { return self.stored.clone() };
        Some(StoredAnalysis { began: *began, percent: *percent, epoch: *epoch, state: analysis.state().clone() })
    }
}

/// The phase of a release as its analysis sees it. `None` if there is no canary, or no control.
pub(super) fn phase(rules: &Release, record: &ReleaseRecord) -> Option<analysis::Phase> {
    let percent = record.state.percent;
    let place = compared_phases(rules).position(|phase| phase == percent);
    let number = place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0);
    let next = rules.phases().iter().map(|phase| phase.percent).find(|next| *next > percent);
    analysis::Phase::new(number, percent.basis_points(), next.unwrap_or(Percent::ALL).basis_points())
}

/// The phases that leave somebody to compare with.
fn compared_phases(rules: &Release) -> impl Iterator<Item = Percent> {
    let percents = rules.phases().iter().map(|phase| phase.percent);
    percents.filter(|percent| *percent > Percent::ZERO && *percent < Percent::ALL)
}

/// Control's failure rate, as long as nobody knows it.
const UNKNOWN: f64 = 1.0;

/// After more windows than this without any, a phase begins anew: nobody knows what was meanwhile.
const LONGEST_GAP: u64 = 60 / WINDOW_S;
