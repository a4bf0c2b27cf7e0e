//! Attacks on Serin, one at a time, and what its other users notice of them.
//!
//! Each run is quiet at first, then under one attack, then quiet again. All along there are users from other addresses, at a
//! modest rate that has nothing to do with the attack: *regulars* on connections that they keep, and *newcomers* with a
//! handshake for every request. Their latency counts from when a request was due; not one of their requests may fail.
//!
//! Attackers are a few thousand connections at most, all on loopback; they cannot do more than this machine's second core.

pub mod args;
mod crowd;
mod kinds;
pub mod outcome;
pub mod report;
pub mod run;

use clap::ValueEnum;

pub use self::kinds::Attack;

/// A time of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before,
    During,
    After,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }

    /// From and to when, in seconds, where an attack lasts so long.
    #[must_use]
    pub fn seconds(self, attack: f64) -> std::ops::Range<f64> {
        let quiet = attack / 2.0;
        match self {
            Self::Before => 0.0..quiet,
            Self::During => quiet..quiet + attack,
            Self::After => quiet + attack..2.0 * attack,
        }
    }
}

/// The users that are no attackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honest {
    /// Over connections of TLS that are kept.
    Regulars,
    /// Over a new connection of TLS for every request.
    Newcomers,
}

impl Honest {
    pub const ALL: [Self; 2] = [Self::Regulars, Self::Newcomers];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Regulars => "regulars",
            Self::Newcomers => "newcomers",
        }
    }

    /// Requests per second, on average: together a tenth of what one worker can do, or less.
    #[must_use]
    pub fn rate(self) -> f64 {
        match self {
            Self::Regulars => 200.0,
            Self::Newcomers => 50.0,
        }
    }
}

impl Attack {
    /// As on the command line and in the report.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        let [before, during, after] = Phase::ALL.map(|phase| phase.seconds(10.0));
        assert_eq!((before.start, before.end), (0.0, during.start));
        assert_eq!((during.end - during.start, during.end), (10.0, after.start));
        assert_eq!(after.end - after.start, 5.0);
    }
}
