//! What the tests start and stop: a proxy, endpoints, clients. Everything is on port 0 of the loopback address, in a
//! temporary folder, and gone when dropped.

pub(crate) mod wire;
pub(crate) mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;

use serin_proxy::server::{ConnectionLimits, Server, StartOptions};

/// A proxy under test.
pub(crate) struct Serin {
    server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Serin {
    /// Starts a proxy with these rules.
    pub(crate) fn start(rules: &str) -> Self {
        Self::start_with(rules, ConnectionLimits::default())
    }

    pub(crate) fn start_with(rules: &str, limits: ConnectionLimits) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("serin.yaml");
        std::fs::write(&config, rules).expect("the rules are written");
        let options = StartOptions { config, limits, ..StartOptions::default() };
        let server = Server::start(options).unwrap_or_else(|error| panic!("serin does not start: {error}"));
        Self { server, folder }
    }

    /// Sends everything to one endpoint.
    pub(crate) fn with_endpoint(endpoint: SocketAddr) -> Self {
        Self::start(&format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\n\
             workers: 1\n\
             routes: {{all: {{upstream: app}}}}\n\
             upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
        ))
    }

    /// The address of the first listener by name.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.listeners().first().expect("a listener is open").1
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("serin.yaml")
    }
}
