//! Before a release: are the users whom the first phase will take like all others? (specification of the analysis, §6)
//!
//! Both groups are still on stable, so whatever evidence there is speaks against the division, not against the canary:
//! other users, or events that come less evenly than was thought. Another salt divides differently. Three more must do.

use super::rollback::STAKE_EVERY;
use super::{Dispersion, Edges, Refused, Rollback, Settings, WINDOW_S, Window};

/// Compares the canary's future users with all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Preflight {
    settings: Settings,
    edges: Option<Edges>,
    dispersion: Dispersion,
    rollback: Rollback,
    window: Option<u64>,
    windows: u32,
    salts: u8,
}

/// What a preflight says after a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// Not known yet.
    Comparing,
    /// The release may begin.
    Even,
    /// The release needs another salt. The comparison starts anew with the next window; those of the old salt must not
    /// be counted any more.
    NewSalt,
    /// No division is even: there is something about the users, or in the counting. This is final, and somebody must
    /// look.
    Uneven,
}

impl Preflight {
    /// Before the first window. `salts` is how many other salts this release was given before, if somebody else began.
    pub fn new(settings: Settings, edges: Option<Edges>, dispersion: Dispersion, salts: u8) -> Self {
        Self { settings, edges, dispersion, rollback: Self::game(), window: None, windows: 0, salts }
    }

    /// Takes a window whose canary are those who would be it.
    ///
    /// # Errors
    /// It was closed before, or a later one was.
    pub fn close(&mut self, window: &Window) -> Result<Division, Refused> {
        if let Some(last) = self.window.filter(|last| window.number() <= *last) {
            return Err(Refused::Done { window: window.number(), last });
        }
        let before = self.division();
        if matches!(before, Division::Even | Division::Uneven) {
            return Ok(before);
        }
        self.window = Some(window.number());
        if self.windows.is_multiple_of(STAKE_EVERY) {
            self.rollback.stake(&self.settings);
        }
        self.windows = self.windows.saturating_add(1);
        let counts = window.counts(self.edges.as_ref(), &self.settings.rollback_shifts());
        self.rollback.pay(&counts, &self.dispersion, &self.settings);
        if self.is_uneven() && self.salts < SALTS {
            self.salts += 1;
            (self.rollback, self.windows) = (Self::game(), 0);
            return Ok(Division::NewSalt);
        }
        Ok(self.division())
    }

    /// How often it has asked for another salt.
    pub fn salts(&self) -> u8 {
        self.salts
    }

    fn division(&self) -> Division {
        if self.is_uneven() {
            return Division::Uneven;
        }
        let over = u64::from(self.windows) * WINDOW_S >= self.settings.options().preflight_s.into();
        if over { Division::Even } else { Division::Comparing }
    }

    fn is_uneven(&self) -> bool {
        self.rollback.ln_evidence() >= UNEVEN.ln()
    }

    /// One phase.
    fn game() -> Rollback {
        let mut rollback = Rollback::new(1);
        rollback.begin_phase(1);
        rollback
    }
}

/// The evidence against a division that is not chance.
const UNEVEN: f64 = 20.0;
/// How many other salts are tried.
const SALTS: u8 = 3;
