//! Latencies in buckets that grow by the eighth root of two: bucket `i` covers `(2^((i-1)/8), 2^(i/8)]` ms (specification of
//! the analysis, §1), so that "slower by a factor" is "further by so many buckets". The ends are open.
//!
//! Which bucket it is, is read from the bits of the number: no logarithm on the way of a request.

use std::f64::consts::SQRT_2;

/// How many buckets there are, from 1/16 ms to 16 minutes.
pub const LATENCY_BUCKETS: usize = OCTAVES * STEPS.len();

/// The latency is at least half of the bucket's upper edge for all buckets of one octave.
pub(super) const OCTAVES: usize = 24;

/// The place of a latency's bucket, from 0.
pub fn latency_bucket(latency_us: u64) -> usize {
    let ms = latency_us as f64 / 1_000.0;
    if ms <= SHORTEST_MS {
        return 0;
    }
    // A number from 1 to 2, times a power of two.
    let bits = ms.to_bits();
    let fraction = f64::from_bits(bits & FRACTION | 1_f64.to_bits());
    let exponent = (bits >> FRACTION.count_ones()) as i32 - EXPONENT_OF_ONE;
    let step = STEPS.iter().filter(|edge| fraction > **edge).count() as i32;
    let place = (exponent - SHORTEST_EXPONENT) * STEPS.len() as i32 + step;
    usize::try_from(place).unwrap_or(0).min(LATENCY_BUCKETS - 1)
}

/// The upper edge of a bucket in ms. That of the last one is no bound.
pub fn latency_edge_ms(bucket: usize) -> f64 {
    (bucket as f64 / STEPS.len() as f64).exp2() * SHORTEST_MS
}

/// `2^(i/8)`
const STEPS: [f64; 8] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
];

/// `2^SHORTEST_EXPONENT`
const SHORTEST_MS: f64 = 0.062_5;
const SHORTEST_EXPONENT: i32 = -4;

// IEEE 754, binary64.
const FRACTION: u64 = (1 << 52) - 1;
const EXPONENT_OF_ONE: i32 = 1_023;

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, which is slow.
    fn by_logarithm(latency_us: u64) -> usize {
        let place = (8.0 * (latency_us as f64 / 1_000.0).log2()).ceil() + 32.0;
        place.clamp(0.0, (LATENCY_BUCKETS - 1) as f64) as usize
    }

    #[test]
    fn buckets_are_those_of_the_definition() {
        let growing = std::iter::successors(Some(1_u64), |us| Some(us + us / 1_000 + 1));
        let mut count = 0;
        for us in growing.take_while(|us| *us < 3_000_000_000) {
            assert_eq!(latency_bucket(us), by_logarithm(us), "{us} µs");
            count += 1;
        }
        assert!(count > 10_000);
    }

    #[test]
    fn an_edge_belongs_to_the_bucket_below_it() {
        for (us, edge_ms) in [(62, 0.0625), (125, 0.125), (1_000, 1.0), (2_000, 2.0), (4_096_000, 4_096.0)] {
            assert_eq!(latency_edge_ms(latency_bucket(us)), edge_ms, "{us} µs");
            assert_eq!(latency_bucket(us + 1), latency_bucket(us) + 1, "{us} µs");
        }
        for (us, bucket) in
            [(0, 0), (600_000_000, 186), (1 << 40, LATENCY_BUCKETS - 1), (u64::MAX, LATENCY_BUCKETS - 1)]
        {
            assert_eq!(latency_bucket(us), bucket, "{us} µs");
        }
        for bucket in 8..LATENCY_BUCKETS - 1 {
            let [below, above] = [0.999_9, 1.000_1].map(|factor| (latency_edge_ms(bucket) * 1_000.0 * factor) as u64);
            let around = (latency_bucket(below), latency_bucket(above + 1));
            assert_eq!(around, (bucket, bucket + 1), "{} ms", latency_edge_ms(bucket));
        }
    }
}
