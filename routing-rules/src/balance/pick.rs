//! The choice of every request: weights say how much, what is in flight says not now (specification of the balancing, §4).
//!
//! Every function here is told everything: the worker's place, what is in flight, who admits, the draws. It allocates
//! nothing and stops at once where the first endpoint in turn has nothing to do.

use super::{Schedule, Turns};

/// What a worker knows about the endpoints of an upstream at this moment, by their places.
#[derive(Clone, Copy)]
pub struct View<'t, L, A> {
    /// How many requests are in flight: its own and, as far as it knows them, those of the other workers.
    pub load: L,
    /// How many that are at all endpoints together; asked seldom. Where it is a little older than `load`, the guard errs a
    /// little.
    pub load_total: &'t dyn Fn() -> u32,
    /// Whether an endpoint takes a request now. It is asked and may be asked in vain, so it must claim nothing.
    pub admits: A,
    /// The endpoints that were tried before, for the same request.
    pub tried: &'t [usize],
}

/// The endpoint of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Its place.
    pub endpoint: usize,
    /// Who was passed over, with far more in flight than its part. To be counted.
    pub passed_over: Option<usize>,
}

impl<L: Fn(usize) -> u32, A: Fn(usize) -> bool> View<'_, L, A> {
    pub(super) fn takes(&self, endpoint: usize) -> bool {
        !self.tried.contains(&endpoint) && (self.admits)(endpoint)
    }

    pub(super) fn load(&self, endpoint: usize) -> f64 {
        f64::from((self.load)(endpoint))
    }
}

impl Schedule {
    /// Of three endpoints drawn by weight the least busy, for `dwrr`. `None` if none takes the request.
    ///
    /// # Panics
    /// `turns` is for another number of endpoints.
    #[inline]
    pub fn pick<L, A>(&self, turns: &mut Turns, view: &View<'_, L, A>, draw: impl FnMut() -> u64) -> Option<Picked>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let Picked { endpoint: first, .. } = self.turn(turns, view)?;
        // A low weight still gets its turn, or there would be no evidence that it deserves more.
        if (view.load)(first) == 0 || self.in_turn() < 2 {
            return Some(Picked { endpoint: first, passed_over: None });
        }
        let mut draws = Draws { schedule: self, order: &turns.order, view, draw };
        let best = draws.less_busy(first);
        Some(draws.within_bound(best, first))
    }

    /// The next in turn and nothing else, for `round_robin`. `None` if none takes the request.
    ///
    /// # Panics
    /// `turns` is for another number of endpoints.
    #[inline]
    pub fn turn<L, A>(&self, turns: &mut Turns, view: &View<'_, L, A>) -> Option<Picked>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let next = self.next_taking(&turns.order, &mut turns.seq, view);
        let endpoint = next.or_else(|| self.least_busy(view))?;
        Some(Picked { endpoint, passed_over: None })
    }

    /// Of two endpoints drawn by weight the less busy, for `least_request`. `None` if none takes the request.
    ///
    /// # Panics
    /// `turns` is for another number of endpoints.
    #[inline]
    pub fn two_choices<L, A>(
        &self,
        turns: &Turns,
        view: &View<'_, L, A>,
        mut draw: impl FnMut() -> u64,
    ) -> Option<Picked>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let first = self.next_taking(&turns.order, &mut draw(), view).or_else(|| self.least_busy(view))?;
        let mut draws = Draws { schedule: self, order: &turns.order, view, draw };
        let second = draws.other_than(first).filter(|second| draws.next_load(*second) < draws.next_load(first));
        Some(Picked { endpoint: second.unwrap_or(first), passed_over: None })
    }

    /// The next in turn who takes the request; those who do not are skipped, but not for ever.
    #[inline]
    fn next_taking<L, A>(&self, order: &[u32], seq: &mut u64, view: &View<'_, L, A>) -> Option<usize>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        (0..MAX_SKIPS).map_while(|_| self.next_in(order, seq)).find(|endpoint| view.takes(*endpoint))
    }

    /// Who would be the least busy with one request more. It looks at all, so it is for the rare case that those whose
    /// turn it is do not take the request.
    #[cold]
    pub(super) fn least_busy<L, A>(&self, view: &View<'_, L, A>) -> Option<usize>
    where
        L: Fn(usize) -> u32,
        A: Fn(usize) -> bool,
    {
        let busy = |endpoint: &usize| (view.load(*endpoint) + 1.0) / self.weight(*endpoint);
        let taking = (0..self.len()).filter(|endpoint| self.weight(*endpoint) > 0.0 && view.takes(*endpoint));
        taking.min_by(|one, other| busy(one).total_cmp(&busy(other)))
    }
}

/// Draws by weight for one request.
struct Draws<'a, 't, L, A, D> {
    schedule: &'a Schedule,
    order: &'a [u32],
    view: &'a View<'t, L, A>,
    draw: D,
}

impl<L: Fn(usize) -> u32, A: Fn(usize) -> bool, D: FnMut() -> u64> Draws<'_, '_, L, A, D> {
    /// The least busy of the first and two others. The first is given a small advantage: its turn keeps the shares
    /// even, a draw does not.
    fn less_busy(&mut self, first: usize) -> usize {
        let (mut best, mut load) = (first, 1.05 * self.view.load(first) / self.schedule.weight(first));
        for _ in 0..2 {
            if let Some(other) = self.other_than(first)
                && self.next_load(other) <= load
            {
                (best, load) = (other, self.next_load(other));
            }
        }
        best
    }

    /// The guard: who has far more in flight than its part is passed over, whatever the draws said.
    fn within_bound(&mut self, chosen: usize, first: usize) -> Picked {
        let mut best = chosen;
        // The bound is never below 2.
        if self.view.load(chosen) >= 2.0 {
            let load_total = f64::from((self.view.load_total)());
            for _ in 0..GUARD_DRAWS {
                if !self.is_over_bound(best, load_total) {
                    break;
                }
                best = self.lower(best, first);
            }
        }
        Picked { endpoint: best, passed_over: (best != chosen).then_some(chosen) }
    }

    fn is_over_bound(&self, endpoint: usize, load_total: f64) -> bool {
        let load = self.view.load(endpoint);
        load >= bound(self.schedule.weight(endpoint), self.schedule.total(), load, load_total)
    }

    /// The less busy of `best` and of a draw.
    fn lower(&mut self, best: usize, first: usize) -> usize {
        let other = self.other_than(first).filter(|other| self.next_load(*other) < self.next_load(best));
        other.unwrap_or(best)
    }

    /// Another endpoint than `first`, by weight. Where nearly all weight lies on the first there may be no other.
    fn other_than(&mut self, first: usize) -> Option<usize> {
        (0..=REDRAWS)
            .map_while(|_| self.schedule.next_taking(self.order, &mut (self.draw)(), self.view))
            .find(|endpoint| *endpoint != first)
    }

    /// How busy it would be with this request.
    fn next_load(&self, endpoint: usize) -> f64 {
        (self.view.load(endpoint) + 1.0) / self.schedule.weight(endpoint)
    }
}

/// How much an endpoint may have in flight: half as much again as the others have by their weight, and two.
fn bound(weight: f64, weight_total: f64, load: f64, load_total: f64) -> f64 {
    match weight_total > weight {
        true => 2.0 + 1.5 * weight * (load_total - load).max(0.0) / (weight_total - weight),
        false => f64::INFINITY,
    }
}

/// How many endpoints in turn are skipped because they do not take the request.
const MAX_SKIPS: usize = 64;
/// How often one draws again who drew the first.
const REDRAWS: usize = 4;
/// How many others the guard looks at.
const GUARD_DRAWS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_as_specified() {
        // In flight and weight of the first and of another; whether the other is taken.
        let cases = [
            ((2, 1.0), (1, 1.0), true),
            ((1, 1.0), (1, 1.0), false),
            ((0, 0.1), (0, 1.0), false),
            ((4, 1.0), (0, 1.0 / 16.0), false),
            ((1, 0.25), (2, 1.0), true),
        ];
        for ((load_a, weight_a), (load_b, weight_b), takes_other) in cases {
            let schedule = Schedule::new(&[weight_a, weight_b]);
            let loads: [u32; 2] = [load_a, load_b];
            let view = View {
                load: |endpoint: usize| loads[endpoint],
                load_total: &|| loads.iter().sum(),
                admits: |_| true,
                tried: &[],
            };
            let mut turns = Turns::in_order(2);
            // Begins where it is the first's turn.
            while schedule.next(&mut turns.seq.clone()) != Some(0) {
                turns.seq += 1;
            }
            let mut seq = 0_u64;
            let mut draw = || {
                seq = seq.wrapping_add(0x9e37_79b9_7f4a_7c15);
                seq
            };
            let picks = (0..100).map(|_| schedule.pick(&mut turns.clone(), &view, &mut draw).unwrap());
            assert_eq!(picks.map(|picked| picked.endpoint).max(), Some(takes_other.into()), "{loads:?}");
        }
    }

    #[test]
    fn bounds_as_specified() {
        let (weights, loads): ([f64; 4], [f64; 4]) = ([1.0, 1.0, 1.0, 0.25], [9.0, 1.0, 1.0, 2.0]);
        let bounds = [4.666_667, 10.0, 10.0, 3.375];
        for endpoint in 0..4 {
            let bound = bound(weights[endpoint], weights.iter().sum(), loads[endpoint], loads.iter().sum());
            assert!((bound - bounds[endpoint]).abs() < 5e-7, "{endpoint}: {bound}");
            assert_eq!(loads[endpoint] >= bound, endpoint == 0);
        }
        assert_eq!(bound(1.0, 1.0, 9.0, 9.0), f64::INFINITY);
        assert_eq!(bound(1.0, 2.0, 9.0, 4.0), 2.0, "the sum is older than what came since");
    }

    #[test]
    fn the_guard_keeps_the_lower() {
        let schedule = Schedule::new(&[1.0, 1.0, 1.0, 0.25]);
        let loads = [9, 1, 1, 2];
        let view = View { load: |endpoint: usize| loads[endpoint], load_total: &|| 13, admits: |_| true, tried: &[] };
        let mut seq = 0;
        let draw = || {
            seq += 7;
            seq
        };
        let order = [0, 1, 2, 3];
        let mut draws = Draws { schedule: &schedule, order: &order, view: &view, draw };
        assert_eq!(draws.within_bound(1, 0), Picked { endpoint: 1, passed_over: None });
        let picked = draws.within_bound(0, 3);
        assert!(picked.passed_over == Some(0) && [1, 2].contains(&picked.endpoint), "{picked:?}");
    }
}
