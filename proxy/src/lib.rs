//! Serin's body: sockets, HTTP, sources, telemetry. What is decided is decided in `routing-rules`; this crate asks
//! and does what it says. Modules in the order a request meets them; `docs/architecture.md` is the map.

pub mod admin;
pub(crate) mod connect;
pub mod control_path;
pub(crate) mod data_path;
pub mod diff;
pub mod explain;
pub(crate) mod moment;
pub(crate) mod random;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod telemetry;
pub(crate) mod thread;
pub(crate) mod worker;
