//! The analysis of canary releases: is a canary worse than it may be, is it good enough for the next phase, or neither
//! yet?
//!
//! Two promises, however often one looks. A canary that is as good as it must be is rolled back with a probability of
//! at most alpha, over the whole release. A canary that is worse than it may be passes a phase with a probability of at
//! most beta. Both are exact where requests fail independently, whatever the rates are and however they change; where
//! failures come in bursts, [`Dispersion`] and a limit for what one window may say take their place.
//!
//! Five seconds of both groups are a [`Window`]: requests, failures and a [`Histogram`] of latency. [`Analysis`] takes
//! windows in order, keeps a [`State`] that a new leader goes on from, and says a [`Verdict`] and, in words, a
//! [`Report`]. Before a release, [`Preflight`] compares the two groups while both are on stable.
//!
//! It neither counts requests nor decides who is in which group, and does nothing about its verdict. No clock, no
//! randomness: the same windows give the same state, bit for bit.

mod histogram;
mod latency;
mod metric;
mod window;

mod dispersion;
mod settings;

mod evidence;

mod difference;
mod promotion;
mod rollback;

mod judge;
mod preflight;
mod state;
mod verdict;

mod stored;

mod report;
mod text;

pub use difference::{Difference, Interval};
pub use dispersion::{Block, Dispersion, GROUPS};
pub use evidence::{Margin, evidence};
pub use histogram::{Edges, Histogram};
pub use judge::{Analysis, Refused};
pub use latency::Latency;
pub use metric::{Counts, Metric, PerMetric};
pub use preflight::{Division, Newcomers, Preflight, PreflightReport, PreflightState};
pub use promotion::Promotion;
pub use report::{MetricReport, Report};
pub use rollback::Rollback;
pub use settings::{Limits, OptionError, Options, Settings};
pub use state::{Phase, Start, State};
pub use verdict::{Missing, Verdict};
pub use window::{Arm, Record, WINDOW_S, Window};
