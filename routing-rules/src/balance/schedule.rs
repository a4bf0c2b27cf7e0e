//! The stride schedule: whose turn it is, by weight and evenly mixed (specification of the balancing, §4).
//!
//! Sequence numbers walk over the endpoints again and again. An endpoint of the largest weight is accepted every time it
//! is passed, one of half the weight every second time, and neighbours at different times. There is no state but the
//! sequence number: a change of the weights does not start a new round, and nobody gets a burst.

/// The weights of one moment, ready to be picked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// 0 to 65,535 for each endpoint; the largest weight is 65,535, unless all are 0.
    w16: Box<[u16]>,
    /// floor((2^64 - 1) / number of endpoints): dividing by the number becomes a multiplication.
    reciprocal: u64,
}

impl Schedule {
    /// A schedule for these weights, by the place of the endpoints. Only their ratios matter; what is not a positive,
    /// finite number takes no part, and what is positive takes part however small it is.
    pub fn new(weights: &[f64]) -> Self {
        let takes_part = |weight: f64| weight > 0.0 && weight.is_finite();
        let largest = weights.iter().copied().filter(|weight| takes_part(*weight)).fold(0.0, f64::max);
        let w16 = |weight: f64| match takes_part(weight) {
            true => (65_535.0 * (weight / largest)).round().max(1.0) as u16,
            false => 0,
        };
        Self {
            w16: weights.iter().map(|weight| w16(*weight)).collect(),
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
        // The largest weight is accepted whenever it is passed, so one round finds somebody. The second covers the
        // place where the sequence number wraps around, in the middle of a round.
        for _ in 0..2 * self.w16.len() {
            let (generation, position) = self.place(*seq);
            *seq = seq.wrapping_add(1);
            if self.accepts(generation, position) {
                return Some(position);
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
        let w16 = u64::from(self.w16[position]);
        let phase = w16 * (generation % STRIDE) + OFFSET * (position as u64 % STRIDE);
        w16 > 0 && phase % STRIDE >= STRIDE - w16
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
