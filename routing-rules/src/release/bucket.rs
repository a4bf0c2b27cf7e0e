//! Buckets and shares: the arithmetic of "how many percent of all users".

use siphasher::sip::SipHasher24;

use super::Salt;
use crate::rules::Range;
use crate::spec::Percent;

/// A user's place among all users of a release: `h = SipHash-2-4(salt, key)`, even over all 64-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u64);

impl Bucket {
    /// The bucket of a sticky key.
    ///
    /// ```
    /// # use routing_rules::release::{Bucket, Salt};
    /// let salt = Salt::from_hex("000102030405060708090a0b0c0d0e0f").unwrap();
    /// assert_eq!(Bucket::of(&salt, b"user-42").hash(), 0x6638085dbda7adc7);
    /// assert_eq!(Bucket::of(&salt, b"user-42").line(), 3992);
    /// ```
    pub fn of(salt: &Salt, key: &[u8]) -> Self {
        Self(SipHasher24::new_with_key(salt.as_bytes()).hash(key))
    }

    /// A bucket that was computed before, for example by the instance that sent it in a pin.
    pub fn from_hash(hash: u64) -> Self {
        Self(hash)
    }

    /// A bucket of which only the place on the line is known, for example from an access log: the middle of that
    /// place. Percents have two decimals, so no share cuts a place in two, and the middle is in where the user is.
    ///
    /// ```
    /// # use routing_rules::release::Bucket;
    /// assert_eq!(Bucket::from_line(4_711).unwrap().line(), 4_711);
    /// assert_eq!(Bucket::from_line(10_000), None);
    /// ```
    pub fn from_line(line: u16) -> Option<Self> {
        let twice_the_middle = 2 * u128::from(line) + 1;
        (line < 10_000).then_some(Self(((twice_the_middle << 63) / 10_000) as u64))
    }

    /// The whole number `h`.
    pub fn hash(self) -> u64 {
        self.0
    }

    /// The place on the line 0 to 9,999, for people: at 10 % the buckets 0 to 999 are in the canary group, except
    /// that with [`Range::High`] it takes the other end.
    pub fn line(self) -> u16 {
        ((u128::from(self.0) * 10_000) >> 64) as u16
    }

    /// Whether the first `percent` of all users, counted from one end of the line, include this one.
    pub fn in_share(self, percent: Percent, range: Range) -> bool {
        Cut::new(percent, range).takes(self)
    }
}

/// A percent, ready to be compared with buckets: the division happens when rules are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// T: how many of the 2^64 numbers are taken; all of them if `everybody`, which 64 bits cannot say.
    threshold: u64,
    everybody: bool,
    range: Range,
}

impl Cut {
    pub(super) fn new(percent: Percent, range: Range) -> Self {
        let points = u128::from(percent.basis_points());
        Self { threshold: ((points << 64) / 10_000) as u64, everybody: percent == Percent::ALL, range }
    }

    pub(super) fn takes(self, bucket: Bucket) -> bool {
        // h >= 2^64 - T is the same as 2^64 - 1 - h < T, which stays within 64 bits.
        let from_end = match self.range {
            Range::Low => bucket.0,
            Range::High => u64::MAX - bucket.0,
        };
        self.everybody || from_end < self.threshold
    }

    /// Whether some users are not taken: those are what the others are compared with, also before there are any.
    pub(super) fn leaves_some(self) -> bool {
        !self.everybody
    }

    /// Whether users without a bucket are taken: at 100 % nobody needs a hash.
    pub(super) fn takes_everybody(self) -> bool {
        self.everybody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_the_specification() {
        for (points, threshold) in
            [(1, 0x0006_8db8_bac7_10cb), (100, 0x028f_5c28_f5c2_8f5c), (1_000, 0x1999_9999_9999_9999)]
        {
            let percent = Percent::from_basis_points(points).unwrap();
            assert_eq!(Cut::new(percent, Range::Low).threshold, threshold, "{points}");
        }
    }

    #[test]
    fn a_place_on_the_line_is_in_where_its_users_are() {
        for line in 0..10_000 {
            let bucket = Bucket::from_line(line).unwrap();
            assert_eq!(bucket.line(), line);
            let [below, above] = [line, line + 1].map(|points| Percent::from_basis_points(points).unwrap());
            assert!(!bucket.in_share(below, Range::Low) && bucket.in_share(above, Range::Low), "{line}");
        }
        assert_eq!(Bucket::from_line(10_000), None);
    }
}
