//! The states of a breaker: closed, open, probing, ramp, and closed again (specification of the breaker, §6).
//!
//! A [`Breaker`] is moved by [`Breaker::step`] every 100 ms. It is told the time, a draw and
//! the signs it must weigh; it does not count results and knows no other endpoint ([`super::members`] does).

use std::fmt;

use super::gate::Verdict;
use super::{Gate, Streak};

/// The numbers of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The condition is not asked below this many results in the window.
    pub min_requests: u32,
    /// How long the first opening lasts; every further one twice as long.
    pub open_ms: u64,
    /// The longest opening.
    pub max_open_ms: u64,
    /// Failures in a row that open.
    pub streak: Streak,
    /// From the first request after probing to full traffic.
    pub ramp_ms: u64,
}

impl Settings {
    /// For an endpoint.
    pub fn endpoint() -> Self {
        Self { min_requests: 20, open_ms: 5_000, max_open_ms: 60_000, streak: Streak::new(5), ramp_ms: 10_000 }
    }

    /// For an upstream as a whole.
    pub fn group() -> Self {
        Self { streak: Streak::new(20), ..Self::endpoint() }
    }

    /// How long an opening lasts, by how many came before it and a draw from 0 to 1 that keeps breakers from moving in step.
    ///
    /// ```
    /// # use routing_rules::breaker::Settings;
    /// let times: Vec<u64> = (0..=5).map(|level| Settings::endpoint().open_time_ms(level, 0.5)).collect();
    /// assert_eq!(times, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    /// assert_eq!(Settings::endpoint().open_time_ms(0, 0.0), 4_000);
    /// ```
    pub fn open_time_ms(&self, level: u8, draw: f64) -> u64 {
        let doubled = 1_u64.checked_shl(level.into()).map_or(u64::MAX, |factor| self.open_ms.saturating_mul(factor));
        let draw = if draw >= 0.0 { draw.min(1.0) } else { 0.0 };
        (doubled.min(self.max_open_ms.max(self.open_ms)) as f64 * (0.8 + 0.4 * draw)).round() as u64
    }

    /// The level from which on openings do not become longer. Levels stop there: they go down one by one.
    fn top_level(&self) -> u8 {
        let top = |level: &u8| self.open_time_ms(*level, 0.5) >= self.max_open_ms;
        (0..MAX_LEVEL).find(top).unwrap_or(MAX_LEVEL)
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes until then.
    Open {
        /// When probing may begin.
        until_ms: u64,
    },
    /// One request at a time passes.
    Probing {
        /// When it began.
        since_ms: u64,
    },
    /// Everything passes that its rising share lets through.
    Ramp {
        /// When it began.
        since_ms: u64,
    },
}

/// Why a breaker wants to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its condition holds.
    Condition,
    /// Failures in a row.
    Streak,
}

/// Why a breaker that wants to open does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Too few other endpoints would be left.
    TooFewLeft,
    /// The condition also holds for the other endpoints together.
    PeersAlike,
    /// The other endpoints fail about as often.
    PeersFailToo,
}

/// What happened to a breaker, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing passes any more.
    Opened(Cause),
    /// Its time is over, probes may pass.
    BeganProbing,
    /// More probes failed than succeeded.
    OpenedAgain,
    /// Enough probes succeeded.
    Recovered,
    /// Everything passes again.
    Closed,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Its condition held.
    Condition,
    /// Failures in a row.
    Streak,
    /// More probes failed than succeeded.
    Probes,
}

impl Opening {
    /// Each once.
    pub const ALL: [Self; 3] = [Self::Condition, Self::Streak, Self::Probes];

    /// A short stable word for metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Streak => "streak",
            Self::Probes => "probes",
        }
    }
}

/// What a breaker weighs in one step.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// Now.
    pub now_ms: u64,
    /// From 0 to 1.
    pub draw: f64,
    /// As the workers left it.
    pub gate: Gate,
    /// A reason to open.
    pub cause: Option<Cause>,
    /// A reason not to.
    pub hold: Option<Hold>,
    /// Whether active checks of the endpoint fail.
    pub check_fails: bool,
}

/// A breaker of an endpoint or an upstream. It survives swaps of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// How often it has opened, less one for each minute closed.
    level: u8,
    /// From when the next minute closed is counted.
    level_since_ms: u64,
    epoch: u32,
    held: Option<(Cause, Hold)>,
}

impl Breaker {
    /// Closed.
    pub fn new(settings: Settings) -> Self {
        Self { settings, state: State::Closed, level: 0, level_since_ms: 0, epoch: 0, held: None }
    }

    /// Takes on other numbers; where it stands, stays.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.level = self.level.min(settings.top_level());
    }

    /// Its numbers.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it would open and does not, since the last step.
    pub fn held(&self) -> Option<(Cause, Hold)> {
        self.held
    }

    /// How many openings the next one comes after.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether it lets nothing or only probes through.
    pub fn is_out(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Probing { .. })
    }

    /// Whether it lets a growing share through.
    pub fn is_ramping(&self) -> bool {
        matches!(self.state, State::Ramp { .. })
    }

    /// The share of the traffic it lets through, as a factor of the weight.
    pub fn factor(&self, now_ms: u64) -> f64 {
        match self.state {
            State::Closed | State::Probing { .. } => 1.0,
            State::Open { .. } => 0.0,
            State::Ramp { since_ms } => {
                let part = now_ms.saturating_sub(since_ms) as f64 / self.settings.ramp_ms.max(1) as f64;
                0.1 + 0.9 * part.min(1.0)
            }
        }
    }

    /// Seconds after which a refused request may try again, at least one.
    pub fn retry_after_s(&self, now_ms: u64) -> u64 {
        match self.state {
            State::Open { until_ms } => until_ms.saturating_sub(now_ms).div_ceil(1_000).max(1),
            _ => 1,
        }
    }

    /// Looks at the signs and moves.
    pub fn step(&mut self, signs: &Signs) -> Option<Transition> {
        self.held = None;
        let now_ms = signs.now_ms;
        match self.state {
            State::Closed => {
                self.settle(now_ms);
                self.consider_opening(signs)
            }
            State::Ramp { since_ms } => self.consider_opening(signs).or_else(|| {
                let over = now_ms.saturating_sub(since_ms) >= self.settings.ramp_ms;
                over.then(|| self.close(now_ms))
            }),
            State::Open { until_ms } => {
                let over = now_ms >= until_ms && !signs.check_fails;
                over.then(|| self.enter(State::Probing { since_ms: now_ms }, Transition::BeganProbing))
            }
            State::Probing { .. } => match signs.gate.verdict().filter(|_| signs.gate.epoch() == self.epoch)? {
                Verdict::Failing => Some(self.open(signs, Transition::OpenedAgain)),
                Verdict::Healthy => Some(self.enter(State::Ramp { since_ms: now_ms }, Transition::Recovered)),
            },
        }
    }

    /// The gate to publish, in the place of one that has been read. `may_trip`: no reason holds it, should a streak fill.
    pub fn gate(&self, now_ms: u64, read: Gate, may_trip: bool) -> Gate {
        match self.state {
            State::Closed | State::Ramp { .. } => {
                let share = (self.factor(now_ms) * 10_000.0).round() as u16;
                Gate::closed(self.epoch, share, may_trip)
            }
            State::Open { .. } => Gate::open(self.epoch),
            // What the workers know of the probes is theirs.
            State::Probing { since_ms } => {
                let gate = if read.is_probing_in(self.epoch) { read } else { Gate::probing(self.epoch) };
                gate.with_any_probe(now_ms.saturating_sub(since_ms) >= PATIENCE_MS)
            }
        }
    }

    fn consider_opening(&mut self, signs: &Signs) -> Option<Transition> {
        let cause = signs.cause?;
        if let Some(hold) = signs.hold {
            self.held = Some((cause, hold));
            return None;
        }
        Some(self.open(signs, Transition::Opened(cause)))
    }

    fn open(&mut self, signs: &Signs, transition: Transition) -> Transition {
        let time_ms = self.settings.open_time_ms(self.level, signs.draw);
        self.level = (self.level + 1).min(self.settings.top_level());
        self.enter(State::Open { until_ms: signs.now_ms.saturating_add(time_ms) }, transition)
    }

    fn close(&mut self, now_ms: u64) -> Transition {
        self.level_since_ms = now_ms;
        self.state = State::Closed;
        Transition::Closed
    }

    /// Into a state in which earlier results no longer count.
    fn enter(&mut self, state: State, transition: Transition) -> Transition {
        self.epoch = self.epoch.wrapping_add(1);
        self.state = state;
        transition
    }

    /// The level goes down by one for each whole minute closed.
    fn settle(&mut self, now_ms: u64) {
        let minutes = now_ms.saturating_sub(self.level_since_ms) / LEVEL_MS;
        self.level_since_ms += minutes * LEVEL_MS;
        self.level = self.level.saturating_sub(u8::try_from(minutes).unwrap_or(u8::MAX));
    }
}

impl Transition {
    /// Why nothing passes from here on, if that is so.
    pub fn opening(self) -> Option<Opening> {
        match self {
            Self::Opened(Cause::Condition) => Some(Opening::Condition),
            Self::Opened(Cause::Streak) => Some(Opening::Streak),
            Self::OpenedAgain => Some(Opening::Probes),
            Self::BeganProbing | Self::Recovered | Self::Closed => None,
        }
    }

    /// Whether results so far no longer count: window, streak and what the weights have learned are to be cleared.
    pub fn clears(self) -> bool {
        self != Self::Closed
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::Probing { .. } => "probing",
            Self::Ramp { .. } => "ramp",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition => "the condition holds",
            Self::Streak => "too many failures in a row",
        })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooFewLeft => "too few other endpoints would be left",
            Self::PeersAlike => "the condition holds for the other endpoints too",
            Self::PeersFailToo => "the other endpoints fail about as often",
        })
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(cause) => write!(f, "opened: {cause}"),
            Self::BeganProbing => f.write_str("probing: the time of the opening is over"),
            Self::OpenedAgain => f.write_str("opened again: more probes failed than succeeded"),
            Self::Recovered => f.write_str("ramp: three probes succeeded"),
            Self::Closed => f.write_str("closed: the ramp is over"),
        }
    }
}

/// How long probes are kept for requests that may be repeated: a first success should come within a second of recovery.
const PATIENCE_MS: u64 = 500;
const LEVEL_MS: u64 = 60_000;
/// Twice as long this often is longer than any opening may be.
const MAX_LEVEL: u8 = 40;
