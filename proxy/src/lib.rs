//! Serin's body: sockets, HTTP, sources, telemetry. What is decided is decided in `routing-rules`; this crate asks
//! and does what it says. Modules in the order a request meets them; `docs/architecture.md` is the map.

pub mod settings;
pub mod server;
pub(crate) mod worker;
pub mod snapshot;
pub(crate) mod data_path;
pub mod control_path;
pub(crate) mod connect;
pub mod explain;
pub mod admin;
pub mod telemetry;
pub(crate) mod random;
