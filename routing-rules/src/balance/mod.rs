//! Division: which endpoint is next, and which part of a split.
//!
//! Both are pure functions of what they are given. Where a schedule stands is a number that its owner keeps, and a draw
//! comes from the owner's random numbers. So workers share the schedule and share nothing that changes.

mod schedule;
mod split;

pub use schedule::Schedule;
pub use split::Split;
