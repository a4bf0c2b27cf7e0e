//! Traffic of minutes in a second: the acceptance table of the balancing's specification (§8), under a virtual clock.
//!
//! The clock, the clients and the endpoints are simulated; what learns and picks is the code that serves.
//! `SERIN_SIMULATION_SEEDS=10` runs as many seeds as the table was made with; `--nocapture` shows what was measured.

mod acceptance;
mod breaking;

mod scenario;
mod world;

mod breakers;
mod endpoint;
mod outcome;
mod process;

mod queue;
mod random;
