//! A token bucket as one number: the generic cell rate algorithm (ITU-T I.371, as in ATM).
//!
//! The number is the time at which the bucket would be full again, had nothing more come. So a bucket needs no refilling, a
//! full one needs no memory (0 is full at any time), and taking is one compare-and-exchange.

use std::time::Duration;

/// So many requests in a time, and so many at once.
///
/// ```
/// # use routing_rules::limit::Rate;
/// # use std::time::Duration;
/// let rate = Rate::new(2, Duration::from_secs(1), 2);
/// let full_at = rate.take(0, 0).and_then(|full_at| rate.take(full_at, 0)).unwrap();
/// let wait = rate.take(full_at, 100_000).unwrap_err();
/// assert_eq!((wait.us(), wait.retry_after_s()), (400_000, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two tokens.
    interval_ns: u64,
    /// How far the time of fullness may lie ahead when a token is taken.
    tolerance_ns: u64,
}

/// How long until a token is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    ns: u64,
}

impl Rate {
    /// `count` requests in `per`, and `burst` at once; less than one of each is one.
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let per_ns = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = (per_ns / u64::from(count.max(1))).max(1);
        Self { interval_ns, tolerance_ns: interval_ns.saturating_mul(u64::from(burst.max(1) - 1)) }
    }

    /// Takes a token: the number to put in the place of this one.
    ///
    /// # Errors
    /// There is none; nothing changes.
    pub fn take(&self, full_at: u64, now_us: u64) -> Result<u64, Wait> {
        let now_ns = now_us.saturating_mul(1_000);
        let full_at = full_at.max(now_ns);
        match (full_at - now_ns).checked_sub(self.tolerance_ns) {
            None | Some(0) => Ok(full_at.saturating_add(self.interval_ns)),
            Some(ns) => Err(Wait { ns }),
        }
    }

    /// Gives a token back that was taken for nothing: the number to put in the place of this one.
    ///
    /// ```
    /// # use routing_rules::limit::Rate;
    /// # use std::time::Duration;
    /// let rate = Rate::new(1, Duration::from_secs(60), 1);
    /// let full_at = rate.take(0, 1).unwrap();
    /// assert!(rate.take(full_at, 2).is_err());
    /// assert!(rate.take(rate.give_back(full_at), 2).is_ok());
    /// ```
    pub fn give_back(&self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.interval_ns)
    }

    /// Whether a bucket with this number is full, so that forgetting it changes nothing.
    pub fn is_full(full_at: u64, now_us: u64) -> bool {
        full_at <= now_us.saturating_mul(1_000)
    }
}

impl Wait {
    /// In microseconds, rounded up.
    pub fn us(self) -> u64 {
        self.ns.div_ceil(1_000)
    }

    /// For the header: whole seconds, rounded up, so that who obeys is not refused again.
    pub fn retry_after_s(self) -> u64 {
        self.ns.div_ceil(1_000_000_000)
    }
}
