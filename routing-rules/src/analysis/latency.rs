//! Latency in steps of 9 %, eight for each doubling (specification of the analysis, §1).
//!
//! Step i covers (2^((i−1)/8), 2^(i/8)] ms. Kept are i from −32 to 154, that is 1/16 ms to ten minutes; what is
//! quicker or slower is in the first or the last one. Finding a step is on the way of every request: integers only,
//! no loop.

/// A latency, as far as it is told apart: one of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latency(u8);

impl Latency {
    /// How many there are: an array of so many counters has one for each [`Latency::place`].
    pub const COUNT: usize = (LAST - FIRST + 1) as usize;

    /// Up to 1/16 ms, however little.
    pub const QUICKEST: Self = Self(0);

    /// Ten minutes and more.
    pub const SLOWEST: Self = Self((LAST - FIRST) as u8);

    /// Where a latency lies.
    ///
    /// ```
    /// # use routing_rules::analysis::Latency;
    /// assert_eq!(Latency::of_us(1_000).index(), 0, "1 ms is the end of step 0");
    /// assert_eq!(Latency::of_us(1_001).index(), 1);
    /// assert_eq!(Latency::of_us(0), Latency::QUICKEST);
    /// assert_eq!(Latency::of_us(u64::MAX), Latency::SLOWEST);
    /// ```
    pub fn of_us(latency_us: u64) -> Self {
        let latency_us = latency_us.max(1);
        let zeros = latency_us.leading_zeros();
        let doublings = 63 - zeros as i32;
        // The latency as a number from 2^63 on: below which ends of this doubling's steps does it lie?
        let mantissa = latency_us << zeros;
        let passed: i32 = ENDS.iter().map(|end| i32::from(mantissa > *end)).sum();
        let index = 8 * (doublings - DOUBLINGS_OF_FIRST_END) + 1 + passed;
        Self((index.clamp(FIRST, LAST) - FIRST) as u8)
    }

    /// The step with this number; the nearest one if it is not kept.
    pub fn at(index: i32) -> Self {
        Self((index.clamp(FIRST, LAST) - FIRST) as u8)
    }

    /// Its number, i.
    pub fn index(self) -> i32 {
        FIRST + i32::from(self.0)
    }

    /// Its place among all that are kept, from 0.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }

    /// The step in this place; the last one if there is none.
    pub fn at_place(place: usize) -> Self {
        Self(u8::try_from(place).unwrap_or(u8::MAX).min(Self::SLOWEST.0))
    }

    /// Its end, in ms. The last one has none; this is where it would be.
    pub fn end_ms(self) -> f64 {
        (f64::from(self.index()) / 8.0).exp2()
    }

    /// So many steps slower.
    pub(super) fn slower_by(self, steps: u8) -> Self {
        Self(self.0.saturating_add(steps).min(Self::SLOWEST.0))
    }
}

const FIRST: i32 = -32;
const LAST: i32 = 154;

/// 1000 · 2^(1/8) µs, the first of [`ENDS`], lies between 2^10 and 2^11 µs.
const DOUBLINGS_OF_FIRST_END: i32 = 10;

/// ⌊1000 · 2^(k/8) · 2^53⌋ for k from 1 to 8: the ends of the steps between 2^10 and 2^11 µs, and by their leading
/// bits those of every other doubling. All but the last are irrational, so rounding them down puts no whole number of
/// microseconds on the wrong side.
const ENDS: [u64; 8] = [
    0x8850_3f58_930c_8fdd,
    0x94a6_a0af_a466_5576,
    0xa21a_dda1_b729_5194,
    0xb0c6_d580_c203_2e29,
    0xc0c6_bf14_ed08_b1bc,
    0xd239_5ede_1595_ba72,
    0xe540_423e_6df5_5fd7,
    0xfa00_0000_0000_0000,
];
