//! What an analysis says of a release after a window (specification of the analysis, §6).

use std::fmt;

use super::Metric;

/// Where a release stands. The first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The canary is worse than it may be: its percent is 0 from now on. This is final.
    RolledBack(Metric),
    /// Too little is known to go on: the percent stays.
    HoldData(Missing),
    /// Control fails more than it usually does, so an outage or a fault that both share: the percent stays.
    HoldCommon,
    /// The canary may be worse, in this metric: the percent stays.
    Suspect(Metric),
    /// The canary is good enough for the next phase.
    Promote,
    /// The phase has lasted as long as it may and shown neither: the percent stays, and somebody must decide.
    Inconclusive,
    /// Wait.
    Observing,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No window has been closed for so long, in seconds.
    Windows(u64),
    /// In every window for so long, in seconds, some proxy did not report.
    Records(u64),
    /// The canary has got nothing where about so many requests were to be expected.
    Canary(u64),
}

impl Verdict {
    /// A short stable word for fields and labels.
    pub fn token(self) -> &'static str {
        match self {
            Self::RolledBack(_) => "rolled_back",
            Self::HoldData(_) => "hold_data",
            Self::HoldCommon => "hold_common",
            Self::Suspect(_) => "suspect",
            Self::Promote => "promote",
            Self::Inconclusive => "inconclusive",
            Self::Observing => "observing",
        }
    }

    /// Whether somebody should be told: it is over, or does not go on by itself.
    pub fn is_alert(self) -> bool {
        matches!(self, Self::RolledBack(_) | Self::HoldData(_) | Self::Inconclusive)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RolledBack(_) => "rolled back",
            Self::HoldData(_) => "held: too little is known",
            Self::HoldCommon => "held: stable fails too",
            Self::Suspect(_) => "held: the canary may be worse",
            Self::Promote => "good enough for the next phase",
            Self::Inconclusive => "not decided in time",
            Self::Observing => "observing",
        })
    }
}
