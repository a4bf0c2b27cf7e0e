//! Everything an analysis knows, as plain data. A new leader goes on from it as if there had been no change.
//!
//! It holds sums and logarithms only, never a window: about two kilobytes as a text, however long a release lasts. What
//! may be done to it is in [`Analysis`](super::Analysis).

use super::{Arm, Counts, Difference, Dispersion, Edges, Metric, PerMetric, Promotion, Record, Rollback};

/// The state of one release's analysis. The same windows in the same order give the same state, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The last window that was closed, dropped or passed over.
    pub(super) window: u64,
    /// How many edits of the rules there have been.
    pub(super) epoch: u32,
    pub(super) phase: Phase,
    /// The first window of the phase.
    pub(super) began: Option<u64>,
    /// Windows of the phase that were closed: its time. What is missing takes no time.
    pub(super) windows: u32,
    /// How much longer than usual this phase may last, in seconds.
    pub(super) extended_s: u32,
    pub(super) edges: Option<Edges>,
    pub(super) rollback: Rollback,
    pub(super) promotion: Promotion,
    pub(super) dispersion: Dispersion,
    /// Errors of this phase and epoch.
    pub(super) difference: Difference,
    /// The counts of this phase and epoch, with the edges of rollback.
    pub(super) counts: PerMetric<Counts>,
    pub(super) recent: Recent,
    /// Control's failure rate in the hour before the release, from 0 to 1.
    pub(super) usual_failure_rate: f64,
    pub(super) shown: Shown,
    /// Windows in a row in which some proxy has not reported.
    pub(super) incomplete: u32,
    /// Requests that the canary should have got since it last got one.
    pub(super) expected: f64,
    /// The metric it was rolled back for.
    pub(super) rolled_back: Option<Metric>,
}

/// What a release begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// How many of its phases leave a control group. The stakes are divided among so many, whatever becomes of the
    /// rules.
    pub phases: u32,
    /// The first of them.
    pub first: Phase,
    /// From control's past; none if there is none.
    pub edges: Option<Edges>,
    /// Control's failure rate in the hour before, from 0 to 1; 1 if it is not known.
    pub usual_failure_rate: f64,
    /// The number of the window it begins in, which is not used.
    pub window: u64,
}

/// A step of the percent, as the analysis sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    number: u32,
    share: u16,
    next_share: u16,
}

/// Requests and failures of control in the last twelve windows, a place for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent(pub(super) [(u64, u64); RECENT]);

/// What is counted to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Windows that were closed, in the whole release.
    pub(super) used: u64,
    /// Records that came after their window was closed.
    pub(super) late: u64,
    /// The window in which the evidence first gave rise to suspicion.
    pub(super) suspect: Option<u64>,
    /// The most users with a failure in one window of the phase: canary, control.
    pub(super) failing_users: [u64; 2],
    /// Requests of the phase, and those of them without a cookie.
    pub(super) requests: u64,
    pub(super) without_cookie: u64,
}

impl Phase {
    /// The phase with this number, counted from 1; a step that no phase has, such as a percent set by hand, has the
    /// number 0. Shares are in hundredths of a percent: the canary's now, and in the next phase. None if now there is
    /// no canary or no control, or if the share would not grow.
    pub fn new(number: u32, share: u16, next_share: u16) -> Option<Self> {
        (0 < share && share < WHOLE && share < next_share && next_share <= WHOLE).then_some(Self {
            number,
            share,
            next_share,
        })
    }

    /// Its number, 0 for none.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The canary's share now, in hundredths of a percent.
    pub fn share(&self) -> u16 {
        self.share
    }

    /// The canary's share in the next phase, in hundredths of a percent.
    pub fn next_share(&self) -> u16 {
        self.next_share
    }

    /// From 0 to 1.
    pub(super) fn next_part(&self) -> f64 {
        f64::from(self.next_share) / f64::from(WHOLE)
    }

    /// How many requests the canary gets for each one of control.
    pub(super) fn odds(&self) -> f64 {
        f64::from(self.share) / f64::from(WHOLE - self.share)
    }
}

impl State {
    /// Before the first window.
    pub(super) fn new(start: Start) -> Self {
        let Start { phases, first: phase, edges, usual_failure_rate, window } = start;
        let mut rollback = Rollback::new(phases);
        rollback.begin_phase(phase.number);
        Self {
            window,
            epoch: 0,
            phase,
            began: None,
            windows: 0,
            extended_s: 0,
            edges,
            rollback,
            promotion: Promotion::default(),
            // What a service is taken for of which nothing is known.
            dispersion: Dispersion::of(&[], None),
            difference: Difference::default(),
            counts: PerMetric::default(),
            recent: Recent::default(),
            usual_failure_rate: if usual_failure_rate >= 0.0 { usual_failure_rate.min(1.0) } else { 0.0 },
            shown: Shown::default(),
            incomplete: 0,
            expected: 0.0,
            rolled_back: None,
        }
    }

    /// The last window that is done with. The next one that may be closed comes after it.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// How many edits of the rules there have been.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The edges of this phase.
    pub fn edges(&self) -> Option<Edges> {
        self.edges
    }

    /// What speaks for promotion starts anew, and with it what is shown of the phase.
    pub(super) fn forget_phase(&mut self) {
        self.promotion = Promotion::default();
        self.difference = Difference::default();
        self.counts = PerMetric::default();
        self.shown.failing_users = [0; 2];
        (self.shown.requests, self.shown.without_cookie) = (0, 0);
        self.expected = 0.0;
    }
}

impl Recent {
    /// Counts a window in, and those between it and the last one out.
    pub(super) fn add(&mut self, last: u64, window: u64, control: &Arm) {
        let passed = window.saturating_sub(last).min(RECENT as u64);
        for ago in 0..passed {
            *self.place(window.wrapping_sub(ago)) = (0, 0);
        }
        *self.place(window) = (control.requests, control.failed.min(control.requests));
    }

    /// Requests and failures of all of them.
    pub(super) fn total(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), one: &(u64, u64)| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1));
        self.0.iter().fold((0, 0), add)
    }

    fn place(&mut self, window: u64) -> &mut (u64, u64) {
        &mut self.0[(window % RECENT as u64) as usize]
    }
}

impl Shown {
    pub(super) fn add(&mut self, total: &Record) {
        self.used = self.used.saturating_add(1);
        for (most, arm) in self.failing_users.iter_mut().zip([&total.canary, &total.control]) {
            *most = arm.failing_users.max(*most);
            self.requests = self.requests.saturating_add(arm.requests);
            self.without_cookie = self.without_cookie.saturating_add(arm.without_cookie);
        }
    }
}

/// All users, in hundredths of a percent.
pub(super) const WHOLE: u16 = 10_000;
/// Windows of the last minute.
pub(super) const RECENT: usize = 12;
