//! The state of an analysis, or of a preflight, as a text that gives back every bit (specification of the analysis, §7).
//!
//! A decimal number may lose its last bit and cannot say −∞, so all floating-point numbers are written as their bytes,
//! in base64. Nothing that is read is trusted: what no analysis could have written is refused, and never a panic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rollback::{LEAST, STAKE_EVERY};
use super::state::RECENT;
use super::{Counts, Dispersion, Edges, Latency, Metric, PerMetric, Phase, PreflightState, Rollback, Start, State};

/// The only form there has been, of either.
const FORM: u32 = 1;

/// A state as it is written; short names, because it is written every five seconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    form: u32,
    window: u64,
    epoch: u32,
    /// Number, share, next share.
    phase: (u32, u16, u16),
    began: Option<u64>,
    windows: u32,
    extended_s: u32,
    edges: Option<[i32; 4]>,
    /// Phases, series, stakes.
    stakes: [u32; 3],
    counts: [[u64; 4]; Metric::ALL.len()],
    recent: [(u64, u64); RECENT],
    used: u64,
    late: u64,
    suspect: Option<u64>,
    failing_users: [u64; 2],
    requests: u64,
    without_cookie: u64,
    incomplete: u32,
    rolled_back: Option<String>,
    promotion_windows: u32,
    numbers: String,
}

/// What a preflight has found, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPreflight {
    form: u32,
    window: Option<u64>,
    windows: u32,
    edges: Option<[i32; 4]>,
    stakes: u32,
    counts: [[u64; 4]; Metric::ALL.len()],
    numbers: String,
}

/// Why a text is not the state of an analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Damage {
    #[error("it has a form that is not known here")]
    Form,
    #[error("it has no such phase")]
    Phase,
    #[error("it counts more stakes than can have been made")]
    Stakes,
    #[error("it has edges that no latency has")]
    Edges,
    #[error("it has more events than requests")]
    Counts,
    #[error("it was rolled back for an unknown metric")]
    Metric,
    #[error("its numbers are not {0} bytes in base64")]
    Length(usize),
    #[error("it has a number that cannot be")]
    Number,
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        stored.state().map_err(|damage| D::Error::custom(format_args!("no state of an analysis: {damage}")))
    }
}

impl Serialize for PreflightState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoredPreflight::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PreflightState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredPreflight::deserialize(deserializer)?;
        stored.state().map_err(|damage| D::Error::custom(format_args!("no state of a preflight: {damage}")))
    }
}

impl StoredPreflight {
    fn of(state: &PreflightState) -> Self {
        let PreflightState { window, windows, edges, dispersion, rollback, counts } = state;
        let mut copy = rollback.clone();
        Self {
            form: FORM,
            window: *window,
            windows: *windows,
            edges: edges.map(|edges| edges.steps().map(Latency::index)),
            stakes: rollback.stakes,
            counts: write_counts(counts),
            numbers: write(rollback_numbers(&mut copy), dispersion),
        }
    }

    fn state(self) -> Result<PreflightState, Damage> {
        if self.form != FORM {
            return Err(Damage::Form);
        }
        if self.stakes != self.windows.div_ceil(STAKE_EVERY) {
            return Err(Damage::Stakes);
        }
        let mut state = PreflightState::new();
        (state.window, state.windows, state.rollback.stakes) = (self.window, self.windows, self.stakes);
        state.edges = self.edges.map(read_edges).transpose()?;
        state.counts = read_counts(self.counts)?;
        state.dispersion = read(rollback_numbers(&mut state.rollback), &self.numbers)?;
        Ok(state)
    }
}

impl Stored {
    fn of(state: &State) -> Self {
        let (rollback, shown) = (&state.rollback, &state.shown);
        let mut copy = state.clone();
        Self {
            form: FORM,
            window: state.window,
            epoch: state.epoch,
            phase: (state.phase.number(), state.phase.share(), state.phase.next_share()),
            began: state.began,
            windows: state.windows,
            extended_s: state.extended_s,
            edges: state.edges.map(|edges| edges.steps().map(Latency::index)),
            stakes: [rollback.phases, rollback.series, rollback.stakes],
            counts: write_counts(&state.counts),
            recent: state.recent.0,
            used: shown.used,
            late: shown.late,
            suspect: shown.suspect,
            failing_users: shown.failing_users,
            requests: shown.requests,
            without_cookie: shown.without_cookie,
            incomplete: state.incomplete,
            rolled_back: state.rolled_back.map(|metric| metric.token().to_owned()),
            promotion_windows: state.promotion.windows,
            numbers: write(numbers(&mut copy), &state.dispersion),
        }
    }

    fn state(self) -> Result<State, Damage> {
        if self.form != FORM {
            return Err(Damage::Form);
        }
        let (number, share, next_share) = self.phase;
        let phase = Phase::new(number, share, next_share).ok_or(Damage::Phase)?;
        let [phases, series, stakes] = self.stakes;
        if phases == 0 || series > phases {
            return Err(Damage::Stakes);
        }
        let edges = self.edges.map(read_edges).transpose()?;
        let window = self.window;
        let mut state = State::new(Start { phases, first: phase, edges, usual_failure_rate: 0.0, window });
        (state.epoch, state.began) = (self.epoch, self.began);
        (state.windows, state.extended_s, state.incomplete) = (self.windows, self.extended_s, self.incomplete);
        (state.rollback.series, state.rollback.stakes) = (series, stakes);
        state.counts = read_counts(self.counts)?;
        state.recent.0 = self.recent;
        state.shown.used = self.used;
        state.shown.late = self.late;
        state.shown.suspect = self.suspect;
        state.shown.failing_users = self.failing_users;
        (state.shown.requests, state.shown.without_cookie) = (self.requests, self.without_cookie);
        state.rolled_back = self.rolled_back.as_deref().map(read_metric).transpose()?;
        state.promotion.windows = self.promotion_windows;
        state.dispersion = read(numbers(&mut state), &self.numbers)?;
        Ok(state)
    }
}

fn write_counts(counts: &PerMetric<Counts>) -> [[u64; 4]; Metric::ALL.len()] {
    Metric::ALL.map(|metric| {
        let Counts { canary_events, canary, control_events, control } = counts[metric];
        [canary_events, canary, control_events, control]
    })
}

fn read_counts(stored: [[u64; 4]; Metric::ALL.len()]) -> Result<PerMetric<Counts>, Damage> {
    let mut counts = PerMetric::default();
    for (metric, [canary_events, canary, control_events, control]) in Metric::ALL.into_iter().zip(stored) {
        if canary_events > canary || control_events > control {
            return Err(Damage::Counts);
        }
        counts[metric] = Counts { canary_events, canary, control_events, control };
    }
    Ok(counts)
}

fn read_edges(indexes: [i32; 4]) -> Result<Edges, Damage> {
    let steps = indexes.map(Latency::at);
    let is_kept = steps.map(Latency::index) == indexes && steps.is_sorted();
    is_kept.then_some(Edges::at(steps)).ok_or(Damage::Edges)
}

fn read_metric(token: &str) -> Result<Metric, Damage> {
    Metric::ALL.into_iter().find(|metric| metric.token() == token).ok_or(Damage::Metric)
}

/// More than all requests of all times: what is larger would become infinite at last.
const LARGEST: f64 = 1e30;

/// What a number may be.
type Check = fn(f64) -> bool;

/// Every number of a state with what it may be, in the order in which they are stored.
fn numbers(state: &mut State) -> Vec<(&mut f64, Check)> {
    let State { rollback, promotion, difference, usual_failure_rate, expected, .. } = state;
    let mut numbers = rollback_numbers(rollback);
    // Behind the reserve, where they have always been.
    let others: [(&mut f64, Check); 2] = [
        (usual_failure_rate, |rate| (0.0..=1.0).contains(&rate)),
        (expected, |expected| (0.0..=LARGEST).contains(&expected)),
    ];
    numbers.splice(1..1, others);
    // Metrics come in the order of `Metric::ALL`.
    numbers.extend(promotion.winnings.values_mut().flatten().map(|number| (number, IS_SUM)));
    let minutes = promotion.minutes.iter_mut().flat_map(PerMetric::values_mut);
    numbers.extend(minutes.map(|number| (number, IS_SUM)));
    let terms = difference.worse.iter_mut().chain(&mut difference.better);
    let terms = terms.flat_map(|terms| [&mut terms.constant, &mut terms.slope]);
    numbers.extend(terms.map(|number| (number, IS_SUM)));
    numbers
}

/// The same of the evidence for a rollback: the reserve, and then what each bet has made.
fn rollback_numbers(rollback: &mut Rollback) -> Vec<(&mut f64, Check)> {
    let reserve: (&mut f64, Check) = (&mut rollback.reserve, |reserve| (LEAST..=1.0).contains(&reserve));
    let winnings = rollback.winnings.values_mut().flatten();
    let is_winning: Check = |number| number <= LARGEST;
    std::iter::once(reserve).chain(winnings.map(|number| (number, is_winning))).collect()
}

const IS_SUM: Check = |number| number.abs() <= LARGEST;

fn write(numbers: Vec<(&mut f64, Check)>, dispersion: &Dispersion) -> String {
    let dispersion = Metric::ALL.map(|metric| dispersion.of_metric(metric));
    let numbers = numbers.into_iter().map(|(number, _)| *number).chain(dispersion);
    BASE64.encode(numbers.flat_map(f64::to_le_bytes).collect::<Vec<u8>>())
}

fn read(places: Vec<(&mut f64, Check)>, text: &str) -> Result<Dispersion, Damage> {
    let length = (places.len() + Metric::ALL.len()) * size_of::<f64>();
    let bytes = BASE64.decode(text).ok().filter(|bytes| bytes.len() == length).ok_or(Damage::Length(length))?;
    let (read, _) = bytes.as_chunks();
    let mut read = read.iter().map(|bytes| f64::from_le_bytes(*bytes));
    for ((place, check), number) in places.into_iter().zip(&mut read) {
        *place = Some(number).filter(|number| check(*number)).ok_or(Damage::Number)?;
    }
    let dispersion = PerMetric::new(|_| read.next().unwrap_or(f64::NAN));
    Dispersion::at(dispersion).ok_or(Damage::Number)
}
