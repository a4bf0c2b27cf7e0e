//! Before a release: are the users whom the first phase will take like all others? (specification of the analysis, §6)
//!
//! Both groups are still on stable, so whatever evidence there is speaks against the division, not against the canary:
//! other users, or events that come less evenly than was thought. Another salt divides differently. Three more must do.
//!
//! It is about one salt; with another one it begins anew. It knows no clock: what is missing takes no time.

use super::report::finite_exp;
use super::rollback::STAKE_EVERY;
use super::{Counts, Dispersion, Edges, Metric, PerMetric, Refused, Rollback, Settings, WINDOW_S, Window, text};

/// Compares the canary's future users with all others. All it has found is its [`PreflightState`].
#[derive(Clone, Debug, PartialEq)]
pub struct Preflight {
    settings: Settings,
    newcomers: Newcomers,
    state: PreflightState,
}

/// Who is compared, and what may become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomers {
    /// The share that comes in first, in hundredths of a percent.
    pub share: u16,
    /// How long they are compared, in seconds.
    pub lasts_s: u64,
    /// How many other salts the release was given before.
    pub salts: u8,
    /// Whether it may be given another one at all.
    pub may_have_another: bool,
}

/// What was found with one salt, as plain data: a new leader goes on from it as if there had been no change.
#[derive(Clone, Debug, PartialEq)]
pub struct PreflightState {
    /// The last window that was closed.
    pub(super) window: Option<u64>,
    /// How many were.
    pub(super) windows: u32,
    pub(super) edges: Option<Edges>,
    pub(super) dispersion: Dispersion,
    pub(super) rollback: Rollback,
    /// All counts, to be shown.
    pub(super) counts: PerMetric<Counts>,
}

/// What a preflight says after a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// Not known yet.
    Comparing,
    /// The release may begin.
    Even,
    /// The release needs another salt. Nothing more counts for this one.
    NewSalt,
    /// No division is even that may be tried: there is something about the users, or in the counting. This is final, and
    /// somebody must look.
    Uneven,
}

/// What there is to show of a preflight.
#[derive(Clone, Debug, PartialEq)]
pub struct PreflightReport {
    /// Where it stands.
    pub division: Division,
    /// Who was compared.
    pub newcomers: Newcomers,
    /// How long they were, in seconds, without windows that are missing.
    pub seconds: u64,
    /// The evidence that they are worse off than all others. 1 says nothing.
    pub evidence: f64,
    /// Evidence that asks for another salt.
    pub threshold: f64,
    /// The metric that most of the evidence is about.
    pub trigger: Option<Metric>,
    /// All of this in words.
    pub text: String,
}

impl Division {
    /// A short stable word for fields and labels.
    pub fn token(self) -> &'static str {
        match self {
            Self::Comparing => "comparing",
            Self::Even => "even",
            Self::NewSalt => "new_salt",
            Self::Uneven => "uneven",
        }
    }
}

impl PreflightState {
    /// Before the first window.
    pub(super) fn new() -> Self {
        // One phase.
        let mut rollback = Rollback::new(1);
        rollback.begin_phase(1);
        let dispersion = Dispersion::of(&[], None);
        Self { window: None, windows: 0, edges: None, dispersion, rollback, counts: PerMetric::default() }
    }

    /// The last window that was closed.
    pub fn window(&self) -> Option<u64> {
        self.window
    }

    /// What is slow, if it is known.
    pub fn edges(&self) -> Option<Edges> {
        self.edges
    }
}

impl Preflight {
    /// How many other salts are tried.
    pub const MOST_SALTS: u8 = 3;

    /// Before the first window.
    pub fn new(settings: Settings, newcomers: Newcomers) -> Self {
        Self { settings, newcomers, state: PreflightState::new() }
    }

    /// Goes on where another one stopped.
    pub fn resume(settings: Settings, newcomers: Newcomers, state: PreflightState) -> Self {
        Self { settings, newcomers, state }
    }

    /// All it has found.
    pub fn state(&self) -> &PreflightState {
        &self.state
    }

    /// Judges by these from the next window on. What was found before stays.
    pub fn set(&mut self, settings: Settings, newcomers: Newcomers) {
        (self.settings, self.newcomers) = (settings, newcomers);
    }

    /// What is slow, by control's past, before the first window: later edges would depend on what is judged by them.
    pub fn fix_edges(&mut self, edges: Option<Edges>) {
        if !self.has_begun() {
            self.state.edges = edges;
        }
    }

    /// How unevenly events come, from the next window on.
    pub fn set_dispersion(&mut self, dispersion: Dispersion) {
        self.state.dispersion = dispersion;
    }

    /// Whether it has taken a window.
    pub fn has_begun(&self) -> bool {
        self.state.window.is_some()
    }

    /// Takes a window whose canary are those who would be it. Once it has found something, nothing more counts.
    ///
    /// # Errors
    /// It was closed before, or a later one was.
    pub fn close(&mut self, window: &Window) -> Result<Division, Refused> {
        if let Some(last) = self.state.window.filter(|last| window.number() <= *last) {
            return Err(Refused::Done { window: window.number(), last });
        }
        if self.division() != Division::Comparing {
            return Ok(self.division());
        }
        let (state, settings) = (&mut self.state, &self.settings);
        state.window = Some(window.number());
        if state.windows.is_multiple_of(STAKE_EVERY) {
            state.rollback.stake(settings);
        }
        state.windows = state.windows.saturating_add(1);
        let counts = window.counts(state.edges.as_ref(), &settings.rollback_shifts());
        state.rollback.pay(&counts, &state.dispersion, settings);
        for (metric, strata) in counts.iter() {
            strata.iter().for_each(|counts| state.counts[metric].add(counts));
        }
        Ok(self.division())
    }

    /// What it says after the last window.
    pub fn division(&self) -> Division {
        let Newcomers { lasts_s, salts, may_have_another, .. } = self.newcomers;
        if self.state.rollback.ln_evidence() >= UNEVEN.ln() {
            let is_left = may_have_another && salts < Self::MOST_SALTS;
            return if is_left { Division::NewSalt } else { Division::Uneven };
        }
        if self.seconds() >= lasts_s { Division::Even } else { Division::Comparing }
    }

    /// What there is to show.
    pub fn report(&self) -> PreflightReport {
        let mut report = PreflightReport {
            division: self.division(),
            newcomers: self.newcomers,
            seconds: self.seconds(),
            evidence: finite_exp(self.state.rollback.ln_evidence()),
            threshold: UNEVEN,
            trigger: self.state.rollback.trigger(),
            text: String::new(),
        };
        report.text = text::of_preflight(&report, self);
        report
    }

    /// Both sides of a metric, all strata together.
    pub(super) fn counts(&self, metric: Metric) -> &Counts {
        &self.state.counts[metric]
    }

    /// By how many steps the newcomers may be slower.
    pub(super) fn shift(&self, metric: Metric) -> u8 {
        self.settings.limits(metric).rollback_shift
    }

    fn seconds(&self) -> u64 {
        u64::from(self.state.windows) * WINDOW_S
    }
}

/// The evidence against a division that is not chance.
const UNEVEN: f64 = 20.0;
