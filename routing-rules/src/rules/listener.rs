//! Listeners.

use std::net::SocketAddr;

use super::Name;
use crate::RuleError;
use crate::error::Problems;
use crate::spec::ListenerSpec;

/// An address that accepts connections from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    name: Name,
    address: SocketAddr,
}

impl Listener {
    /// Validates one listener; reports every problem.
    pub fn new(name: &str, spec: &ListenerSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("listeners.{name}"), found);
        let address = problems.at("address").ok(spec.address.parse::<SocketAddr>().map_err(|_| {
            format!("`{}` is not an address such as 127.0.0.1:8080 or [::]:8080", spec.address.escape_debug())
        }));
        let name = problems.ok(Name::new(name));
        Some(Self { name: name?, address: address? })
    }

    /// The listener's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The address to bind; port 0 takes a free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
