//! The filters of a route's edge, and what they have counted. That belongs to the route's name and lives through every swap.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use routing_rules::limit::{Rate, Wait};
use routing_rules::rules::{Coding, Edge, Name, Route};

use super::client_network;
use super::limit::Buckets;

/// The edge of one route.
pub struct RouteEdge {
    name: Name,
    rules: Arc<Edge>,
    attempts: Option<Arc<Attempts>>,
    counts: Arc<Counts>,
}

/// What a request met there that was not let through, or an answer that was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The client's address is not let in.
    Address,
    /// It came in clear text, and was sent to TLS.
    HttpsRedirect,
    /// A browser asked for a page that may read answers.
    Preflight,
    /// A browser asked for a page that may not.
    PreflightRefused,
    /// It had no credentials.
    NoPassword,
    /// Its credentials are wrong.
    WrongPassword,
    /// Passwords of its client were looked at too often.
    Attempts,
    /// Too many passwords wait to be looked at.
    Busy,
    /// The service that was asked let it not pass.
    Denied,
    /// The service has no endpoint that takes requests.
    AuthNoEndpoint,
    /// The service has as much to do as it may.
    AuthFull,
    /// The service did not say in time.
    AuthTimeout,
    /// The service gave no valid answer.
    AuthFailed,
    /// The answer was compressed.
    Compressed(Coding),
}

impl Met {
    /// Every one that is not about compression.
    pub const ANSWERS: [Self; 13] = [
        Self::Address,
        Self::HttpsRedirect,
        Self::Preflight,
        Self::PreflightRefused,
        Self::NoPassword,
        Self::WrongPassword,
        Self::Attempts,
        Self::Busy,
        Self::Denied,
        Self::AuthNoEndpoint,
        Self::AuthFull,
        Self::AuthTimeout,
        Self::AuthFailed,
    ];

    /// Every one that is.
    pub const COMPRESSED: [Self; 3] =
        [Self::Compressed(Coding::Zstd), Self::Compressed(Coding::Br), Self::Compressed(Coding::Gzip)];

    /// A short stable word for metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::HttpsRedirect => "https_redirect",
            Self::Preflight => "preflight",
            Self::PreflightRefused => "preflight_refused",
            Self::NoPassword => "no_password",
            Self::WrongPassword => "wrong_password",
            Self::Attempts => "attempts",
            Self::Busy => "busy",
            Self::Denied => "denied",
            Self::AuthNoEndpoint => "auth_no_endpoint",
            Self::AuthFull => "auth_full",
            Self::AuthTimeout => "auth_timeout",
            Self::AuthFailed => "auth_failed",
            Self::Compressed(coding) => coding.token(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Address => 0,
            Self::HttpsRedirect => 1,
            Self::Preflight => 2,
            Self::PreflightRefused => 3,
            Self::NoPassword => 4,
            Self::WrongPassword => 5,
            Self::Attempts => 6,
            Self::Busy => 7,
            Self::Denied => 8,
            Self::AuthNoEndpoint => 9,
            Self::AuthFull => 10,
            Self::AuthTimeout => 11,
            Self::AuthFailed => 12,
            Self::Compressed(Coding::Zstd) => 13,
            Self::Compressed(Coding::Br) => 14,
            Self::Compressed(Coding::Gzip) => 15,
        }
    }
}

#[derive(Default)]
struct Counts([AtomicU64; 16]);

/// How often passwords of each client were looked at.
struct Attempts {
    rate: Rate,
    hashing: RandomState,
    buckets: Buckets,
}

impl RouteEdge {
    /// The edge of a route, which goes on counting where that of its former version was. `None` without filters of the edge.
    pub(crate) fn new(route: &Route, before: Option<&Self>) -> Option<Self> {
        let rules = Arc::clone(route.edge()?);
        let attempts = rules.basic_auth.as_ref().map(|auth| {
            let same = before.and_then(|before| before.attempts.as_ref()).filter(|same| same.rate == auth.attempts());
            same.map_or_else(|| Arc::new(Attempts::new(auth.attempts())), Arc::clone)
        });
        let counts = before.map(|before| Arc::clone(&before.counts)).unwrap_or_default();
        Some(Self { name: route.name().clone(), rules, attempts, counts })
    }

    /// The filters.
    pub fn rules(&self) -> &Arc<Edge> {
        &self.rules
    }

    /// The name of the route.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn count(&self, met: Met) {
        self.counts.0[met.index()].fetch_add(1, Relaxed);
    }

    /// How often it was met; `None` where it cannot be.
    pub fn counted(&self, met: Met) -> Option<u64> {
        let rules = &self.rules;
        let may_be = match met {
            Met::Address => rules.asks_for_address(),
            Met::HttpsRedirect => rules.https_redirect.is_some(),
            Met::Preflight | Met::PreflightRefused => rules.cors.is_some(),
            Met::NoPassword | Met::WrongPassword | Met::Attempts | Met::Busy => rules.basic_auth.is_some(),
            Met::Denied | Met::AuthNoEndpoint | Met::AuthFull | Met::AuthTimeout | Met::AuthFailed => {
                rules.forward_auth.is_some()
            }
            Met::Compressed(_) => rules.compress.is_some(),
        };
        may_be.then(|| self.counts.0[met.index()].load(Relaxed))
    }

    /// Another password of this client is to be looked at.
    pub(crate) fn attempt(&self, client: IpAddr, now_us: u64) -> Result<(), Wait> {
        let Some(attempts) = &self.attempts else { return Ok(()) };
        attempts.buckets.take(attempts.hash(client), now_us).token
    }

    /// It was no guess.
    pub(crate) fn give_attempt_back(&self, client: IpAddr) {
        self.attempts.iter().for_each(|attempts| attempts.buckets.give_back(attempts.hash(client)));
    }
}

impl Attempts {
    fn new(rate: Rate) -> Self {
        Self { rate, hashing: RandomState::new(), buckets: Buckets::new(rate) }
    }

    fn hash(&self, client: IpAddr) -> u64 {
        self.hashing.hash_one(client_network(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_place_and_token() {
        let all = Met::ANSWERS.into_iter().chain(Met::COMPRESSED);
        for (place, met) in all.clone().enumerate() {
            assert_eq!(met.index(), place);
            assert_eq!(all.clone().filter(|other| other.token() == met.token()).count(), 1, "{}", met.token());
        }
    }
}
