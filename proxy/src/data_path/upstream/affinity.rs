//! What a request brings that decides its endpoint: a key that is hashed, or the session cookie of a client that was here
//! before.

use http::HeaderValue;
use routing_rules::request::RequestView;
use routing_rules::table::hash_of;

use super::LocalUpstream;
use crate::snapshot::Balancer;

/// What a request says of the endpoint it should get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    pub(crate) affinity: Affinity,
    /// It may be sent twice (RFC 9110 §9.2.2), so that it is fit to try an endpoint that failed.
    pub(crate) repeatable: bool,
}

/// Why a request belongs to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// It belongs to none.
    None,
    /// By its key.
    Hash(u64),
    /// Its client was served there before.
    Session {
        place: usize,
        /// The client should have a new cookie.
        is_worn: bool,
    },
}

impl LocalUpstream {
    /// What a request wants, as far as the upstream asks for it.
    pub(crate) fn wants(&self, request: &RequestView<'_>, unix_secs: u64) -> Wants {
        Wants { affinity: self.affinity(request, unix_secs), repeatable: request.method.is_idempotent() }
    }

    fn affinity(&self, request: &RequestView<'_>, unix_secs: u64) -> Affinity {
        match &self.shared().balancer {
            Balancer::ConsistentHash { key, .. } => hash_of(key, request).map_or(Affinity::None, Affinity::Hash),
            Balancer::Sticky(sticky) => {
                let session = sticky.sessions.as_ref().and_then(|sessions| sessions.read(request.headers, unix_secs));
                let known = session.and_then(|session| Some((*sticky.places.get(&session.endpoint)?, session.is_worn)));
                known.map_or(Affinity::None, |(place, is_worn)| Affinity::Session { place, is_worn })
            }
            Balancer::Dwrr { .. } | Balancer::RoundRobin | Balancer::LeastRequest => Affinity::None,
        }
    }

    /// What a request wants of this version of the upstream, as far as it wanted it of another one.
    pub(crate) fn wants_of(&self, other: &Self, wants: Wants) -> Wants {
        let affinity = match wants.affinity {
            Affinity::Session { place, is_worn } => self
                .place_of(other.endpoint(place))
                .map_or(Affinity::None, |place| Affinity::Session { place, is_worn }),
            affinity => affinity,
        };
        Wants { affinity, ..wants }
    }

    /// The cookie for a client that was served at this place, unless it has one that is good for long.
    pub(crate) fn session_cookie(
        &self,
        affinity: Affinity,
        served_at: usize,
        unix_secs: u64,
        secure: bool,
    ) -> Option<HeaderValue> {
        let Balancer::Sticky(sticky) = &self.shared().balancer else { return None };
        if affinity == (Affinity::Session { place: served_at, is_worn: false }) {
            return None;
        }
        let tag = *sticky.tags.get(served_at)?;
        Some(sticky.sessions.as_ref()?.set_cookie(tag, unix_secs, secure))
    }
}
