//! What the process tells: counters, metrics, access log, its own log.

pub mod access_log;
pub mod counters;
pub mod metrics;
pub mod names;
mod tallies;
pub mod tracing;
