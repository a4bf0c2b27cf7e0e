//! A process that judges what comes through it, and keeps what it knows in its state folder.

use std::collections::BTreeMap;

use routing_rules::analysis::WINDOW_S;
use routing_rules::rules::{Name, Release};

use super::course::{Course, Courses};
use super::known::{Known, StoredAnalysis};
use super::reporter::{Report, Reporter};
use super::total::total;
use crate::control_path::state_dir::StateDir;
use crate::snapshot::Snapshot;

/// All analyses of this process.
pub(super) struct Alone {
    reporter: Reporter,
    courses: Courses,
    state_dir: Option<StateDir>,
    /// Of an earlier process.
    stored: BTreeMap<String, StoredAnalysis>,
    saved_at_window: Option<u64>,
}

impl Alone {
    pub(super) fn new(state_dir: Option<StateDir>) -> Self {
        let stored = state_dir.as_ref().map(StateDir::restore_analyses).unwrap_or_default();
        let (reporter, courses) = (Reporter::default(), Courses::default());
        Self { reporter, courses, state_dir, stored, saved_at_window: None }
    }

    /// Returns whether a window has been taken.
    pub(super) fn look(&mut self, snapshot: &Snapshot, unix_s: u64) -> bool {
        let Some(report) = self.reporter.look(snapshot, unix_s) else { return false };
        let is_there = |name: &Name| snapshot.table.release_id(name.as_str()).is_some();
        self.courses.retain(|name, _| is_there(name));
        for name in report.releases.keys() {
            let release = snapshot.table.release_id(name.as_str()).and_then(|id| snapshot.table.release(id));
            if let Some(release) = release {
                self.take(release.assigner.rules(), &report);
            }
        }
        let saved_at = *self.saved_at_window.get_or_insert(report.window);
        if report.window.abs_diff(saved_at) >= SAVE_EVERY {
            self.saved_at_window = Some(report.window);
            self.save();
        }
        true
    }

    fn take(&mut self, rules: &Release, report: &Report) {
        let Some(total) = total(rules, &[report], 0) else { return };
        if self.courses.get(rules.name()).is_some_and(|course| !course.is_of(rules)) {
            self.courses.remove(rules.name());
        }
        let stored = self.stored.remove(rules.name().as_str()).unwrap_or_default();
        let course = self.courses.entry(rules.name().clone()).or_insert_with(|| Course::new(rules, stored));
        if course.is_ahead(report.window) {
            tracing::warn!(release = rules.name().as_str(), "the clock was set back: the phase is judged anew");
            course.set_back(rules, report.window.saturating_sub(1));
        }
        course.take(rules, report.window, &total);
    }

    pub(super) fn known(&self, rules: &Release) -> Option<&Known> {
        Some(self.courses.get(rules.name()).filter(|course| course.is_of(rules))?.known())
    }

    /// A process that starts again goes on from here, and knows nothing of what came after.
    fn save(&self) {
        let Some(state_dir) = &self.state_dir else { return };
        // What nobody has asked for yet is kept, too.
        let mut all = self.stored.clone();
        let known = self.courses.iter().map(|(name, course)| (name.to_string(), course.stored()));
        all.extend(known.filter(|(_, stored)| !stored.is_empty()));
        if let Err(error) = state_dir.save_analyses(&all) {
            tracing::warn!(%error, "what the analysis knows cannot be stored; a restart would begin anew");
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.save();
    }
}

/// Windows between two saves.
const SAVE_EVERY: u64 = 30 / WINDOW_S;
