//! From a decision to a response head: an upstream as this worker knows it, connections kept and opened ahead, sending.

mod attempt;
mod connection;
mod group_pass;
mod interim;
mod io;
mod local;
mod pool;
mod send;
mod warm;

pub(crate) use attempt::Attempt;
pub(crate) use connection::{EndpointConnection, Lifetime, builder};
pub(crate) use group_pass::{GroupPass, Shut};
pub(crate) use io::EndpointIo;
pub(crate) use local::{LocalEndpoint, LocalUpstream, LocalUpstreams};
pub(crate) use pool::Lease;
pub(crate) use send::{Unanswered, is_idempotent, send};
pub(crate) use warm::WarmUps;
