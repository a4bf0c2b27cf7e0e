//! What the endpoints of an upstream have shown that they can carry.
//!
//! A hang looks like a load: requests pile up, and nobody fails yet. So a stretch of time counts only if few failed in it and none took
//! much longer than usual. Memory is bounded: an hour is twelve blocks of five minutes, of all endpoints together, so that what was
//! shown outlives the endpoint that showed it.

/// What one endpoint did in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// How long the stretch was, in seconds.
    pub seconds: f64,
    /// Requests in flight, on average.
    pub in_flight: f64,
    /// Requests that came.
    pub requests: u64,
    /// Requests that failed.
    pub failures: u64,
}

/// What endpoints of one upstream have carried in the last hour.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// By number modulo their count.
    blocks: [Block; BLOCKS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    number: u64,
    /// The most that one endpoint has carried well.
    most: f64,
    /// Requests, and the time they spent in flight.
    requests: f64,
    busy_s: f64,
}

impl Carried {
    /// Takes what the endpoints did in a stretch of time that has just ended, at this second of any clock that never goes back.
    pub fn take(&mut self, at_s: u64, slots: impl IntoIterator<Item = Slot>) {
        let usual_s = self.usual_s(at_s);
        let number = number(at_s);
        let block = &mut self.blocks[number as usize % BLOCKS];
        if block.number != number {
            *block = Block { number, ..Block::default() };
        }
        for slot in slots {
            if slot.is_good(usual_s) {
                block.most = block.most.max(slot.in_flight);
            }
            block.requests += slot.requests as f64;
            block.busy_s += slot.in_flight * slot.seconds;
        }
    }

    /// The most requests that one endpoint has had in flight for a stretch of time, and served well. `None` if none has had any.
    pub fn most(&self, at_s: u64) -> Option<f64> {
        let most = self.lately(at_s).map(|block| block.most).fold(0.0, f64::max);
        (most > 0.0).then_some(most)
    }

    /// How long requests take.
    fn usual_s(&self, at_s: u64) -> Option<f64> {
        let sum = self.lately(at_s).fold((0.0, 0.0), |sum, block| (sum.0 + block.busy_s, sum.1 + block.requests));
        (sum.1 > 0.0).then(|| sum.0 / sum.1)
    }

    fn lately(&self, at_s: u64) -> impl Iterator<Item = &Block> {
        let oldest = (number(at_s) + 1).saturating_sub(BLOCKS as u64);
        self.blocks.iter().filter(move |block| block.number >= oldest)
    }
}

impl Slot {
    fn is_good(&self, usual_s: Option<f64>) -> bool {
        let (requests, failures) = (self.requests as f64, self.failures as f64);
        let is_served = requests > 0.0 && failures <= requests * MOST_FAILURES;
        is_served && usual_s.is_none_or(|usual_s| self.in_flight * self.seconds <= requests * usual_s * SLOWER)
    }
}

/// Blocks are numbered from 1: those that were never used have 0.
fn number(at_s: u64) -> u64 {
    at_s / BLOCK_S + 1
}

const BLOCK_S: u64 = 300;
const BLOCKS: usize = 12;

/// The part of requests that may fail where a load is carried.
const MOST_FAILURES: f64 = 0.05;

/// Whoever takes so many times as long as usual does not carry what it has.
const SLOWER: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// So many in flight, each for so many seconds.
    fn slot(in_flight: f64, time_s: f64) -> Slot {
        Slot { seconds: 5.0, in_flight, requests: (5.0 * in_flight / time_s) as u64, failures: 0 }
    }

    #[test]
    fn what_was_carried_counts_for_an_hour() {
        let mut carried = Carried::default();
        assert_eq!(carried.most(0), None);
        carried.take(5, [slot(3.0, 0.1), slot(12.0, 0.1)]);
        carried.take(10, [slot(4.0, 0.1)]);
        assert_eq!(carried.most(10), Some(12.0));
        carried.take(3_000, [slot(5.0, 0.1)]);
        assert_eq!([3_599, 3_600, 6_900].map(|at_s| carried.most(at_s)), [Some(12.0), Some(5.0), None]);
    }

    #[test]
    fn what_fails_or_hangs_is_not_carried() {
        let mut carried = Carried::default();
        carried.take(5, [slot(8.0, 0.1)]);
        let failing = Slot { failures: 100, ..slot(30.0, 0.1) };
        carried.take(10, [failing, slot(30.0, 0.5), Slot { requests: 0, ..slot(30.0, 0.1) }]);
        assert_eq!(carried.most(10), Some(8.0));
        // More that take a little longer: that is what a load looks like.
        let some_fail = Slot { failures: 5, ..slot(20.0, 0.15) };
        carried.take(15, [some_fail]);
        assert_eq!(carried.most(15), Some(20.0));
    }
}
