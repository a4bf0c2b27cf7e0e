//! What an analysis makes of a release, in its mode. A function of what is stored, and of the clock: whoever comes next says the same.

use routing_rules::analysis::{Division, Report, Verdict, WINDOW_S};
use routing_rules::release::{Pace, ReleaseRecord, Status};
use routing_rules::rules::{AnalysisMode, Release};

use super::before::Before;
use super::known::Known;
use super::run::{Run, phase};

/// What becomes of a release.
pub(in crate::control_path::release) enum Advice {
    /// Let time decide.
    Clock,
    /// Let no phase end.
    Held,
    /// The phase may end, because of this.
    Promote(String),
    /// Others are to come in first, because of this.
    Reshuffle(String),
    /// Take everybody back, because of this.
    RollBack(String),
}

impl Advice {
    /// What a phase may do.
    pub(in crate::control_path::release) fn pace(&self) -> Pace<'_> {
        match self {
            Self::Clock => Pace::Clock,
            Self::Held | Self::RollBack(_) => Pace::Held,
            Self::Promote(reason) => Pace::Promoted(reason),
            Self::Reshuffle(reason) => Pace::Reshuffled(reason),
        }
    }

    /// The same from somebody who may know too little.
    pub(super) fn or_held(self, rules: &Release) -> Self {
        match self {
            Self::RollBack(_) => self,
            _ if rules.analysis().mode < AnalysisMode::Guard => self,
            _ => Self::Held,
        }
    }

    /// By what is known of a release at this moment, in seconds since 1970.
    pub(super) fn of(known: Option<&Known>, rules: &Release, record: Option<&ReleaseRecord>, unix_s: u64) -> Self {
        let mode = rules.analysis().mode;
        if mode < AnalysisMode::Guard {
            return Self::Clock;
        }
        let run = known.and_then(|known| known.run.as_ref());
        // It is found of a run, whatever phase that is in by now.
        if let Some(worse) = run.filter(|run| record.is_some_and(|record| run.has_found_worse(record, unix_s))) {
            return Self::RollBack(worse.analysis.report(unix_s).text);
        }
        if let Some(record) = record.filter(|record| record.state.preflight(rules).is_some()) {
            let before = known.and_then(|known| known.before.as_ref());
            return Self::before(before.filter(|it| it.is_of(rules, record) && !it.is_ahead(unix_s)), mode);
        }
        let Some(run) = run.filter(|run| record.is_some_and(|record| run.is_of(rules, record))) else {
            // Before the first window nothing is known; with everybody or nobody in the canary there is nothing to know.
            return if is_compared(rules, record) { Self::Held } else { Self::Clock };
        };
        let analysis = &run.analysis;
        let least_s = u64::from(rules.analysis().settings.options().min_phase_s);
        match analysis.verdict_at(unix_s) {
            _ if run.is_ahead(unix_s) => Self::Held,
            Verdict::Promote if mode == AnalysisMode::Drive => Self::Promote(analysis.report(unix_s).text),
            Verdict::RolledBack(_) | Verdict::HoldData(_) | Verdict::HoldCommon | Verdict::Suspect(_) => Self::Held,
            Verdict::Observing | Verdict::Inconclusive if mode == AnalysisMode::Drive => Self::Held,
            // A clock may have gone on while nobody looked.
            Verdict::Observing if analysis.phase_s() < least_s.min(lasts_s(rules, record)) => Self::Held,
            Verdict::Observing | Verdict::Inconclusive | Verdict::Promote => Self::Clock,
        }
    }

    /// While nobody is in yet. By what is known of the users who come in first, as the release stands.
    fn before(before: Option<&Before>, mode: AnalysisMode) -> Self {
        let Some(before) = before else { return Self::Held };
        match before.division() {
            Division::Comparing | Division::Uneven => Self::Held,
            Division::Even if mode == AnalysisMode::Drive => Self::Promote(before.report().text),
            Division::Even => Self::Clock,
            Division::NewSalt => Self::Reshuffle(before.report().text),
        }
    }
}

/// What there is to show of an analysis at this moment. Time does not go on for it while there is nothing to compare.
pub(super) fn report(run: &Run, rules: &Release, record: Option<&ReleaseRecord>, unix_s: u64) -> Report {
    let compares = |record: &ReleaseRecord| record.state.is_active() && phase(rules, record.state.percent).is_some();
    let is_under_way = record.is_some_and(|record| record.began == run.began && compares(record));
    let last_s = run.analysis.state().window().saturating_add(1).saturating_mul(WINDOW_S);
    run.analysis.report(if is_under_way { unix_s } else { last_s })
}

/// Whether some users are in the canary group by the phase and others are not.
fn is_compared(rules: &Release, record: Option<&ReleaseRecord>) -> bool {
    let is_running = |record: &ReleaseRecord| record.state.status == Status::Running;
    record.is_some_and(|record| is_running(record) && phase(rules, record.state.percent).is_some())
}

/// How long the phase lasts by itself, in seconds, less a window.
fn lasts_s(rules: &Release, record: Option<&ReleaseRecord>) -> u64 {
    let lasts = record.and_then(|record| record.phase(rules)).and_then(|phase| phase.lasts);
    lasts.map_or(0, |lasts| lasts.as_secs().saturating_sub(2 * WINDOW_S))
}
