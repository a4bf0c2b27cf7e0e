//! How far a release has come. The rules say what may happen; the state says what holds now, and is kept apart from them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;

use super::{Command, ReleaseRecord, Secret};
use crate::rules::{Name, Release};
use crate::spec::Percent;

/// The state of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseState {
    /// The share of rules that follow the phases. It may lie between two phases: operators can set any percent.
    pub percent: Percent,
    /// Whether the rules decide at all.
    pub status: Status,
    /// When the percent grew to what it is, and from what.
    pub growth: Option<Growth>,
}

/// A step up of the percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The percent before.
    pub from: Percent,
    /// When, in seconds since 1970.
    pub at_secs: u64,
}

impl ReleaseState {
    /// Where a release begins: running, in its first phase. Without phases every rule has a percent of its own.
    pub fn initial(rules: &Release) -> Self {
        Self {
            percent: rules.phases().first().map_or(Percent::ZERO, |phase| phase.percent),
            status: Status::Running,
            growth: None,
        }
    }

    /// The share that comes next, while nobody is in the canary group yet by the phases: its users can be compared with all others
    /// before.
    pub fn preflight(&self, rules: &Release) -> Option<Percent> {
        let waits = matches!(self.status, Status::Running | Status::Paused) && self.percent == Percent::ZERO;
        let next = rules.phases().get(1).map(|phase| phase.percent).filter(|next| *next < Percent::ALL)?;
        (waits && rules.phases()[0].percent == Percent::ZERO).then_some(next)
    }

    /// Where the next phase takes it. `None` if nothing comes next.
    pub fn promoted(self, rules: &Release) -> Option<Self> {
        Command::Promote.applied(self, rules).ok().flatten()
    }

    /// The same state with another percent, as if it had always been so.
    #[must_use]
    pub fn with_percent(self, percent: Percent) -> Self {
        Self { percent, growth: None, ..self }
    }

    /// The same state with another status. The percent stays, so that a release can be resumed where it was.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The place among the rules' phases: the last one whose percent is reached. `None` before the first.
    pub fn phase(&self, rules: &Release) -> Option<usize> {
        rules.phases().iter().rposition(|phase| phase.percent <= self.percent)
    }
}

/// Whether a release decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Override, pin and rules decide.
    Running,
    /// As running; but the percent does not move by itself.
    Paused,
    /// Everybody is in the stable group. Pins are ignored, and so are overrides: the new version is out of service.
    RolledBack,
    /// Everybody is in the canary group, whatever rules, pins and overrides say.
    Completed,
}

impl Status {
    /// The status as stores and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let all = [Self::Running, Self::Paused, Self::RolledBack, Self::Completed];
        all.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// A word that is not a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a status; one of running, paused, rolled_back, completed")]
pub struct UnknownStatus;

/// What compiling releases needs besides the rules. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct ReleaseContext {
    /// Signs pins and user ids.
    pub secret: Secret,
    /// What is stored of releases, by name.
    pub records: OrdMap<Name, Arc<ReleaseRecord>>,
    /// Other instances share what is stored, and may know of a later record already.
    pub is_shared: bool,
    /// What is stored cannot be read: nobody is in the canary group of a release of which nothing is known.
    pub is_lost: bool,
}

impl ReleaseContext {
    /// What is stored of a release. Nothing if that is of another one with the same name.
    pub fn record(&self, rules: &Release) -> Option<&Arc<ReleaseRecord>> {
        self.records.get(rules.name()).filter(|record| record.is_of(rules))
    }

    /// The state of a release: the stored one, or where it begins.
    pub fn state(&self, rules: &Release) -> ReleaseState {
        match self.record(rules) {
            Some(record) => record.state_by(rules),
            None if self.is_lost => ReleaseState::initial(rules).with_status(Status::RolledBack),
            None => ReleaseState::initial(rules),
        }
    }
}
