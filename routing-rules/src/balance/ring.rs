//! Consistent hashing with bounded load: the same key finds the same endpoint, as long as that is not overrun.
//!
//! A ring: every endpoint has places on it by its weight, and a key belongs to the next place. An endpoint that comes
//! takes keys from all others and moves none between them; one that leaves gives its keys to all others. Whoever has
//! more in flight than the bound allows is passed over, so one hot key cannot drown one endpoint (Mirrokni, Thorup and
//! Zadimoghaddam, 2016).
//!
//! Instances that are told the same endpoints and weights build the same ring: the hash has a fixed key.

use siphasher::sip::SipHasher13;

use super::pick::{Picked, View};
use super::schedule::Schedule;

/// The endpoints of an upstream on a ring.
#[derive(Clone, Debug)]
pub struct HashRing {
    /// The places, growing.
    places: Box<[u64]>,
    /// The endpoint of each place.
    owners: Box<[u32]>,
    /// Only for its weights.
    schedule: Schedule,
    bound: f64,
}

/// Those among the endpoints that take a request, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taking {
    /// What is in flight there.
    pub load: u32,
    /// Their weight, by [`HashRing::weight`].
    pub weight: f64,
}

impl HashRing {
    /// A ring of endpoints, each with a name that stays the same (such as its address) and its configured weight. No
    /// endpoint gets more than `bound` times its part of what is in flight.
    pub fn new<N: AsRef<[u8]>>(endpoints: &[(N, u16)], bound: f64) -> Self {
        let unit = places_per_weight(endpoints.iter().map(|(_, weight)| u64::from(*weight)).sum());
        let mut ring: Vec<(u64, u32)> = Vec::new();
        for (owner, (name, weight)) in (0..).zip(endpoints) {
            let hasher = SipHasher13::new_with_key(b"serin ring place");
            let seed = hasher.hash(name.as_ref());
            ring.extend((0..places(*weight, unit)).map(|nth| (mix(seed, nth), owner)));
        }
        ring.sort_unstable();
        let (places, owners): (Vec<u64>, Vec<u32>) = ring.into_iter().unzip();
        let weights: Vec<f64> = endpoints.iter().map(|(_, weight)| f64::from(*weight)).collect();
        Self { places: places.into(), owners: owners.into(), schedule: Schedule::new(&weights), bound }
    }

    /// The place of a key.
    pub fn hash(key: &[u8]) -> u64 {
        SipHasher13::new_with_key(b"serin ring key 1").hash(key)
    }

    /// The weight of an endpoint.
    pub fn weight(&self, endpoint: usize) -> f64 {
        self.schedule.weight(endpoint)
    }

    /// Those that take a request. It looks at all of them.
    pub fn taking<L, A>(&self, view: &View<'_, L, A>) -> Taking
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let taking = (0..self.schedule.len()).filter(|endpoint| view.takes(*endpoint));
        taking.fold(Taking::default(), |sum, endpoint| Taking {
            load: sum.load + (view.load)(endpoint),
            weight: sum.weight + self.weight(endpoint),
        })
    }

    /// The endpoint for a key's hash. `None` if none takes the request. `taking` is [`Self::taking`], or was so a moment ago;
    /// asked where the endpoint that has the key is not idle.
    #[inline]
    pub fn pick<L, A>(&self, hash: u64, view: &View<'_, L, A>, taking: impl FnOnce() -> Taking) -> Option<Picked>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let home = self.owner_from(hash).next()?;
        // Nothing in flight is within every bound.
        if view.takes(home) && (view.load)(home) == 0 {
            return Some(Picked { endpoint: home, passed_over: None });
        }
        // What one unit of weight may have in flight: what the others cannot take must fit in as well.
        let Taking { load, weight } = taking();
        let per_weight = if weight > 0.0 { self.bound * (f64::from(load) + 1.0) / weight } else { 0.0 };
        let has_room = |endpoint: &usize| {
            view.takes(*endpoint) && view.load(*endpoint) < (per_weight * self.schedule.weight(*endpoint)).ceil()
        };
        let next = self.owner_from(hash).take(MAX_STEPS).find(has_room);
        let endpoint = next.or_else(|| self.schedule.least_busy(view))?;
        let passed_over = (endpoint != home && view.takes(home)).then_some(home);
        Some(Picked { endpoint, passed_over })
    }

    /// The owners of the places from a hash on, once around.
    fn owner_from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.places.partition_point(|place| *place < hash);
        self.owners[start..].iter().chain(&self.owners[..start]).map(|owner| *owner as usize)
    }
}

/// How many places one unit of weight has: halved until all of them fit. It depends on powers of two only, so it
/// changes seldom; when it does, half of each endpoint's places stay where they are.
fn places_per_weight(weight_total: u64) -> f64 {
    let mut unit = PLACES;
    while unit * weight_total as f64 > MAX_PLACES {
        unit /= 2.0;
    }
    unit
}

fn places(weight: u16, unit: f64) -> u64 {
    if weight == 0 { 0 } else { (f64::from(weight) * unit).round().max(1.0) as u64 }
}

/// The place of an endpoint's nth point: SplitMix64 from the endpoint's seed.
fn mix(seed: u64, nth: u64) -> u64 {
    let mut z = seed.wrapping_add((nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So many places make shares true to about 6 %.
const PLACES: f64 = 256.0;
/// 1.5 MB.
const MAX_PLACES: f64 = 131_072.0;
/// How many places are passed before one looks at all endpoints instead.
const MAX_STEPS: usize = 256;
