//! Limits: how often a client may ask, how many requests an upstream works on at once, and how many wait for that.
//!
//! Each is arithmetic on one or two numbers that the caller keeps in atomics; here is what follows from what. Nothing waits
//! here, refuses or answers, and nothing reads a clock.

mod adaptive;
mod door;
mod rate;
mod table;

pub use adaptive::{Adaptive, Phase, Sample, TICK_MS};
pub use door::{Door, Entry, Places};
pub use rate::{Rate, Wait};
pub use table::{Slot, Taken, slot};
