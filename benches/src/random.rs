//! Chance: the same for the same seed.

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even over (0, 1].
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    pub fn unit(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// One of so many, from 0 on.
    #[expect(clippy::cast_possible_truncation, reason = "it is below a number of 32 bits")]
    pub fn below(&mut self, count: u32) -> u32 {
        ((u128::from(self.draw()) * u128::from(count)) >> 64) as u32
    }

    /// The time to the next of independent events.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// The exponential of a normal distribution, by Box and Muller.
    pub fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        mean * (sigma * normal - sigma * sigma / 2.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_three_is_each_of_them_as_often() {
        let mut random = Random(1);
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[random.below(3) as usize] += 1);
        assert!(counts.iter().all(|count| (9_700..10_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn means_are_the_ones_asked_for() {
        let mut random = Random(1);
        let mut mean = |draw: fn(&mut Random) -> f64| (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 1e5;
        let exponential = mean(|random| random.exponential(10.0));
        let lognormal = mean(|random| random.lognormal(10.0, 0.8));
        assert!((9.8..10.2).contains(&exponential) && (9.8..10.2).contains(&lognormal), "{exponential} {lognormal}");
    }
}
