//! Circuit breakers: an endpoint that fails outright gets nothing for a while, and so does an upstream as a whole.
//!
//! What is shared with the request path is three small things for each breaker: a row of counters for each worker
//! ([`Layout`]), one number for failures in a row ([`Streak`]), one for what may pass ([`Gate`]). The rest is moved every
//! 100 ms by one task: [`tick`] for the endpoints of an upstream, [`GroupBreaker::tick`] for the upstream. Slow endpoints
//! are not its business; weights answer those. Nothing here reads a clock, draws a number or owns an atomic.
//!
//! A request, on its worker:
//! 1. [`Gate::admission`] of the endpoint. A [`Admission::Probe`] is put in place by compare-and-exchange; if that fails,
//!    it is as if refused. Either way the request keeps [`Gate::epoch`].
//! 2. At its end, if the gate is still in that period: one more in each counter of [`Layout::touched`]; for a probe
//!    [`Gate::probed`], also when it is given up; [`Streak::next`], written only if it differs.
//! 3. If the streak is full: [`Gate::tripped`], for as many as [`Ticked::trips_left`] allows. Nothing passes from here on,
//!    without waiting for the next tick, which confirms it or takes it back.

mod condition;
mod gate;
mod group;
mod layout;
mod members;
mod outcome;
mod parser;
mod state;
mod streak;
mod window;

pub use condition::Condition;
pub use gate::{Admission, Gate, ProbeEnd, Verdict};
pub use group::GroupBreaker;
pub use layout::Layout;
pub use members::{Change, Member, Ticked, tick};
pub use outcome::Outcome;
pub use parser::ConditionError;
pub use state::{Breaker, Cause, Hold, Opening, Settings, Signs, State, Transition};
pub use streak::Streak;
pub use window::Window;
