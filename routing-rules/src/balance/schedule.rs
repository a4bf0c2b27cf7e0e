//! The stride schedule: whose turn it is, by weight and evenly mixed (specification of the balancing, §4).
//!
//! Sequence numbers walk over the endpoints again and again. An endpoint of the largest weight is accepted every time it
//! is passed, one of half the weight every second time, and neighbours at different times. There is no state but the
//! sequence number: a change of the weights does not start a new round, and nobody gets a burst.

/// The weights of one moment, ready to be picked from. It never changes, so that all workers share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// 0 to 65,535 for each endpoint; the largest weight is 65,535, unless all are 0.
    w16: Box<[u16]>,
    /// The same before rounding, as parts of the largest: what loads are divided by.
    weights: Box<[f64]>,
    /// The sum of `weights`.
    total: f64,
    /// How many endpoints have a weight.
    in_turn: usize,
    /// floor((2^64 - 1) / number of endpoints): dividing by the number becomes a multiplication.
    reciprocal: u64,
}

impl Schedule {
    /// A schedule for these weights, by the place of the endpoints. Only their ratios matter; what is not a positive,
    /// finite number takes no part, and what is positive takes part however small it is.
    pub fn new(weights: &[f64]) -> Self {
        let takes_part = |weight: f64| weight > 0.0 && weight.is_finite();
        let largest = weights.iter().copied().filter(|weight| takes_part(*weight)).fold(0.0, f64::max);
        let part = |weight: f64| if takes_part(weight) { (weight / largest).max(f64::MIN_POSITIVE) } else { 0.0 };
        let parts: Box<[f64]> = weights.iter().map(|weight| part(*weight)).collect();
        let w16 = |part: f64| if part > 0.0 { (65_535.0 * part).round().max(1.0) as u16 } else { 0 };
        Self {
            w16: parts.iter().map(|part| w16(*part)).collect(),
            total: parts.iter().sum(),
            in_turn: parts.iter().filter(|part| **part > 0.0).count(),
            weights: parts,
            reciprocal: u64::MAX.checked_div(weights.len() as u64).unwrap_or(0),
        }
    }

    /// The place of the next endpoint; `seq` moves behind it. `None` if no endpoint takes part.
    ///
    /// ```
    /// # use routing_rules::balance::Schedule;
    /// let schedule = Schedule::new(&[1.0, 0.5, 0.25]);
    /// let mut seq = 0;
    /// let picks: Vec<usize> = std::iter::from_fn(|| schedule.next(&mut seq)).take(7).collect();
    /// assert_eq!(picks, [0, 1, 2, 0, 0, 1, 0]);
    /// ```
    pub fn next(&self, seq: &mut u64) -> Option<usize> {
        self.walk(seq, |position| position)
    }

    /// The same over the endpoints in another order.
    pub(super) fn next_in(&self, order: &[u32], seq: &mut u64) -> Option<usize> {
        self.walk(seq, |position| order[position] as usize)
    }

    #[inline]
    fn walk(&self, seq: &mut u64, endpoint_at: impl Fn(usize) -> usize) -> Option<usize> {
        // The largest weight is accepted whenever it is passed, so one round finds somebody. The second covers the
        // place where the sequence number wraps around, in the middle of a round.
        let (mut generation, mut position) = self.place(*seq);
        for _ in 0..2 * self.w16.len() {
            *seq = seq.wrapping_add(1);
            let endpoint = endpoint_at(position);
            if has_turn(self.w16[endpoint], generation, position) {
                return Some(endpoint);
            }
            position += 1;
            if position == self.w16.len() || *seq == 0 {
                (generation, position) = self.place(*seq);
            }
        }
        None
    }

    /// Whether the endpoint at `position` gets its turn in round `generation`. Picking is going through the
    /// positions of one round after the other, and taking those that are accepted.
    ///
    /// # Panics
    /// There is no such position.
    pub fn accepts(&self, generation: u64, position: usize) -> bool {
        has_turn(self.w16[position], generation, position)
    }

    /// The endpoint's weight as a part of the largest; 0 if it takes no part.
    pub fn weight(&self, endpoint: usize) -> f64 {
        self.weights[endpoint]
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// How many endpoints have a weight.
    pub(super) fn in_turn(&self) -> usize {
        self.in_turn
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.w16.len()
    }

    /// Whether there are no endpoints.
    pub fn is_empty(&self) -> bool {
        self.w16.is_empty()
    }

    /// `(seq / n, seq % n)`. The product falls short of the quotient by one at most: the reciprocal is less than 1 too
    /// small, and `seq` of these shortfalls are less than one after the division by 2^64.
    fn place(&self, seq: u64) -> (u64, usize) {
        let len = self.w16.len() as u64;
        let quotient = ((u128::from(seq) * u128::from(self.reciprocal)) >> 64) as u64;
        let rest = seq - quotient * len;
        match rest >= len && len > 0 {
            true => (quotient + 1, (rest - len) as usize),
            false => (quotient, rest as usize),
        }
    }
}

fn has_turn(w16: u16, generation: u64, position: usize) -> bool {
    let w16 = u64::from(w16);
    let phase = w16 * (generation % STRIDE) + OFFSET * (position as u64 % STRIDE);
    w16 > 0 && phase % STRIDE >= STRIDE - w16
}

const STRIDE: u64 = 65_535;
/// About half of the stride, so that neighbours of equal weight take turns.
const OFFSET: u64 = 32_767;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_divides() {
        for len in [1, 2, 3, 5, 7, 64, 200, 1_000, 65_535, 100_000] {
            let schedule = Schedule::new(&vec![1.0; len]);
            let (len, edge) = (len as u64, u64::MAX / len as u64 * len as u64);
            let around = |middle: u64| (0..5).map(move |step| middle.wrapping_sub(2).wrapping_add(step));
            let seqs = [0, len, 2 * len, 1 << 32, 1 << 63, edge, edge - len, u64::MAX].into_iter().flat_map(around);
            for seq in seqs {
                assert_eq!(schedule.place(seq), (seq / len, (seq % len) as usize), "{seq} by {len}");
            }
        }
    }
}
