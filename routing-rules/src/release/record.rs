//! What is kept of a release while it runs: its state, how long its phase has lasted, and which changes led there.
//!
//! A [`ReleaseRecord`] is a value. [`ReleaseRecord::after`] says what an order makes of it, or why it makes nothing; whoever
//! stores records sees to it that each follows the one before. Time comes with each question, in milliseconds since 1970.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::edit::is_same_but_for_force;
use super::{Command, Growth, Refusal, ReleaseState, SignedCommand, Status};
use crate::rules::{Name, Phase, Release};
use crate::spec::{Percent, ReleaseSpec, Span};

/// How far a release has come, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRecord {
    /// Counts the changes of all releases of this name, from 1.
    pub number: u64,
    /// The upstreams it moves users between: with others it is another release, which begins anew.
    pub stable: Name,
    /// See [`ReleaseRecord::stable`].
    pub canary: Name,
    /// What decides about users.
    pub state: ReleaseState,
    /// When the state became this one, in milliseconds since 1970.
    pub since_ms: u64,
    /// How long the phase has lasted.
    pub clock: Clock,
    /// What keeps the phase from going on, though nobody has paused it.
    pub hold: Option<Hold>,
    /// How often its canary has fallen since somebody last said that it may go on.
    pub falls: u8,
    /// Counts the edits of its rules. What was observed before one is not compared with what came after.
    pub epoch: u32,
    /// Stands for the rules that say who is where. With others it was edited.
    pub rules: u64,
    /// The release as it was written when that was last accepted: what an edit is held against. `None` if nobody has kept it.
    pub accepted: Option<Arc<ReleaseSpec>>,
    /// The number of the change since which users are in the canary group, or were last: what is found out about a canary is
    /// of one such run.
    pub began: u64,
    /// How many other salts it was given, because the users whom the first phase would have taken were unlike the others.
    pub salts: u8,
    /// Whether users have ever been in the canary group by the phases: then they are the ones who come in first again.
    pub has_begun: bool,
    /// What led here.
    pub last: Change,
}

/// One change of a release, as history tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was done, in a word: that of a [`Command`], or of what happened by itself.
    pub action: Box<str>,
    /// Who did it.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The time a phase has lasted, without the time in which it stood still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What it showed when it was last stopped, in milliseconds.
    pub ran_ms: u64,
    /// Since when it runs, in milliseconds since 1970; nothing if it stands.
    pub running_since_ms: Option<u64>,
}

/// What keeps a phase from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The breaker of the canary's upstream is open: stable serves its users.
    CanaryDown,
    /// The canary's upstream has no endpoint that takes requests: stable serves its users.
    CanaryAbsent,
    /// The phase is over, but the canary's endpoints would get more than any has carried. Its users stay there.
    Headroom,
}

/// How a canary's upstream is, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// It serves.
    Up,
    /// It has no endpoint that takes requests, as while all are replaced at once.
    Absent,
    /// Its breaker keeps requests away.
    Down,
}

/// What its analysis lets a release do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace<'a> {
    /// A phase ends when its time is over.
    Clock,
    /// None ends.
    Held,
    /// This one may end, for this reason; not before its time is over, if it has one.
    Promoted(&'a str),
    /// None ends, and before anybody comes in others are to be the first, for this reason.
    Reshuffled(&'a str),
}

impl Hold {
    /// The hold as stores and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CanaryDown => "canary_down",
            Self::CanaryAbsent => "canary_absent",
            Self::Headroom => "headroom",
        }
    }

    /// The hold that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::CanaryDown, Self::CanaryAbsent, Self::Headroom].into_iter().find(|hold| hold.as_str() == text)
    }

    /// Whether stable serves the canary's users meanwhile, and the clock of the phase stands.
    pub fn is_canary_out(self) -> bool {
        matches!(self, Self::CanaryDown | Self::CanaryAbsent)
    }
}

impl Change {
    fn new(action: &str, by: &str, reason: &str, at_ms: u64) -> Self {
        Self { action: action.into(), by: by.into(), reason: reason.into(), at_ms }
    }

    /// One that nobody asked for.
    pub(super) fn own(action: &str, reason: &str, at_ms: u64) -> Self {
        Self::new(action, ITSELF, reason, at_ms)
    }
}

impl Clock {
    /// One that begins now.
    pub fn running(now_ms: u64) -> Self {
        Self { ran_ms: 0, running_since_ms: Some(now_ms) }
    }

    /// What it shows, in milliseconds. A time before its last change is taken for that.
    pub fn shows_ms(&self, now_ms: u64) -> u64 {
        self.ran_ms + self.running_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    fn stopped(self, now_ms: u64) -> Self {
        Self { ran_ms: self.shows_ms(now_ms), running_since_ms: None }
    }

    fn resumed(self, now_ms: u64) -> Self {
        Self { running_since_ms: self.running_since_ms.or(Some(now_ms)), ..self }
    }
}

impl ReleaseRecord {
    /// The first one of a release, which follows those of another one with the same name. `mark` stands for its rules.
    pub fn begin(rules: &Release, mark: u64, before: Option<&Self>, now_ms: u64) -> Self {
        let reason = format!("{} takes over from {}", rules.canary(), rules.stable());
        // What a line in the rules once forced must not force anything now.
        let epochs = [before.map(|before| before.epoch), rules.written().force];
        let epoch = epochs.into_iter().flatten().max().map_or(0, |last| last.saturating_add(1));
        let state = ReleaseState::initial(rules);
        Self {
            number: before.map_or(0, |before| before.number) + 1,
            stable: rules.stable().clone(),
            canary: rules.canary().clone(),
            state: state.grown_from(ReleaseState::NOBODY, Duration::ZERO, now_ms),
            since_ms: now_ms,
            clock: Clock::running(now_ms),
            hold: None,
            falls: 0,
            epoch,
            rules: mark,
            accepted: Some(Arc::clone(rules.written())),
            began: before.map_or(0, |before| before.number) + 1,
            salts: 0,
            has_begun: state.share() > Percent::ZERO,
            last: Change::own("begin", &reason, now_ms),
        }
    }

    /// Whether it is about the release of these rules, and not about another one of that name.
    pub fn is_of(&self, rules: &Release) -> bool {
        self.stable == *rules.stable() && self.canary == *rules.canary()
    }

    /// What an order makes of it. `None` if that is so already.
    ///
    /// # Errors
    /// It cannot be carried out now; the record stays.
    pub fn after(&self, order: &SignedCommand<'_>, rules: &Release, now_ms: u64) -> Result<Option<Self>, Refusal> {
        let command = order.command;
        if matches!(command, Command::Promote | Command::Set(_)) && self.state_by(rules) != self.state {
            return Err(Refusal::Edited);
        }
        // Somebody has looked, and wants it to go on.
        let forgets = command.is_looked_after();
        let state = match command.applied(self.state, rules)? {
            Some(state) => state.grown_from(self.state, rules.sticky().page_life, now_ms),
            None if forgets && (self.falls > 0 || self.hold.is_some()) => self.state,
            None => return Ok(None),
        };
        let moves = (state.percent, state.is_active()) != (self.state.percent, self.state.is_active());
        let clock = if moves { Clock::default() } else { self.clock };
        // A phase that waits for room is another one now, or somebody knows better.
        let hold = self.hold.filter(|hold| !forgets && state.is_active() && hold.is_canary_out());
        let runs = state.status == Status::Running && hold.is_none();
        Ok(Some(Self {
            number: self.number + 1,
            state,
            since_ms: if state == self.state { self.since_ms } else { now_ms },
            clock: if runs { clock.resumed(now_ms) } else { clock.stopped(now_ms) },
            hold,
            falls: if forgets { 0 } else { self.falls },
            began: if state.is_active() && !self.state.is_active() { self.number + 1 } else { self.began },
            has_begun: self.has_begun || state.share() > Percent::ZERO,
            last: Change::new(command.as_str(), order.by, order.reason, now_ms),
            ..self.clone()
        }))
    }

    /// What becomes of it by itself: its canary falls, goes or serves again, or its phase is over. `None`: nothing.
    pub fn by_itself(&self, rules: &Release, canary: Canary, pace: Pace<'_>, now_ms: u64) -> Option<Self> {
        let is_out = self.state.is_active().then_some(canary);
        match (is_out, self.hold) {
            (Some(Canary::Down), None | Some(Hold::CanaryAbsent | Hold::Headroom)) => Some(self.after_fall(now_ms)),
            (Some(Canary::Absent), None | Some(Hold::Headroom)) => {
                let last = Change::own(Hold::CanaryAbsent.as_str(), "the canary's upstream has no endpoint", now_ms);
                Some(self.held(Hold::CanaryAbsent, last))
            }
            (Some(Canary::Up), Some(Hold::CanaryDown | Hold::CanaryAbsent)) => Some(self.after_recovery(now_ms)),
            (Some(Canary::Up), None | Some(Hold::Headroom)) => match pace {
                Pace::Reshuffled(reason) => self.after_reshuffle(rules, reason, now_ms),
                _ => self.after_phase(rules, pace, now_ms),
            },
            (None, _) | (Some(Canary::Down | Canary::Absent), Some(_)) => None,
        }
    }

    fn after_phase(&self, rules: &Release, pace: Pace<'_>, now_ms: u64) -> Option<Self> {
        let lasts = self.phase(rules).and_then(|phase| phase.lasts);
        let is_over = self.time_left(rules, now_ms).is_some_and(|left| left.is_zero());
        let reason = match (pace, lasts) {
            (Pace::Held | Pace::Reshuffled(_), _) => return None,
            (_, Some(_)) if !is_over => return None,
            (Pace::Promoted(reason), _) => reason.to_owned(),
            (Pace::Clock, Some(lasts)) => format!("{} % has lasted {}", self.state.percent, Span::from(lasts)),
            (Pace::Clock, None) => return None,
        };
        let order = SignedCommand { command: Command::Promote, by: ITSELF, reason: &reason };
        // Where nothing comes next, it stays.
        self.after(&order, rules, now_ms).ok().flatten().filter(|_| self.state.status == Status::Running)
    }

    /// Others will come in first. The phase begins anew with them.
    fn after_reshuffle(&self, rules: &Release, reason: &str, now_ms: u64) -> Option<Self> {
        let may = self.state.preflight(rules).is_some() && rules.may_have_another_salt() && !self.has_begun;
        let salts = self.salts.checked_add(1).filter(|_| may)?;
        let runs = self.state.status == Status::Running;
        let clock = if runs { Clock::running(now_ms) } else { Clock::default() };
        let last = Change::own("reshuffle", reason, now_ms);
        Some(Self { number: self.number + 1, salts, clock, last, ..self.clone() })
    }

    /// Its canary has fallen. The second time that is the end.
    fn after_fall(&self, now_ms: u64) -> Self {
        let falls = self.falls.saturating_add(1);
        if falls < MOST_FALLS {
            let reason = "the breaker of the canary's upstream has opened";
            let last = Change::own(Hold::CanaryDown.as_str(), reason, now_ms);
            return Self { falls, ..self.held(Hold::CanaryDown, last) };
        }
        Self {
            number: self.number + 1,
            state: self.state.with_status(Status::RolledBack),
            since_ms: now_ms,
            clock: self.clock.stopped(now_ms),
            hold: None,
            falls,
            last: Change::own(
                Command::Rollback.as_str(),
                "the breaker of the canary's upstream has opened again",
                now_ms,
            ),
            ..self.clone()
        }
    }

    /// Stable serves the canary's users, and the clock stands.
    fn held(&self, hold: Hold, last: Change) -> Self {
        let clock = self.clock.stopped(last.at_ms);
        Self { number: self.number + 1, clock, hold: Some(hold), last, ..self.clone() }
    }

    /// Its canary serves again.
    fn after_recovery(&self, now_ms: u64) -> Self {
        let runs = self.state.status == Status::Running;
        let clock = if runs { self.clock.resumed(now_ms) } else { self.clock };
        let last = Change::own("canary_up", "the canary's upstream serves again", now_ms);
        Self { number: self.number + 1, hold: None, clock, last, ..self.clone() }
    }

    /// The store has lost it, and it is written again.
    #[must_use]
    pub fn after_loss(&self, now_ms: u64) -> Self {
        let last = Change::own("restore", "the store had lost it", now_ms);
        Self { number: self.number + 1, last, ..self.clone() }
    }

    /// Its rules are these now, for which this mark stands. `None` if they were.
    pub fn after_edit(&self, rules: &Release, mark: u64, now_ms: u64) -> Option<Self> {
        let (epoch, what) = match self.rules == mark {
            true if self.has_accepted(rules) => return None,
            true => (self.epoch, "who is where stays as it was"),
            false => (self.epoch.saturating_add(1), "its rules are others"),
        };
        let last = Change::own("edit", what, now_ms);
        let (accepted, state) = (Some(Arc::clone(rules.written())), self.state_by(rules));
        // What waited for room may be another phase.
        let hold = self.hold.filter(|hold| hold.is_canary_out());
        let next = Self { number: self.number + 1, epoch, rules: mark, accepted, state, hold, last, ..self.clone() };
        if state == self.state {
            return Some(next);
        }
        let runs = state.status == Status::Running && next.hold.is_none();
        let clock = if runs { Clock::running(now_ms) } else { Clock::default() };
        Some(Self { since_ms: now_ms, clock, has_begun: self.has_begun || state.share() > Percent::ZERO, ..next })
    }

    /// What decides about users by these rules, which may be newer than what was accepted: a release that had no phases before
    /// begins with the first one, so that a fixed percent can become a phase of as many users.
    pub fn state_by(&self, rules: &Release) -> ReleaseState {
        let had_phases = self.accepted.as_ref().is_none_or(|accepted| !accepted.phases.is_empty());
        if had_phases { self.state } else { self.state.with_percent(ReleaseState::initial(rules).percent) }
    }

    /// Whether these are the rules that were accepted last, whatever they force.
    pub fn has_accepted(&self, rules: &Release) -> bool {
        let is_same = |accepted: &Arc<ReleaseSpec>| {
            Arc::ptr_eq(accepted, rules.written()) || is_same_but_for_force(accepted, rules.written())
        };
        self.accepted.as_ref().is_some_and(is_same)
    }

    /// The phase it is in, if its percent is that of a phase.
    pub fn phase<'r>(&self, rules: &'r Release) -> Option<&'r Phase> {
        rules.phases().iter().find(|phase| phase.percent == self.state.percent)
    }

    /// How long it still takes until the phase is over by itself. `None` if it is not.
    pub fn time_left(&self, rules: &Release, now_ms: u64) -> Option<Duration> {
        if self.state.status != Status::Running || self.hold.is_some_and(Hold::is_canary_out) {
            return None;
        }
        let lasts = self.phase(rules)?.lasts?;
        Some(lasts.saturating_sub(Duration::from_millis(self.clock.shows_ms(now_ms))))
    }

    /// Whether another record would take users of the canary back to stable, who would not come by a rollback.
    pub fn throws_back(&self, next: &Self) -> bool {
        self.state.share() > next.state.share()
    }
}

impl ReleaseState {
    /// Whether override, pin and rules decide.
    pub fn is_active(self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Nobody is in the canary group.
    const NOBODY: Self = Self { percent: Percent::ZERO, status: Status::Running, growth: None };

    /// The same state, as it follows another one at a time. Pages live for so long that the growth before may matter yet.
    fn grown_from(self, before: Self, page_life: Duration, now_ms: u64) -> Self {
        let at_secs = now_ms / 1_000;
        let growth = match self.share().cmp(&before.share()) {
            Ordering::Greater => {
                let open = before.growth.filter(|growth| at_secs < growth.at_secs.saturating_add(page_life.as_secs()));
                Some(Growth { from: open.map_or(before.share(), |growth| growth.from), at_secs })
            }
            Ordering::Equal => before.growth,
            Ordering::Less => None,
        };
        Self { growth, ..self }
    }

    /// The share of those who follow the phases that is in the canary group.
    pub fn share(self) -> Percent {
        match self.status {
            Status::Running | Status::Paused => self.percent,
            Status::RolledBack => Percent::ZERO,
            Status::Completed => Percent::ALL,
        }
    }
}

/// Who does what nobody asked for.
pub const ITSELF: &str = "serin";

/// A canary that falls a second time is not good enough for anybody.
const MOST_FALLS: u8 = 2;
