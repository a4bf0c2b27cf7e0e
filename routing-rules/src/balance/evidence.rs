//! What is known of an endpoint's speed: counters that only grow, and what they say in seconds.
//!
//! All times are µs since any fixed moment, and all arithmetic wraps: a difference is exact as long as the true value
//! fits into 64 bits. Whoever counts is the only writer of the counters; who reads the counters of several workers
//! adds them up with [`Counts::plus`].

/// How many times there were, their sum and the sum of their squares, in µs and µs².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// The sum, in µs.
    pub us: u64,
    /// The sum of squares, in µs².
    pub us2: u64,
}

impl Sum {
    /// Counts one time in.
    pub fn add(&mut self, us: u64) {
        *self = self.plus(Self::of(us));
    }

    /// Takes one time out again.
    pub fn remove(&mut self, us: u64) {
        *self = self.minus(Self::of(us));
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_add(other.count),
            us: self.us.wrapping_add(other.us),
            us2: self.us2.wrapping_add(other.us2),
        }
    }

    /// What came in since `earlier`.
    pub fn minus(self, earlier: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(earlier.count),
            us: self.us.wrapping_sub(earlier.us),
            us2: self.us2.wrapping_sub(earlier.us2),
        }
    }

    fn of(us: u64) -> Self {
        Self { count: 1, us, us2: us.wrapping_mul(us) }
    }

    fn seconds(self) -> f64 {
        self.us as f64 / 1e6
    }

    fn square_seconds(self) -> f64 {
        self.us2 as f64 / 1e12
    }
}

/// The counters of one endpoint, of one worker or of all together. An attempt is counted once, when it ends, and its
/// start is part of `in_flight` from then on that its clock runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered without error.
    pub answered: Sum,
    /// No valid head, or a status of 500 and more.
    pub errors: u64,
    /// How long the errors took, in µs.
    pub errors_us: u64,
    /// Given up by the client before the head came: neither answer nor error.
    pub given_up: Sum,
    /// The starts of what is in flight now: the only part that also shrinks.
    pub in_flight: Sum,
}

impl Counts {
    /// The clock of an attempt starts.
    pub fn start(&mut self, start_us: u64) {
        self.in_flight.add(start_us);
    }

    /// An attempt that started at `start_us` is answered, without error.
    pub fn answer(&mut self, start_us: u64, now_us: u64) {
        self.in_flight.remove(start_us);
        self.answered.add(now_us.saturating_sub(start_us));
    }

    /// An attempt that started at `start_us` failed.
    pub fn fail(&mut self, start_us: u64, now_us: u64) {
        self.in_flight.remove(start_us);
        self.errors = self.errors.wrapping_add(1);
        self.errors_us = self.errors_us.wrapping_add(now_us.saturating_sub(start_us));
    }

    /// The client left before the head of the response came.
    pub fn give_up(&mut self, start_us: u64, now_us: u64) {
        self.in_flight.remove(start_us);
        self.given_up.add(now_us.saturating_sub(start_us));
    }

    /// An attempt ends without saying anything of its endpoint.
    pub fn discard(&mut self, start_us: u64) {
        self.in_flight.remove(start_us);
    }

    /// The counters of two workers together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            answered: self.answered.plus(other.answered),
            errors: self.errors.wrapping_add(other.errors),
            errors_us: self.errors_us.wrapping_add(other.errors_us),
            given_up: self.given_up.plus(other.given_up),
            in_flight: self.in_flight.plus(other.in_flight),
        }
    }

    /// What came since `earlier`; in flight is what is so now.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            answered: self.answered.minus(earlier.answered),
            errors: self.errors.wrapping_sub(earlier.errors),
            errors_us: self.errors_us.wrapping_sub(earlier.errors_us),
            given_up: self.given_up.minus(earlier.given_up),
            in_flight: self.in_flight,
        }
    }

    /// How many attempts ended with an answer or an error.
    pub fn results(&self) -> u64 {
        self.answered.count.wrapping_add(self.errors)
    }

    /// These counts in seconds, as they are at `now_us`.
    pub fn evidence(&self, now_us: u64) -> Evidence {
        let (in_flight, in_flight_squares) = self.ages(now_us);
        Evidence {
            answered: self.answered.count as f64,
            answered_time: self.answered.seconds(),
            answered_squares: self.answered.square_seconds(),
            errors: self.errors as f64,
            errors_time: self.errors_us as f64 / 1e6,
            given_up_time: self.given_up.seconds(),
            given_up_squares: self.given_up.square_seconds(),
            in_flight_time: in_flight,
            in_flight_squares,
        }
    }

    /// The sum of the ages of what is in flight, and of their squares.
    fn ages(&self, now_us: u64) -> (f64, f64) {
        let Sum { count, us, us2 } = self.in_flight;
        let age = count.wrapping_mul(now_us).wrapping_sub(us);
        let twice_mixed = now_us.wrapping_mul(us).wrapping_mul(2);
        let squares = count.wrapping_mul(now_us).wrapping_mul(now_us).wrapping_sub(twice_mixed).wrapping_add(us2);
        if count == 0 || age as i64 <= 0 {
            return (0.0, 0.0);
        }
        let age = age as f64 / 1e6;
        // The square of one age of 72 minutes does not fit any more. What it can be at all is known without it.
        (age, (squares as f64 / 1e12).clamp(age * age / count as f64, age * age))
    }
}

/// What the counters of a look-back say, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// n: how many were answered without error.
    pub answered: f64,
    /// S: their times.
    pub answered_time: f64,
    /// Sq: the squares of their times.
    pub answered_squares: f64,
    /// e: how many errors there were.
    pub errors: f64,
    /// Se: their times.
    pub errors_time: f64,
    /// G: how long clients waited that gave up.
    pub given_up_time: f64,
    /// Gq: the squares of these times.
    pub given_up_squares: f64,
    /// A: the ages of what is in flight now.
    pub in_flight_time: f64,
    /// Aq: the squares of the ages.
    pub in_flight_squares: f64,
}

impl Evidence {
    /// n + e
    pub(super) fn results(&self) -> f64 {
        self.answered + self.errors
    }

    /// t: all time that was spent waiting for something other than an error.
    pub(super) fn time(&self) -> f64 {
        self.answered_time + self.in_flight_time + self.given_up_time
    }

    /// q: the squares of these times.
    pub(super) fn squares(&self) -> f64 {
        self.answered_squares + self.in_flight_squares + self.given_up_squares
    }
}
