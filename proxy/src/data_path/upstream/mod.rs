//! From a decision to a response head: an upstream as this worker knows it, connections kept and opened ahead, sending.

mod affinity;
mod attempt;
mod connection;
mod dial;
mod group_pass;
mod http2;
mod interim;
mod io;
mod kept;
mod loads;
mod local;
mod places;
mod pool;
mod queue;
mod send;
mod stay;
mod warm;

pub(crate) use affinity::{Affinity, Wants};
pub(crate) use attempt::Attempt;
pub(crate) use connection::{EndpointConnection, Lifetime, builder};
pub(crate) use group_pass::{GroupPass, Shut};
pub(crate) use io::EndpointIo;
pub(crate) use local::{Choice, LocalEndpoint, LocalUpstream, LocalUpstreams};
pub(crate) use places::{Admission, EndpointPlace, UpstreamPlace};
pub(crate) use pool::Lease;
pub(crate) use queue::Ticket;
pub(crate) use send::{NotOpened, Refused, Unanswered, is_repeatable, open, send};
pub(crate) use stay::Stay;
pub(crate) use warm::WarmUps;
