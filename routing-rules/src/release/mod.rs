//! Canary releases: which group a request's user belongs to, and why.
//!
//! [`Assigner`] is one release compiled for the requests of one moment: it asks an override, then the user's pin, then
//! the rules of the audience, in that order. A user is a number, the [`Bucket`]: the hash of the sticky key under the
//! release's [`Salt`]. The user is in the canary group if the bucket lies below the percent's share of all numbers,
//! so more percent only adds users and less only removes them (specification of the analysis, §9).
//!
//! What it does not do: choose an endpoint, count, or move through phases by itself: a
//! [`ReleaseRecord`] says what an order makes of a release, and others give orders. Time and random numbers come
//! with each request as a [`Moment`]. Nothing on the way of a request allocates, unless a geo database is asked or the
//! caller asks for the cookies to set.
//!
//! Invariant: the same rules, state and secret give the same user the same group, on every instance.

mod assign;
mod audience;
mod key;
mod page;
mod preview;

pub mod headroom;

mod bucket;
mod salt;

mod pin;
mod seal;
mod session;

mod assignment;
mod command;
mod edit;
mod record;
mod state;

mod device;

pub use assign::{Assigner, KnownUser, Moment};
pub use assignment::{Arm, Assignment, Group, Reason, UnknownGroup};
pub use bucket::Bucket;
pub use command::{Command, Refusal, SignedCommand};
pub use device::{DEVICE_TABLE_VERSION, DeviceClass, UnknownDevice};
pub use edit::{EditRefusal, ThrowsBack, throws_back};
pub use pin::PinRefusal;
pub use preview::{Forecast, Preview, Redraw, SeenUser};
pub use record::{Canary, Change, Clock, Hold, ITSELF, Pace, ReleaseRecord};
pub use salt::Salt;
pub use seal::Secret;
pub use session::{EndpointTag, Session, Sessions};
pub use state::{Growth, ReleaseContext, ReleaseState, Status, UnknownStatus};
