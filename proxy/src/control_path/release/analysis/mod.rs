//! Comparing canaries with stable while releases run: every five seconds what was counted becomes a window, and each release
//! has an analysis that takes it (`routing_rules::analysis` decides what it means).
//!
//! One process judges what came through it. In a fleet each instance writes its windows to etcd, the one that leads adds them up,
//! judges and writes what it found; all others read that ([`fleet`]). Nothing follows from a verdict here: it is asked by
//! whoever looks after releases.

mod observed;
mod reporter;
mod sixteenths;

mod total;

mod before;
mod course;
mod known;
mod past;
mod run;

mod advice;

mod alone;
mod fleet;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use routing_rules::analysis::{PreflightReport, Report, Window};
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::{AnalysisMode, Name, Release};
use routing_rules::table::CompiledRelease;

pub(super) use advice::Advice;
use alone::Alone;
use fleet::Followed;
pub use fleet::{APART, FleetAnalysis, WindowCounts};
use known::Known;
pub use known::StoredAnalysis;
pub(crate) use reporter::is_analysed;
use run::Run;

use crate::control_path::fleet::Fleet;
use crate::control_path::state_dir::StateDir;
use crate::snapshot::Snapshot;

/// What is known of each release, for whoever shows it.
pub type Reports = ArcSwap<BTreeMap<Name, Arc<Finding>>>;

/// What an analysis found.
pub struct Finding {
    /// What there is to show of its run, or of the last one.
    pub report: Option<Report>,
    /// The number of the change of the release that it is about. `None` if it is of an earlier run, phase or edit, or ahead of the
    /// clock: then nothing follows from it.
    pub of: Option<u64>,
    /// What there is to show of the time before it, and the number of the change of the release that it is about.
    pub before: Option<(u64, PreflightReport)>,
}

impl Finding {
    fn of(Known { before, run }: &Known, rules: &Release, record: Option<&ReleaseRecord>, unix_s: u64) -> Self {
        let run = run.as_ref();
        let is_now = |run: &Run, record: &ReleaseRecord| run.is_of(rules, record) && !run.is_ahead(unix_s);
        let of = run.zip(record).filter(|(run, record)| is_now(run, record)).map(|(_, record)| record.number);
        let before = before.as_ref().zip(record);
        let before = before.filter(|(before, record)| before.is_of(rules, record) && !before.is_ahead(unix_s));
        let before = before.map(|(before, record)| (record.number, before.report()));
        Self { report: run.map(|run| advice::report(run, rules, record, unix_s)), of, before }
    }

    /// What was found of a release before anybody is in, as it stands.
    pub fn before(&self, record: &ReleaseRecord) -> Option<&PreflightReport> {
        self.before.as_ref().filter(|(number, _)| *number == record.number).map(|(_, report)| report)
    }
}

/// Knows what analyses found.
pub struct Observer {
    reports: Arc<Reports>,
    /// When the reports were made.
    window: u64,
    found: Found,
}

/// Who finds it.
enum Found {
    /// This process.
    Here(Box<Alone>),
    /// The instance that leads.
    ByFleet(Followed),
}

impl Observer {
    /// Of a process that judges what comes through it. It goes on where an earlier process stopped, if that has said where.
    pub fn alone(reports: Arc<Reports>, state_dir: Option<StateDir>) -> Self {
        Self { reports, window: 0, found: Found::Here(Box::new(Alone::new(state_dir))) }
    }

    /// Of one that follows what its fleet finds.
    pub fn of_fleet(reports: Arc<Reports>, fleet: Arc<Fleet>) -> Self {
        Self { reports, window: 0, found: Found::ByFleet(Followed::new(fleet)) }
    }

    /// Looks at the clock, in seconds since 1970, and at what there is to know.
    pub(super) fn look(&mut self, snapshot: &Snapshot, unix_s: u64) {
        let is_news = match &mut self.found {
            Found::Here(alone) => alone.look(snapshot, unix_s),
            Found::ByFleet(followed) => followed.look(snapshot),
        };
        let window = Window::number_at(unix_s);
        if is_news || window != self.window {
            self.window = window;
            self.publish(snapshot, unix_s);
        }
    }

    /// What becomes of a release, in its mode.
    pub(super) fn advice(&self, release: &CompiledRelease, unix_s: u64) -> Advice {
        let rules = release.assigner.rules();
        let advice = Advice::of(self.known(release), rules, release.record.as_deref(), unix_s);
        match &self.found {
            // Who has just begun to lead may not have heard yet what was found last. A rollback is final.
            Found::ByFleet(followed) if !followed.is_current() => advice.or_held(rules),
            Found::ByFleet(_) | Found::Here(_) => advice,
        }
    }

    fn known(&self, release: &CompiledRelease) -> Option<&Known> {
        match &self.found {
            Found::Here(alone) => alone.known(release.assigner.rules()),
            Found::ByFleet(followed) => followed.known(release.assigner.rules()),
        }
    }

    fn publish(&self, snapshot: &Snapshot, unix_s: u64) {
        let report = |release: &CompiledRelease| {
            let (rules, record) = (release.assigner.rules(), release.record.as_deref());
            let known = self.known(release).filter(|_| rules.analysis().mode != AnalysisMode::Off)?;
            Some((rules.name().clone(), Arc::new(Finding::of(known, rules, record, unix_s))))
        };
        let reports = snapshot.table.releases().filter_map(|(_, release)| report(release));
        self.reports.store(Arc::new(reports.collect()));
    }
}

#[cfg(test)]
mod tests;
