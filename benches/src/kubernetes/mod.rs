//! What a cluster of Kubernetes costs whoever serves its Ingresses: a start, the way of a change, and a storm of them.
//!
//! Modules in the order a run meets them: the objects and who keeps them (`cluster`, a stand-in for the API server in this process), whom
//! they lead to (`pods`), a proxy's start (`start`), one change after the other (`changes`), many at once under load (`storm`, `load`), one
//! visit to a proxy (`visit`), what came out (`outcome`) and the page (`report`).

pub mod args;

pub mod cluster;

pub mod pods;

pub mod start;

pub mod changes;

pub mod load;

pub mod storm;

pub mod visit;

pub mod outcome;

pub mod report;

use clap::ValueEnum;

use crate::peers::Proxy;

/// A proxy that follows the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contender {
    /// Serin
    Serin,
    /// Traefik's provider of Ingresses with `providersThrottleDuration: 0s`; its default is 2 s
    Traefik,
}

impl Contender {
    #[must_use]
    pub fn proxy(self) -> Proxy {
        match self {
            Self::Serin => Proxy::Serin,
            Self::Traefik => Proxy::Traefik,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.proxy().name()
    }

    /// Where it says whether it is ready.
    #[must_use]
    pub fn ready_path(self) -> &'static str {
        match self {
            Self::Serin => "/readyz",
            Self::Traefik => "/ping",
        }
    }

    /// What an IngressClass calls it.
    #[must_use]
    pub fn controller(self) -> &'static str {
        match self {
            Self::Serin => "serin.dev/ingress",
            Self::Traefik => "traefik.io/ingress-controller",
        }
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// All pods of a Service are others.
    Slice,
    /// There is one more Ingress.
    Ingress,
}

impl Change {
    pub const ALL: [Self; 2] = [Self::Slice, Self::Ingress];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Slice => "From an EndpointSlice to the first request to its pods",
            Self::Ingress => "From a new Ingress to the first request it serves",
        }
    }
}
