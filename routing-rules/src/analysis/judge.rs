//! The analysis of one release: windows in, a verdict out (specification, §4 to §6 and §9).
//!
//! Windows are taken in order and each once; one that is missing is missing, and takes no time of its phase. It knows
//! no clock: that windows have stopped coming is found by who asks, with the time.

use super::rollback::STAKE_EVERY;
use super::state::Recent;
use super::{Dispersion, Edges, Metric, Missing, Phase, Settings, Start, State, Verdict, WINDOW_S, Window};

/// Judges a release. All it knows is its [`State`].
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    pub(super) settings: Settings,
    pub(super) state: State,
}

/// Why a window is not used. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was closed before, or a later one was.
    #[error("window {window} is done with, the last one was {last}")]
    Done {
        /// The window that is not used.
        window: u64,
        /// The last one that is done with.
        last: u64,
    },
}

impl Analysis {
    /// Of a release whose first phase begins.
    pub fn new(settings: Settings, start: Start) -> Self {
        Self { settings, state: State::new(start) }
    }

    /// Goes on where another one stopped.
    pub fn resume(settings: Settings, state: State) -> Self {
        Self { settings, state }
    }

    /// All it knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The percent has changed. The evidence for a rollback goes on, the one for a promotion starts anew. After a
    /// rollback there are no more phases.
    pub fn begin_phase(&mut self, phase: Phase, edges: Option<Edges>) {
        let state = &mut self.state;
        if state.rolled_back.is_some() {
            return;
        }
        (state.phase, state.edges) = (phase, edges);
        (state.began, state.windows, state.extended_s) = (None, 0, 0);
        state.rollback.begin_phase(phase.number());
        state.forget_phase();
    }

    /// The edges of a phase that began without any; from here on its latency is judged. Edges that there are stay,
    /// because they must not depend on what is judged by them.
    pub fn fix_edges(&mut self, edges: Edges) {
        self.state.edges.get_or_insert(edges);
    }

    /// Control's failure rate as it usually is, from 0 to 1, where that was not known at the start.
    pub fn fix_usual_failure_rate(&mut self, rate: f64) {
        if self.state.usual_failure_rate >= UNKNOWN_RATE {
            self.state.usual_failure_rate = rate.clamp(0.0, 1.0);
        }
    }

    /// Judges by these from the next window on. What was found before stays.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// How unevenly events come, from the next window on: anew every five minutes.
    pub fn set_dispersion(&mut self, dispersion: Dispersion) {
        self.state.dispersion = dispersion;
    }

    /// The rules were edited during this window, so it is not used; it must be the next one, or one after that. The
    /// evidence for a rollback goes on, the one for a promotion starts anew.
    ///
    /// # Errors
    /// The window is done with.
    pub fn edit(&mut self, window: u64) -> Result<(), Refused> {
        if self.state.rolled_back.is_some() {
            return Ok(());
        }
        self.expect(window)?;
        self.state.window = window;
        self.state.epoch = self.state.epoch.wrapping_add(1);
        self.state.forget_phase();
        Ok(())
    }

    /// A window is not used, because what it has is of more than one state of the release.
    ///
    /// # Errors
    /// The window is done with.
    pub fn pass(&mut self, window: u64) -> Result<(), Refused> {
        self.expect(window)?;
        self.state.window = window;
        Ok(())
    }

    /// The clock was set back: this window is the last one that is done with, and those after it are still to come, whatever was
    /// taken for them. The evidence for a rollback goes on, and the phase begins anew.
    pub fn set_back(&mut self, window: u64) {
        if window < self.state.window {
            (self.state.window, self.state.recent) = (window, Recent::default());
            self.begin_phase(self.state.phase, self.state.edges);
        }
    }

    /// An operator lets the phase last longer.
    pub fn extend(&mut self, seconds: u32) {
        self.state.extended_s = self.state.extended_s.saturating_add(seconds);
    }

    /// A record came after its window was closed.
    pub fn count_late(&mut self) {
        self.state.shown.late = self.state.shown.late.saturating_add(1);
    }

    /// Takes a window that is complete, or whose time for records is over. After a rollback nothing counts any more.
    ///
    /// # Errors
    /// It was closed before, or a later one was.
    pub fn close(&mut self, window: &Window) -> Result<Verdict, Refused> {
        if self.state.rolled_back.is_some() {
            return Ok(self.verdict());
        }
        self.expect(window.number())?;
        self.take(window);
        self.weigh(window);
        if self.state.rollback.ln_evidence() >= self.settings.ln_rollback() {
            self.state.rolled_back = self.state.rollback.trigger();
        }
        if self.is_suspect() {
            self.state.shown.suspect.get_or_insert(window.number());
        }
        Ok(self.verdict())
    }

    /// The verdict at a moment, in seconds since 1970, whether or not windows still come.
    pub fn verdict_at(&self, unix_s: u64) -> Verdict {
        match (self.verdict(), self.silent_s(unix_s)) {
            (verdict @ Verdict::RolledBack(_), _) => verdict,
            (_, silent_s) if silent_s > PATIENCE_S => Verdict::HoldData(Missing::Windows(silent_s)),
            (verdict, _) => verdict,
        }
    }

    /// The verdict after the last window.
    pub fn verdict(&self) -> Verdict {
        if let Some(metric) = self.state.rolled_back {
            return Verdict::RolledBack(metric);
        }
        if let Some(missing) = self.missing() {
            return Verdict::HoldData(missing);
        }
        if self.is_common() {
            return Verdict::HoldCommon;
        }
        if let Some(metric) = self.state.rollback.trigger().filter(|_| self.is_suspect()) {
            return Verdict::Suspect(metric);
        }
        let options = self.settings.options();
        if self.phase_s() >= u64::from(options.min_phase_s) && self.state.promotion.is_safe(&self.settings) {
            return Verdict::Promote;
        }
        let most_s = u64::from(options.max_phase_s) + u64::from(self.state.extended_s);
        if self.phase_s() >= most_s { Verdict::Inconclusive } else { Verdict::Observing }
    }

    /// How long the phase has lasted, in seconds, without the windows that are missing.
    pub fn phase_s(&self) -> u64 {
        u64::from(self.state.windows) * WINDOW_S
    }

    fn expect(&self, window: u64) -> Result<(), Refused> {
        let last = self.state.window;
        if window > last { Ok(()) } else { Err(Refused::Done { window, last }) }
    }

    /// What is counted of a window, whatever it says.
    fn take(&mut self, window: &Window) {
        let (state, total) = (&mut self.state, window.total());
        state.recent.add(state.window, window.number(), &total.control);
        state.shown.add(&total);
        state.incomplete = if window.missing() > 0 { state.incomplete.saturating_add(1) } else { 0 };
        let expected = state.expected + total.control.requests as f64 * state.phase.odds();
        state.expected = if total.canary.requests == 0 { expected } else { 0.0 };
        state.began.get_or_insert(window.number());
        state.window = window.number();
    }

    /// What a window is evidence of.
    fn weigh(&mut self, window: &Window) {
        let (state, settings) = (&mut self.state, &self.settings);
        let warm_up = u64::from(settings.options().latency_after_s).div_ceil(WINDOW_S);
        let age = window.number().saturating_sub(state.began.unwrap_or(window.number()));
        let edges = state.edges.filter(|_| age >= warm_up);
        let worse = window.counts(edges.as_ref(), &settings.rollback_shifts());
        let better = window.counts(edges.as_ref(), &settings.promotion_shifts());
        if state.windows.is_multiple_of(STAKE_EVERY) {
            state.rollback.stake(settings);
        }
        state.windows = state.windows.saturating_add(1);
        state.rollback.pay(&worse, &state.dispersion, settings);
        state.promotion.pay(&better, state.phase.next_part(), &state.dispersion, settings);
        state.difference.add(&worse[Metric::Errors], &state.dispersion, settings);
        for (metric, strata) in worse.iter() {
            strata.iter().for_each(|counts| state.counts[metric].add(counts));
        }
    }

    fn missing(&self) -> Option<Missing> {
        let incomplete_s = u64::from(self.state.incomplete) * WINDOW_S;
        if incomplete_s > PATIENCE_S {
            return Some(Missing::Records(incomplete_s));
        }
        (self.state.expected >= EXPECTED).then_some(Missing::Canary(self.state.expected as u64))
    }

    fn is_common(&self) -> bool {
        let (requests, failed) = self.state.recent.total();
        failed as f64 > self.common_rate() * requests as f64
    }

    /// Above this failure rate of control it is not the canary's fault alone.
    pub(super) fn common_rate(&self) -> f64 {
        (COMMON_TIMES * self.state.usual_failure_rate).max(COMMON_LEAST)
    }

    fn is_suspect(&self) -> bool {
        self.state.rollback.ln_evidence() >= self.settings.options().suspect.ln()
    }

    /// For how long no window has ended that is done with.
    fn silent_s(&self, unix_s: u64) -> u64 {
        let end_s = self.state.window.saturating_add(1).saturating_mul(WINDOW_S);
        unix_s.saturating_sub(end_s)
    }
}

/// Nothing is more than usual.
const UNKNOWN_RATE: f64 = 1.0;

/// How long windows, or a proxy's records, may be missing, in seconds.
const PATIENCE_S: u64 = 30;
/// So many requests do not all go elsewhere by chance.
const EXPECTED: f64 = 20.0;
/// Control is ill when it fails three times as often as usual, and more than every hundredth request.
const COMMON_TIMES: f64 = 3.0;
const COMMON_LEAST: f64 = 0.01;
