//! What an operator can ask of a release, and when that makes sense.

use std::fmt;

use super::{ReleaseState, Status};
use crate::rules::{Release, Share};
use crate::spec::Percent;

/// An order to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begins again, in the first phase, after a rollback or the end.
    Start,
    /// Goes on to the next phase; after a last one of 100 % the release is complete.
    Promote,
    /// Any percent, whether or not it is one of a phase.
    Set(Percent),
    /// The percent moves no more by itself.
    Pause,
    /// It may move again; after a rollback, the release goes on where it was.
    Resume,
    /// Everybody to stable.
    Rollback,
    /// Everybody to the canary.
    Complete,
}

/// An order, who gives it, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCommand<'a> {
    /// What is to be done.
    pub command: Command,
    /// Who wants it.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is under way.
    #[error("it has been started: `set` takes it to any percent")]
    Started,
    /// Nothing moves after a rollback.
    #[error("it is rolled back: `resume` goes on where it was, `start` begins again in the first phase")]
    RolledBack,
    /// Nothing moves after the end.
    #[error("it is completed: `rollback` takes everybody back to stable, `start` begins again in the first phase")]
    Completed,
    /// The phases end before everybody has the canary.
    #[error("{0} % is its last phase: `set` takes it to any percent, `complete` gives everybody the canary")]
    LastPhase(Percent),
    /// The percent that it has now is not written down yet.
    #[error("its rules have just got phases, and nobody has written that down yet: ask again in a moment")]
    Edited,
    /// A percent would mean nothing.
    #[error("no rule of its audience follows the phases: each has a percent of its own, which the rules say")]
    NoPhases,
}

impl Command {
    /// The word for it, in commands, the API and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Promote => "promote",
            Self::Set(_) => "set",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
            Self::Complete => "complete",
        }
    }

    /// Whether somebody says by it that things may go on, whatever happened before.
    pub(super) fn is_looked_after(self) -> bool {
        matches!(self, Self::Start | Self::Resume)
    }

    /// The state after it; `None` if it is so already.
    pub(super) fn applied(self, state: ReleaseState, rules: &Release) -> Result<Option<ReleaseState>, Refusal> {
        let next = match (self, state.status) {
            (Self::Rollback, _) => state.with_status(Status::RolledBack),
            (Self::Start, Status::RolledBack | Status::Completed) => ReleaseState::initial(rules),
            (Self::Start, Status::Running | Status::Paused) => return Err(Refusal::Started),
            (Self::Resume, Status::Completed) => return Err(Refusal::Completed),
            (Self::Resume, _) => state.with_status(Status::Running),
            (Self::Complete, Status::Completed) => state,
            (_, Status::RolledBack) => return Err(Refusal::RolledBack),
            (_, Status::Completed) => return Err(Refusal::Completed),
            (Self::Complete, _) => state.with_status(Status::Completed),
            (Self::Pause, _) => state.with_status(Status::Paused),
            (Self::Set(_), _) if !has_phases(rules) => return Err(Refusal::NoPhases),
            (Self::Set(percent), _) if percent == state.percent => state,
            (Self::Set(percent), _) => state.with_percent(percent),
            (Self::Promote, _) => promoted(state, rules)?,
        };
        Ok((next != state).then_some(next))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(percent) => write!(f, "set {percent} %"),
            other => f.write_str(other.as_str()),
        }
    }
}

fn promoted(state: ReleaseState, rules: &Release) -> Result<ReleaseState, Refusal> {
    if !has_phases(rules) {
        return Err(Refusal::NoPhases);
    }
    match rules.phases().iter().find(|phase| phase.percent > state.percent) {
        Some(next) => Ok(state.with_percent(next.percent)),
        None if state.percent == Percent::ALL => Ok(state.with_status(Status::Completed)),
        None => Err(Refusal::LastPhase(state.percent)),
    }
}

fn has_phases(rules: &Release) -> bool {
    rules.audience().iter().any(|rule| rule.share == Share::Phase)
}
