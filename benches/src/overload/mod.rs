//! Overload: what users get, and how soon, while they ask for more than the endpoints can do.
//!
//! One run asks one contestant for more and more, and then for little, without a pause. Modules in the order a run meets them:
//! phases and contestants (here), the run (`run`), who asks the admin API meanwhile (`watch`), what came out (`outcome`) and
//! the page (`report`).

pub mod args;

pub mod run;

pub mod watch;

pub mod outcome;

pub mod report;

use std::ops::Range;

use clap::ValueEnum;

use crate::load::poisson::Stretch;
use crate::peers::Proxy;

/// How many requests each endpoint serves at a time, and how long one takes.
pub const SLOTS: [usize; 8] = [4; 8];
pub const MEAN_MS: f64 = 50.0;
pub const SIGMA: f64 = 0.8;
/// A client waits for so long; an answer after that is worth nothing.
pub const DEADLINE_MS: u64 = 1_000;

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Normal,
    /// As much as can be done, with nobody waiting for long: the latency that overload is compared with.
    Saturated,
    Double,
    Fivefold,
    /// Little again.
    After,
}

impl Phase {
    pub const ALL: [Self; 5] = [Self::Normal, Self::Saturated, Self::Double, Self::Fivefold, Self::After];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Saturated => "saturated",
            Self::Double => "2x",
            Self::Fivefold => "5x",
            Self::After => "after",
        }
    }

    /// As a part of what the endpoints can do.
    #[must_use]
    pub fn load(self) -> f64 {
        match self {
            Self::Normal => 0.8,
            Self::Saturated => 0.95,
            Self::Double => 2.0,
            Self::Fivefold => 5.0,
            Self::After => 0.5,
        }
    }

    #[must_use]
    pub fn is_overload(self) -> bool {
        matches!(self, Self::Double | Self::Fivefold)
    }

    /// When it is, where each lasts so long.
    #[must_use]
    pub fn seconds(self, each_s: f64) -> Range<f64> {
        let before = Self::ALL.iter().take_while(|phase| **phase != self).count();
        #[expect(clippy::cast_precision_loss, reason = "a handful of phases")]
        let begin = before as f64 * each_s;
        begin..begin + each_s
    }

    #[must_use]
    pub fn stretch(self, each_s: f64) -> Stretch {
        Stretch { rate: self.load() * capacity(), seconds: each_s }
    }
}

/// Requests a second that the endpoints can do.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a handful of endpoints")]
pub fn capacity() -> f64 {
    SLOTS.iter().sum::<usize>() as f64 / MEAN_MS * 1e3
}

/// A proxy and what it was told of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contestant {
    /// Serin with `in_flight: auto`, told nothing
    Auto,
    /// Serin told how many requests each endpoint serves at a time, and with a queue
    Fixed,
    /// Serin without limits
    Unlimited,
    /// HAProxy, told the same, and with a queue
    Haproxy,
    /// nginx, told the same; it has no queue
    Nginx,
}

impl Contestant {
    #[must_use]
    pub fn proxy(self) -> Proxy {
        match self {
            Self::Auto | Self::Fixed | Self::Unlimited => Proxy::Serin,
            Self::Haproxy => Proxy::Haproxy,
            Self::Nginx => Proxy::Nginx,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "serin, auto",
            Self::Fixed => "serin, fixed",
            Self::Unlimited => "serin, no limit",
            Self::Haproxy => "haproxy, fixed",
            Self::Nginx => "nginx, fixed",
        }
    }

    /// What Serin's configuration says of limits.
    #[must_use]
    pub fn limits(self) -> &'static str {
        match self {
            Self::Auto => "{in_flight: auto}",
            Self::Fixed => "{in_flight_per_endpoint: 4, queue: {length: 64, timeout: 100ms}}",
            _ => "{}",
        }
    }

    /// What it says to those it refuses.
    #[must_use]
    pub fn refusal(self) -> u16 {
        if self == Self::Nginx { 502 } else { 503 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        assert_eq!(Phase::ALL.map(|phase| phase.seconds(2.0).start), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert!((Phase::Fivefold.stretch(2.0).rate - 3_200.0).abs() < 1e-6);
    }
}
