//! From a decision to a response head: an upstream as this worker knows it, kept connections, sending.

mod local;
mod pool;
mod send;

pub(crate) use local::{LocalEndpoint, LocalUpstreams, Picked};
pub(crate) use pool::Lease;
pub(crate) use send::{builder, send};
