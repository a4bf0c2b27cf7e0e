//! One release's analysis, from its first window to its end.

use std::collections::HashMap;

use routing_rules::analysis::{self, Analysis, Edges, Settings, Start, WINDOW_S, Window};
use routing_rules::rules::{Name, Release};

use super::before::Before;
use super::known::{Known, StoredAnalysis};
use super::past::Past;
use super::run::{Run, compared_phases, phase};
use super::total::Total;

/// What is known of a release. Control is looked at from the beginning, also while there is no canary.
pub(super) struct Course {
    /// Of which versions.
    pub(super) stable: Name,
    pub(super) canary: Name,
    /// The last window it has taken.
    pub(super) window: Option<u64>,
    pub(super) past: Past,
    known: Known,
    /// Of an earlier process, until it is known whether it is of this run.
    stored: StoredAnalysis,
}

/// What is known of all releases.
pub(super) type Courses = HashMap<Name, Course>;

impl Course {
    pub(super) fn new(rules: &Release, stored: StoredAnalysis) -> Self {
        Self::resume((rules.stable().clone(), rules.canary().clone()), None, Past::default(), stored)
    }

    /// Goes on behind a window.
    pub(super) fn resume(
        (stable, canary): (Name, Name),
        window: Option<u64>,
        past: Past,
        stored: StoredAnalysis,
    ) -> Self {
        Self { stable, canary, window, past, known: Known::default(), stored }
    }

    /// Whether it is about these versions.
    pub(super) fn is_of(&self, rules: &Release) -> bool {
        self.stable == *rules.stable() && self.canary == *rules.canary()
    }

    /// Whether a window is still to come.
    pub(super) fn awaits(&self, window: u64) -> bool {
        self.window.is_none_or(|last| window > last)
    }

    /// Whether it has taken windows that are not over, because the clock was ahead then and was set back. `now` is the one under way.
    pub(super) fn is_ahead(&self, now: u64) -> bool {
        self.window.is_some_and(|last| last > now + AHEAD)
    }

    /// The clock was set back: windows after this one are still to come.
    pub(super) fn set_back(&mut self, rules: &Release, window: u64) {
        self.window = Some(window);
        self.past.set_back(window);
        (self.known.before, self.stored.before) = (None, None);
        self.stored.run = self.stored.run.take().map(|stored| {
            let mut run = Run::resume(rules.analysis().settings.clone(), stored);
            run.analysis.set_back(window);
            run.stored()
        });
        if let Some(run) = &mut self.known.run {
            run.analysis.set_back(window);
        }
    }

    /// Takes a window, unless it is done with. Returns which blocks of the past are over.
    pub(super) fn take(&mut self, rules: &Release, window: u64, total: &Total) -> Vec<u64> {
        if !self.awaits(window) {
            return Vec::new();
        }
        self.window = Some(window);
        if total.stage.is_active {
            self.compare(rules, window, total);
            if let Some(phase) = phase(rules, total.stage.percent) {
                self.judge(rules, phase, window, total);
            }
        }
        // What is known of control must not depend on what it is compared with: it is learned afterwards.
        let edges = self.edges();
        let over = self.past.take(window, total.control(), total.block.as_deref(), edges.as_ref());
        if let Some(before) = self.known.before.as_mut().filter(|_| !over.is_empty()) {
            before.preflight.set_dispersion(self.past.dispersion());
        }
        let Some(run) = &mut self.known.run else { return over };
        if self.past.knows_enough() {
            run.analysis.fix_usual_failure_rate(self.past.usual_failure_rate());
            if run.analysis.state().edges().is_none()
                && let Some(edges) = self.past.edges()
            {
                run.analysis.fix_edges(edges);
            }
        }
        if !over.is_empty() {
            run.analysis.set_dispersion(self.past.dispersion());
        }
        over
    }

    /// Compares those who come in first, as long as nobody is in.
    fn compare(&mut self, rules: &Release, window: u64, total: &Total) {
        let stored = self.stored.before.take().map(|stored| Before::resume(rules, stored));
        // The clock was ahead when it was stored.
        let stored = stored.filter(|before| before.last().is_none_or(|last| last <= window + AHEAD));
        let before = self.known.before.take().or(stored);
        self.known.before = Before::after(before, rules, window, total, &self.past);
    }

    fn judge(&mut self, rules: &Release, phase: analysis::Phase, window: u64, total: &Total) {
        let (settings, stage) = (&rules.analysis().settings, &total.stage);
        self.go_on(settings, window, total);
        let past = &self.past;
        let edges = || if past.knows_enough() { past.edges() } else { None };
        let Some(run) = self.known.run.as_mut().filter(|run| run.began == stage.began) else {
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
            self.known.run = Some(Run::begin(analysis, stage));
            return;
        };
        run.analysis.set_settings(settings.clone());
        (0..total.late).for_each(|_| run.analysis.count_late());
        run.number = stage.number;
        if run.epoch != stage.epoch {
            run.epoch = stage.epoch;
            // A window that is done with cannot come again: the clock was set back.
            let _ = run.analysis.edit(window);
            return;
        }
        let is_gap = window > run.analysis.state().window() + LONGEST_GAP;
        if run.percent != stage.percent || run.analysis.state().phase() != phase || is_gap {
            run.percent = stage.percent;
            run.analysis.begin_phase(phase, edges());
            // Not used, because both shares were in force in it; but it has been.
            let _ = run.analysis.pass(window);
            return;
        }
        if !total.is_whole {
            let _ = run.analysis.pass(window);
            return;
        }
        let sums = total.rules.iter();
        let window = sums.fold(Window::new(window), |window, (rule, record)| window.with(rule, record));
        let _ = run.analysis.close(&window.with_missing(total.missing));
    }

    /// Takes up what an earlier process knew of this very run.
    fn go_on(&mut self, settings: &Settings, window: u64, total: &Total) {
        let Some(stored) = self.stored.run.take() else { return };
        if stored.is_of(&total.stage) {
            let mut run = Run::resume(settings.clone(), stored);
            // The clock was ahead when it was stored.
            if run.analysis.state().window() > window + AHEAD {
                run.analysis.set_back(window.saturating_sub(1));
            }
            self.known.run = Some(run);
        }
    }

    /// By which control's answers are slow.
    fn edges(&self) -> Option<Edges> {
        let Known { before, run } = &self.known;
        match before.as_ref().filter(|before| before.preflight.has_begun()) {
            Some(before) => before.edges(),
            None => run.as_ref().and_then(|run| run.analysis.state().edges()),
        }
    }

    /// What is known of the release now.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn stored(&self) -> StoredAnalysis {
        let Known { before, run } = &self.known;
        StoredAnalysis {
            before: before.as_ref().map_or_else(|| self.stored.before.clone(), |before| Some(before.stored())),
            run: run.as_ref().map_or_else(|| self.stored.run.clone(), |run| Some(run.stored())),
        }
    }
}

/// Control's failure rate, as long as nobody knows it.
const UNKNOWN: f64 = 1.0;

/// How many windows clocks may be apart.
pub(super) const AHEAD: u64 = 60 / WINDOW_S;

/// After more windows than this without any, a phase begins anew: nobody knows what was meanwhile.
const LONGEST_GAP: u64 = 60 / WINDOW_S;
