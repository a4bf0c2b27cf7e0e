//! An analysis under way, and how it is stored: it begins with the first users of the canary, and anew after a rollback.

use routing_rules::analysis::{self, Analysis, Settings, State, Verdict, Window};
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Release;
use routing_rules::spec::Percent;
use serde::{Deserialize, Serialize};

use super::observed::Stage;

/// An analysis, and of what its last window was.
pub(super) struct Run {
    pub(super) analysis: Analysis,
    /// With which change of the release it began.
    pub(super) began: u64,
    /// What the last window was of.
    pub(super) percent: Percent,
    pub(super) epoch: u32,
    /// The newest change of the release that whoever counted that window knew.
    pub(super) number: u64,
}

/// An analysis, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredRun {
    began: u64,
    percent: Percent,
    epoch: u32,
    #[serde(default)]
    number: u64,
    state: State,
}

impl Run {
    /// A new one of a release in this stage.
    pub(super) fn begin(analysis: Analysis, stage: &Stage) -> Self {
        let Stage { number, began, epoch, percent, .. } = *stage;
        Self { analysis, began, percent, epoch, number }
    }

    /// Goes on with what was stored.
    pub(super) fn resume(settings: Settings, stored: StoredRun) -> Self {
        let StoredRun { began, percent, epoch, number, state } = stored;
        Self { analysis: Analysis::resume(settings, state), began, percent, epoch, number }
    }

    pub(super) fn stored(&self) -> StoredRun {
        let Self { analysis, began, percent, epoch, number } = self;
        let state = analysis.state().clone();
        StoredRun { began: *began, percent: *percent, epoch: *epoch, number: *number, state }
    }

    /// Whether what it says is of a release that stands so: nothing follows from what was found before a change of it that its
    /// last window knew nothing of.
    pub(super) fn is_of(&self, rules: &Release, record: &ReleaseRecord) -> bool {
        let is_of = (self.began, self.percent, self.epoch) == (record.began, record.state.percent, record.epoch);
        let is_known = self.number >= record.number;
        let is_this_phase = phase(rules, record.state.percent) == Some(self.analysis.state().phase());
        is_of && is_known && is_this_phase && record.state.is_active()
    }

    /// Whether the canary of this run was found to be worse than it may be.
    pub(super) fn has_found_worse(&self, record: &ReleaseRecord, unix_s: u64) -> bool {
        let is_worse = matches!(self.analysis.verdict_at(unix_s), Verdict::RolledBack(_));
        is_worse && self.began == record.began && record.state.is_active()
    }

    /// Whether it is ahead of the clock, which was set back: it says nothing of what is now.
    pub(super) fn is_ahead(&self, unix_s: u64) -> bool {
        self.analysis.state().window() > Window::number_at(unix_s)
    }
}

impl StoredRun {
    /// The last window that is in it.
    pub(super) fn window(&self) -> u64 {
        self.state.window()
    }

    /// Whether it is of the run that a release is in.
    pub(super) fn is_of(&self, stage: &Stage) -> bool {
        self.began == stage.began && self.epoch <= stage.epoch
    }
}

/// The phase of a release as its analysis sees it. `None` if there is no canary, or no control.
pub(super) fn phase(rules: &Release, percent: Percent) -> Option<analysis::Phase> {
    let place = compared_phases(rules).position(|phase| phase == percent);
    let number = place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0);
    let next = rules.phases().iter().map(|phase| phase.percent).find(|next| *next > percent);
    analysis::Phase::new(number, percent.basis_points(), next.unwrap_or(Percent::ALL).basis_points())
}

/// The phases that leave somebody to compare with.
pub(super) fn compared_phases(rules: &Release) -> impl Iterator<Item = Percent> {
    let percents = rules.phases().iter().map(|phase| phase.percent);
    percents.filter(|percent| *percent > Percent::ZERO && *percent < Percent::ALL)
}
