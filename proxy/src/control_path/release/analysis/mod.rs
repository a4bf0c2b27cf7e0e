//! Comparing canaries with stable while releases run: every five seconds what was counted becomes a window, and each release
//! has an analysis that takes it (`routing_rules::analysis` decides what it means).
//!
//! Nothing follows from a verdict here: it is asked by whoever looks after releases.

mod course;
mod observed;
mod past;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use routing_rules::analysis::{Report, Verdict, WINDOW_S, Window};
use routing_rules::release::{Pace, ReleaseRecord, Status};
use routing_rules::rules::{AnalysisMode, Name, Release};
use routing_rules::table::CompiledRelease;

use course::Course;
pub use course::StoredAnalysis;
use observed::Counted;

use crate::control_path::state_dir::StateDir;
use crate::snapshot::Snapshot;

/// What is known of each release, for whoever shows it.
pub type Reports = ArcSwap<BTreeMap<Name, Arc<Report>>>;

/// All analyses of this process.
pub struct Observer {
    courses: HashMap<Name, Course>,
    counted: HashMap<Name, Counted>,
    /// The window that is under way.
    window: u64,
    reports: Arc<Reports>,
    state_dir: Option<StateDir>,
    /// Of an earlier process.
    stored: BTreeMap<String, StoredAnalysis>,
    saved_at_window: u64,
}

/// What an analysis makes of a release.
pub(super) enum Advice {
    /// Let time decide.
    Clock,
    /// Let no phase end.
    Held,
    /// The phase may end, because of this.
    Promote(String),
    /// Take everybody back, because of this.
    RollBack(String),
}

impl Advice {
    /// What a phase may do.
    pub(super) fn pace(&self) -> Pace<'_> {
        match self {
            Self::Clock => Pace::Clock,
            Self::Held | Self::RollBack(_) => Pace::Held,
            Self::Promote(reason) => Pace::Promoted(reason),
        }
    }
}

impl Observer {
    /// Goes on where an earlier process stopped, if it has said where.
    pub fn new(reports: Arc<Reports>, state_dir: Option<StateDir>) -> Self {
        let stored = state_dir.as_ref().map(StateDir::restore_analyses).unwrap_or_default();
        let (courses, counted) = (HashMap::new(), HashMap::new());
        Self { courses, counted, window: 0, reports, state_dir, stored, saved_at_window: 0 }
    }

    /// Looks at the clock, in seconds since 1970: if a window has ended, takes it.
    pub fn look(&mut self, snapshot: &Snapshot, unix_s: u64) {
        let window = Window::number_at(unix_s);
        if window == self.window {
            return;
        }
        // What came before nobody looked belongs to no window; after a clock was set back there is no telling which.
        let is_window = self.window > 0 && window > self.window;
        if self.window == 0 {
            self.saved_at_window = window;
        }
        self.window = window;
        let is_there = |name: &Name| snapshot.table.release_id(name.as_str()).is_some();
        self.courses.retain(|name, _| is_there(name));
        self.counted.retain(|name, _| is_there(name));
        for (id, release) in snapshot.table.releases() {
            let rules = release.assigner.rules();
            if rules.analysis().mode == AnalysisMode::Off {
                self.courses.remove(rules.name());
                self.counted.remove(rules.name());
                continue;
            }
            let is_new = !self.counted.contains_key(rules.name());
            let seen = self.counted.entry(rules.name().clone()).or_default().take(snapshot, id, unix_s);
            let Some(record) = release.record.as_deref().filter(|_| is_window && !is_new) else { continue };
            if self.courses.get(rules.name()).is_some_and(|course| !course.is_of(rules)) {
                self.courses.remove(rules.name());
            }
            let stored = self.stored.remove(rules.name().as_str());
            let course = self.courses.entry(rules.name().clone()).or_insert_with(|| Course::new(rules, stored));
            course.take(rules, record, window - 1, seen, unix_s);
        }
        self.publish();
    }

    /// What becomes of a release, in its mode.
    pub(super) fn advice(&self, release: &CompiledRelease, unix_s: u64) -> Advice {
        let (rules, record) = (release.assigner.rules(), release.record.as_deref());
        let mode = rules.analysis().mode;
        if mode < AnalysisMode::Guard {
            return Advice::Clock;
        }
        let analysis = self.courses.get(rules.name()).and_then(|course| course.analysis_of(rules, record?));
        let Some(analysis) = analysis else {
            // Before the first window nothing is known; with everybody or nobody in the canary there is nothing to know.
            return if is_compared(rules, record) { Advice::Held } else { Advice::Clock };
        };
        let verdict = analysis.verdict_at(unix_s);
        // Ahead of the clock: it was set back, and says nothing of what is now.
        let is_ahead = analysis.state().window() > Window::number_at(unix_s);
        let least_s = u64::from(rules.analysis().settings.options().min_phase_s);
        match verdict {
            Verdict::RolledBack(_) => Advice::RollBack(analysis.report(unix_s).text),
            _ if is_ahead => Advice::Held,
            Verdict::Promote if mode == AnalysisMode::Drive => Advice::Promote(analysis.report(unix_s).text),
            Verdict::HoldData(_) | Verdict::HoldCommon | Verdict::Suspect(_) => Advice::Held,
            Verdict::Observing | Verdict::Inconclusive if mode == AnalysisMode::Drive => Advice::Held,
            // A clock may have gone on while nobody looked.
            Verdict::Observing if analysis.phase_s() < least_s.min(lasts_s(rules, record)) => Advice::Held,
            Verdict::Observing | Verdict::Inconclusive | Verdict::Promote => Advice::Clock,
        }
    }

    fn publish(&mut self) {
        let reports =
            self.courses.iter().filter_map(|(name, course)| Some((name.clone(), Arc::clone(course.report()?))));
        self.reports.store(Arc::new(reports.collect()));
        if self.window.abs_diff(self.saved_at_window) >= SAVE_EVERY {
            self.save();
        }
    }

    /// A process that starts again goes on from here, and knows nothing of what came after.
    fn save(&mut self) {
        self.saved_at_window = self.window;
        let Some(state_dir) = &self.state_dir else { return };
        // What nobody has asked for yet is kept, too.
        let mut all = self.stored.clone();
        all.extend(self.courses.iter().filter_map(|(name, course)| Some((name.to_string(), course.stored()?))));
        if let Err(error) = state_dir.save_analyses(&all) {
            tracing::warn!(%error, "what the analysis knows cannot be stored; a restart would begin anew");
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.save();
    }
}

/// Whether some users are in the canary group by the phase and others are not.
fn is_compared(rules: &Release, record: Option<&ReleaseRecord>) -> bool {
    record.is_some_and(|record| record.state.status == Status::Running && course::phase(rules, record).is_some())
}

/// How long the phase lasts by itself, in seconds, less a window.
fn lasts_s(rules: &Release, record: Option<&ReleaseRecord>) -> u64 {
    let lasts = record.and_then(|record| record.phase(rules)).and_then(|phase| phase.lasts);
    lasts.map_or(0, |lasts| lasts.as_secs().saturating_sub(2 * WINDOW_S))
}

/// Windows between two saves.
const SAVE_EVERY: u64 = 30 / WINDOW_S;
