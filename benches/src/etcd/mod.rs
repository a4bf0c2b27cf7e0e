//! How soon a change in etcd is served, by Serin and by others, among few routes and many.
//!
//! Modules in the order a run meets them: contenders and what they have in etcd (here, `layout`), etcd itself (`store`), who is
//! behind and in front of the proxies (`endpoint`, `steady`), the template daemon that nginx comes with (`daemon`),
//! a proxy's start (`start`), one visit to it (`visit`), what came out (`outcome`) and the page (`report`).

pub mod args;

pub mod layout;

pub mod store;

pub mod endpoint;

pub mod steady;

pub mod daemon;

pub mod start;

pub mod visit;

pub mod outcome;

pub mod report;

use std::time::Duration;

use clap::ValueEnum;

use crate::peers::Proxy;

/// A proxy and the way in which it follows etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contender {
    /// Serin
    Serin,
    /// Traefik's etcd provider with `providersThrottleDuration: 0s`
    Traefik0s,
    /// The same with 2 s, its default
    Traefik2s,
    /// nginx, and a daemon that every 5 s renders its configuration and reloads it
    Template,
}

impl Contender {
    #[must_use]
    pub fn proxy(self) -> Proxy {
        match self {
            Self::Serin => Proxy::Serin,
            Self::Traefik0s | Self::Traefik2s => Proxy::Traefik,
            Self::Template => Proxy::Nginx,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serin => "serin",
            Self::Traefik0s => "traefik, 0 s",
            Self::Traefik2s => "traefik, 2 s",
            Self::Template => "template, 5 s",
        }
    }

    /// Changes come after pauses of random length up to this: long enough that one is not merged with the one before, and as
    /// long as the contender's own interval, so that they come at any time within it.
    #[must_use]
    pub fn longest_pause(self) -> Duration {
        match self {
            Self::Serin | Self::Traefik0s => Duration::from_millis(200),
            Self::Traefik2s => Duration::from_secs(4),
            Self::Template => daemon::EVERY,
        }
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The address behind a route.
    Endpoint,
    /// A route that was not there.
    Route,
}

impl Change {
    pub const ALL: [Self; 2] = [Self::Endpoint, Self::Route];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Endpoint => "From the put of an endpoint to the first request there",
            Self::Route => "From the put of a route to the first request it serves",
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Route => "route",
        }
    }
}
