//! The analysis of canary releases: the specification's vectors, its promises by experiment, and everything that may
//! come in.

mod vectors;

mod edges;
mod latency;

mod judge;
mod report;
mod stored;

mod preflight;
mod promises;
mod settings;
mod simulation;

mod traffic;

mod parallel;

#[path = "../simulation/random.rs"]
mod random;
