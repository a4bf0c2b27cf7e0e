//! What is at the endpoints of an upstream, as one worker knows it: its own requests exactly, those of the other workers as
//! of a moment ago.
//!
//! Only what a request asks for is looked at, and what concerns all endpoints at most every other millisecond, so that a choice
//! among many endpoints costs what one among few does.

use std::cell::Cell;

use routing_rules::balance::Taking;

/// What the other workers have at one endpoint: reading it for every request would take it out of its writers' caches.
#[derive(Default)]
pub(super) struct Look(Cell<Option<(u64, u32)>>);

impl Look {
    pub(super) fn at(&self, now_us: u64, read: impl FnOnce() -> u32) -> u32 {
        match self.0.get() {
            Some((looked_us, number)) if is_fresh(looked_us, now_us) => number,
            _ => {
                let number = read();
                self.0.set(Some((now_us, number)));
                number
            }
        }
    }
}

/// What all workers have at all endpoints.
#[derive(Default)]
pub(super) struct Total(Cell<Option<Seen>>);

/// A sum, and what this worker had in flight when it was made: the difference has come or gone since.
#[derive(Clone, Copy)]
struct Seen {
    looked_us: u64,
    own: u32,
    load: u32,
}

impl Total {
    pub(super) fn at(&self, now_us: u64, own: u32, sum: impl FnOnce() -> u32) -> u32 {
        let seen = match self.0.get() {
            Some(seen) if is_fresh(seen.looked_us, now_us) => seen,
            _ => {
                let seen = Seen { looked_us: now_us, own, load: sum() };
                self.0.set(Some(seen));
                seen
            }
        };
        seen.now(own)
    }
}

impl Seen {
    fn now(self, own: u32) -> u32 {
        self.load.saturating_add(own).saturating_sub(self.own)
    }
}

/// What all workers have at those endpoints of a ring that take requests, and their weight.
#[derive(Default)]
pub(super) struct LookAtTaking {
    seen: Option<(Seen, f64)>,
    /// Those that take some keys only, because their breaker lets them come back, each with the place below which those are:
    /// usually none.
    coming_back: Vec<(usize, u16)>,
}

impl LookAtTaking {
    /// For a key at this place from 0 to 9,999, or for any. `of` tells load and weight of an endpoint, and `list` which take
    /// requests at all, each with the place below which keys are theirs.
    pub(super) fn at(
        &mut self,
        [now_us, own]: [u64; 2],
        line: Option<u16>,
        of: impl Fn(usize) -> (u32, f64),
        list: impl FnOnce() -> Vec<(usize, u16)>,
    ) -> Taking {
        let own = own as u32;
        let add = |sum: Taking, (place, _): &(usize, u16)| {
            let (load, weight) = of(*place);
            Taking { load: sum.load.saturating_add(load), weight: sum.weight + weight }
        };
        let (seen, weight) = match self.seen {
            Some(seen) if is_fresh(seen.0.looked_us, now_us) => seen,
            _ => {
                let (whole, part): (Vec<_>, Vec<_>) = list().into_iter().partition(|(_, below)| *below >= ALL_KEYS);
                self.coming_back = part;
                let whole = whole.iter().fold(Taking::default(), add);
                *self.seen.insert((Seen { looked_us: now_us, own, load: whole.load }, whole.weight))
            }
        };
        let is_theirs = |(_, below): &&(usize, u16)| line.is_none_or(|line| line < *below);
        let whole = Taking { load: seen.now(own), weight };
        self.coming_back.iter().filter(is_theirs).fold(whole, add)
    }
}

fn is_fresh(looked_us: u64, now_us: u64) -> bool {
    now_us.saturating_sub(looked_us) < STALE_US
}

/// The place of no key is above.
pub(super) const ALL_KEYS: u16 = 10_000;

/// 16 workers and pauses of 200 ms at each endpoint: p99 56 ms when the others' loads are 2 ms old, as when they are exact;
/// 70 ms when they are 50 ms old, 186 ms without them (`routing-rules/tests/simulation`).
const STALE_US: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_as_old_as_they_may_be_and_know_what_came_since() {
        let total = Total::default();
        assert_eq!(total.at(1_000, 5, || 20), 20);
        assert_eq!(total.at(2_999, 8, || unreachable!("it is fresh")), 23);
        assert_eq!(total.at(2_999, 1, || unreachable!()), 16);
        assert_eq!(total.at(3_000, 1, || 7), 7);
        let look = Look::default();
        assert_eq!([(0, 3), (1_999, 4), (2_000, 5)].map(|(now_us, load)| look.at(now_us, || load)), [3, 3, 5]);
    }

    #[test]
    fn who_comes_back_counts_for_the_keys_it_has() {
        let mut taking = LookAtTaking::default();
        let of = |place: usize| ([10, 20, 40][place], 1.0);
        // The first takes all keys, the second a tenth of them; the third is out, with what hangs there.
        let mut at = |now_us, own, line| taking.at([now_us, own], line, of, || vec![(0, ALL_KEYS), (1, 1_000)]);
        assert_eq!(at(0, 1, Some(999)), Taking { load: 30, weight: 2.0 });
        assert_eq!(at(1, 3, Some(1_000)), Taking { load: 12, weight: 1.0 });
        assert_eq!(at(2, 1, None), Taking { load: 30, weight: 2.0 });
    }
}
