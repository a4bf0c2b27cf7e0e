//! The comparison of the users who come in first with all others, before a release begins, and how it is stored: for one salt, one run
//! and one version of the rules. All of them are on stable.

use routing_rules::analysis::{
    Division, Edges, Newcomers, Preflight, PreflightReport, PreflightState, Settings, Window,
};
use routing_rules::release::{ReleaseRecord, ReleaseState, Status};
use routing_rules::rules::{Release, Share};
use routing_rules::spec::Percent;
use serde::{Deserialize, Serialize};

use super::observed::Stage;
use super::past::Past;
use super::total::Total;

/// A comparison before a release, and of what it is.
pub(super) struct Before {
    pub(super) preflight: Preflight,
    of: Of,
    /// The newest change of the release that whoever counted the last window knew.
    number: u64,
}

/// What is stored of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredBefore {
    #[serde(flatten)]
    of: Of,
    number: u64,
    state: PreflightState,
}

/// What must be the same for one window to go with the next: who is compared with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Of {
    began: u64,
    epoch: u32,
    /// How many other salts were tried before.
    salts: u8,
    /// Who comes in first.
    share: Percent,
    /// Whether they were in the canary group before: nobody else comes in first then.
    #[serde(default)]
    has_begun: bool,
}

impl Of {
    /// `None` if nobody is compared before a release in this stage.
    fn stage(rules: &Release, stage: &Stage) -> Option<Self> {
        let status = if stage.is_active { Status::Running } else { return None };
        let state = ReleaseState { percent: stage.percent, status, growth: None };
        let Stage { began, epoch, salts, has_begun, .. } = *stage;
        Some(Self { began, epoch, salts, share: state.preflight(rules)?, has_begun })
    }

    fn record(rules: &Release, record: &ReleaseRecord) -> Option<Self> {
        let ReleaseRecord { began, epoch, salts, has_begun, .. } = *record;
        Some(Self { began, epoch, salts, share: record.state.preflight(rules)?, has_begun })
    }

    fn newcomers(self, rules: &Release) -> Newcomers {
        let lasts = rules.phases().first().and_then(|phase| phase.lasts);
        let preflight_s = rules.analysis().settings.options().preflight_s;
        Newcomers {
            share: self.share.basis_points(),
            // Whoever says how long the phase lasts says how long there is to compare.
            lasts_s: lasts.map_or(preflight_s.into(), |lasts| lasts.as_secs()),
            salts: self.salts,
            may_have_another: rules.may_have_another_salt() && !self.has_begun,
        }
    }
}

impl Before {
    /// Goes on with what was stored.
    pub(super) fn resume(rules: &Release, stored: StoredBefore) -> Self {
        let StoredBefore { of, number, state } = stored;
        let preflight = Preflight::resume(settings(rules), of.newcomers(rules), state);
        Self { preflight, of, number }
    }

    pub(super) fn stored(&self) -> StoredBefore {
        StoredBefore { of: self.of, number: self.number, state: self.preflight.state().clone() }
    }

    /// What becomes of it with a window of a release that nobody is in yet: the same one, or a new one if it is about others.
    pub(super) fn after(
        before: Option<Self>,
        rules: &Release,
        window: u64,
        total: &Total,
        past: &Past,
    ) -> Option<Self> {
        let of = Of::stage(rules, &total.stage)?;
        let mut it = before.filter(|before| before.of == of).unwrap_or_else(|| {
            let preflight = Preflight::new(settings(rules), of.newcomers(rules));
            Self { preflight, of, number: 0 }
        });
        it.number = total.stage.number;
        it.preflight.set(settings(rules), of.newcomers(rules));
        if !it.preflight.has_begun() {
            // What is slow must be known before; but a release to which nobody comes does not wait for ever.
            if !past.knows_enough() && !past.has_looked_long() {
                return Some(it);
            }
            it.preflight.fix_edges(past.edges());
            it.preflight.set_dispersion(past.dispersion());
        }
        // Without those who did not report, nobody knows whether they are like all others: no time passes.
        if total.is_whole && total.missing == 0 {
            // One that is done with cannot come again: the clock was set back.
            let _ = it.preflight.close(&compared(rules, window, total));
        }
        Some(it)
    }

    /// The last window that was compared.
    pub(super) fn last(&self) -> Option<u64> {
        self.preflight.state().window()
    }

    /// Whether what it says is of a release that stands so, and found with the newest change in view.
    pub(super) fn is_of(&self, rules: &Release, record: &ReleaseRecord) -> bool {
        Of::record(rules, record) == Some(self.of) && self.number >= record.number
    }

    pub(super) fn edges(&self) -> Option<Edges> {
        self.preflight.state().edges()
    }

    pub(super) fn division(&self) -> Division {
        self.preflight.division()
    }

    pub(super) fn report(&self) -> PreflightReport {
        self.preflight.report()
    }

    /// Whether it is ahead of the clock, which was set back: it says nothing of what is now.
    pub(super) fn is_ahead(&self, unix_s: u64) -> bool {
        self.preflight.state().window().is_some_and(|window| window > Window::number_at(unix_s))
    }
}

impl StoredBefore {
    /// The last window that is in it.
    pub(super) fn window(&self) -> Option<u64> {
        self.state.window()
    }
}

/// The rules that follow the phases: those with a percent of their own have a canary already.
fn compared(rules: &Release, window: u64, total: &Total) -> Window {
    let follows = |name: &str| rules.audience().iter().any(|rule| rule.share == Share::Phase && *rule.name == *name);
    let records = total.rules.iter().filter(|(name, _)| follows(name));
    records.fold(Window::new(window), |window, (rule, record)| window.with(rule, record))
}

fn settings(rules: &Release) -> Settings {
    rules.analysis().settings.clone()
}
