//! Session tickets (RFC 8446 §4.6.1, RFC 5077): sealed with keys that change every [`PERIOD`], and are not kept for longer than they
//! open.
//!
//! A process has keys of its own. Where a fleet follows etcd, its leader makes keys for all ([`share`]), so that a client goes
//! on with its session at whichever instance it comes to; while those are not to be had, own ones do. What was sealed under
//! some terms opens under the same only.

mod ring;
mod shared;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::server::ProducesTickets;

use crate::moment;
pub use ring::PERIOD;
use ring::Ring;
pub use shared::{TICKET_KEYS, share};

/// The keys in use.
pub struct TicketKeys(ArcSwap<Rings>);

#[derive(Clone, Default)]
struct Rings {
    /// Those of the fleet.
    fleet: Ring,
    /// Those of this process.
    own: Ring,
}

/// Seals tickets under some terms.
pub struct Tickets {
    keys: Arc<TicketKeys>,
    terms: Box<[u8]>,
}

impl Default for TicketKeys {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Rings::default()))
    }
}

impl TicketKeys {
    /// Uses these keys of the fleet from now on. Own ones open what they have sealed, for as long as they promise.
    fn take(&self, fleet: &Ring, now: u64) {
        self.0.rcu(|rings| Rings { fleet: fleet.clone(), own: rings.own.lasting(now) });
    }

    /// Nothing if the operating system gives no randomness: the client will shake hands anew.
    fn seal(&self, terms: &[u8], session: &[u8], now: u64) -> Option<Vec<u8>> {
        let rings = self.0.load();
        if rings.fleet.is_kept_up(now) {
            return rings.fleet.seal(terms, session, now);
        }
        if let Some(renewed) = rings.own.renewed(now).ok()? {
            // Two at a time make two rings, of which one is lost, and with it a handful of sessions.
            self.0.rcu(|rings| Rings { fleet: rings.fleet.clone(), own: renewed.clone() });
            return renewed.seal(terms, session, now);
        }
        rings.own.seal(terms, session, now)
    }

    fn open(&self, terms: &[u8], ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let rings = self.0.load();
        rings.fleet.open(terms, ticket, now).or_else(|| rings.own.open(terms, ticket, now))
    }
}

impl Tickets {
    /// For sessions under these terms, which are told apart by what stands for them.
    pub fn new(keys: &Arc<TicketKeys>, terms: &[u8]) -> Self {
        Self { keys: Arc::clone(keys), terms: terms.into() }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD as u32
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(&self.terms, session, moment::unix_ms() / 1_000)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.open(&self.terms, ticket, moment::unix_ms() / 1_000)
    }
}

/// Says nothing of the keys.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_open_under_the_same_terms_for_as_long_as_they_promise_and_no_longer_than_twice() {
        let keys = TicketKeys::default();
        for begin in [0, 17 * PERIOD, 500_000 * PERIOD + 1] {
            let ticket = keys.seal(b"terms", b"session", begin).expect("a ticket");
            assert_eq!(keys.open(b"terms", &ticket, begin + PERIOD).as_deref(), Some(&b"session"[..]));
            assert_eq!(keys.open(b"other", &ticket, begin), None);
            assert_eq!(keys.open(b"terms", &ticket, begin + 4 * PERIOD), None);
        }
    }

    #[test]
    fn what_is_no_ticket_does_not_open() {
        let keys = TicketKeys::default();
        let ticket = keys.seal(b"", b"session", 0).expect("a ticket");
        for place in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[place] ^= 1;
            assert_eq!(keys.open(b"", &damaged, 0), None, "{place}");
            assert_eq!(keys.open(b"", &ticket[..place], 0), None, "{place}");
        }
    }

    #[test]
    fn the_keys_of_the_fleet_come_before_own_ones_as_long_as_somebody_keeps_them_up() {
        let (one, other) = (TicketKeys::default(), TicketKeys::default());
        let own = one.seal(b"", b"before", 0).expect("a ticket");
        let fleet = Ring::default().renewed(0).expect("randomness").expect("keys");
        one.take(&fleet, 1);
        other.take(&fleet, 1);
        assert_eq!(one.open(b"", &own, 1).as_deref(), Some(&b"before"[..]), "the first clients are not forgotten");
        for now in [1, PERIOD, 2 * PERIOD] {
            let ticket = one.seal(b"", b"session", now).expect("a ticket");
            assert_eq!(other.open(b"", &ticket, now).as_deref(), Some(&b"session"[..]), "{now}");
        }
        let late = 4 * PERIOD;
        let ticket = one.seal(b"", b"session", late).expect("a ticket");
        assert_eq!(other.open(b"", &ticket, late), None, "nobody has made new ones");
        assert_eq!(one.open(b"", &ticket, late).as_deref(), Some(&b"session"[..]));
    }
}
