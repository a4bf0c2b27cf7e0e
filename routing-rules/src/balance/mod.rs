//! Division: which endpoint is next, and which part of a split.
//!
//! All are pure functions of what they are given. Where a worker stands in a schedule is a number that it keeps itself,
//! draws come from its random numbers, and times are told. So workers share the schedule and share nothing that changes.
//!
//! Two loops meet here. Twice a second [`recompute`] turns [`Evidence`] into what is [`Learned`], and that becomes
//! [`Weights`] and a new [`Schedule`]; for every request the schedule and what is in flight give an endpoint.

mod evidence;
mod window;

mod learned;
mod weights;

mod pick;
mod schedule;
mod turns;

mod ring;

mod split;

pub use evidence::{Counts, Evidence, Sum};
pub use learned::{Learned, Learning, newcomers_ramp, ramp, recompute};
pub use pick::{Picked, View};
pub use ring::{HashRing, Taking};
pub use schedule::Schedule;
pub use split::Split;
pub use turns::Turns;
pub use weights::{Share, Weights};
pub use window::{TICK_US, Window};
