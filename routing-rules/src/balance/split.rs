//! Splits: a route's weighted division over upstreams, without stickiness.

/// The weights of a split, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The sum of the weights up to and with each part.
    sums: Box<[u64]>,
    total: u64,
}

impl Split {
    /// A split by these weights; `None` if there is nothing to choose, because there are no parts or all weigh 0.
    pub fn new(weights: &[u32]) -> Option<Self> {
        let sums: Box<[u64]> = weights
            .iter()
            .scan(0, |sum, weight| {
                *sum += u64::from(*weight);
                Some(*sum)
            })
            .collect();
        let total = *sums.last()?;
        (total > 0).then_some(Self { sums, total })
    }

    /// The part that a random number falls into.
    ///
    /// The draw is scaled, not taken modulo the total: each part gets its share of the 2^64 draws to within one draw,
    /// and no part gains by standing in front.
    ///
    /// ```
    /// # use routing_rules::balance::Split;
    /// let split = Split::new(&[90, 0, 10]).unwrap();
    /// assert_eq!((split.pick(0), split.pick(u64::MAX / 2), split.pick(u64::MAX)), (0, 0, 2));
    /// ```
    pub fn pick(&self, draw: u64) -> usize {
        let point = ((u128::from(draw) * u128::from(self.total)) >> 64) as u64;
        self.sums.partition_point(|sum| *sum <= point)
    }
}
