//! Randomness from the operating system, for seeds and secrets.

use std::cell::Cell;

/// Numbers that look random, of one seed, for choices that thousands of endpoints make twice a second: the system is asked once. Not for
/// secrets.
///
/// SplitMix64, by Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub(crate) struct Draws(Cell<u64>);

impl Draws {
    pub(crate) fn new() -> Self {
        Self(Cell::new(seed()))
    }

    /// A number from 0 to 1, which it is not.
    pub(crate) fn unit(&self) -> f64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A random number.
///
/// # Panics
/// If the operating system gives none, which Linux does not do once it has booted.
pub(crate) fn seed() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

/// 32 random bytes, for a secret.
///
/// # Errors
/// The operating system gives none.
pub(crate) fn secret() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_from_0_to_1() {
        let draws = Draws::new();
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let draw = draws.unit();
            assert!((0.0..1.0).contains(&draw), "{draw}");
            tenths[(draw * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1_200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // The first of the seed 0 is 0xe220a8397b1dcdaf.
        let first = Draws(Cell::new(0)).unit();
        assert_eq!(first, (0xe220_a839_7b1d_cdaf_u64 >> 11) as f64 / (1u64 << 53) as f64);
    }
}
