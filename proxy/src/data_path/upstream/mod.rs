//! From a decision to a response head: an upstream as this worker knows it, kept connections, sending.

mod attempt;
mod group_pass;
mod interim;
mod io;
mod local;
mod pool;
mod send;

pub(crate) use attempt::Attempt;
pub(crate) use group_pass::{GroupPass, Shut};
pub(crate) use io::EndpointIo;
pub(crate) use local::{LocalEndpoint, LocalUpstream, LocalUpstreams};
pub(crate) use pool::{EndpointConnection, Lease};
pub(crate) use send::{NotOpened, Unanswered, builder, is_idempotent, is_repeatable, open, send};
