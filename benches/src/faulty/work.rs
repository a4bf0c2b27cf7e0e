//! An endpoint's work: some requests at a time, the others first come first served.
//!
//! No sockets and no clock: times are microseconds that the caller passes. A request that is being served is served to
//! its end even when nobody waits for it any more: most servers do not look.

use std::collections::VecDeque;

use crate::random::Random;

/// What is served, and who waits. Jobs are numbers of the caller's.
#[derive(Clone, Debug)]
pub struct Work {
    slots: usize,
    mean_us: f64,
    sigma: f64,
    random: Random,
    /// Times of requests that begin from now on are multiplied by this.
    pub slow: f64,
    /// When each is done by the endpoint's own clock, which stops while it stands still.
    serving: Vec<(u64, u64)>,
    waiting: VecDeque<u64>,
    stalled_at_us: Option<u64>,
    /// How long it stood still until the last time it went on.
    stalled_us: u64,
}

impl Work {
    #[must_use]
    pub fn new(slots: usize, mean_us: f64, sigma: f64, seed: u64) -> Self {
        Self {
            slots,
            mean_us,
            sigma,
            random: Random(seed),
            slow: 1.0,
            serving: Vec::new(),
            waiting: VecDeque::new(),
            stalled_at_us: None,
            stalled_us: 0,
        }
    }

    pub fn enter(&mut self, now_us: u64, job: u64) {
        self.waiting.push_back(job);
        self.begin(now_us);
    }

    /// Nobody waits for `job` any more.
    pub fn abandon(&mut self, job: u64) {
        self.waiting.retain(|waiting| *waiting != job);
    }

    /// When the next job is done, if nothing changes until then.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        let next = self.serving.iter().map(|(done_us, _)| *done_us).min()?;
        self.stalled_at_us.is_none().then_some(next + self.stalled_us)
    }

    /// A job that is done by now; ask until there is none.
    pub fn finish(&mut self, now_us: u64) -> Option<u64> {
        let clock_us = self.clock_us(now_us);
        let place = self.serving.iter().position(|(done_us, _)| *done_us <= clock_us)?;
        let (_, job) = self.serving.swap_remove(place);
        self.begin(now_us);
        Some(job)
    }

    pub fn stall(&mut self, now_us: u64) {
        self.stalled_at_us.get_or_insert(now_us);
    }

    /// Goes on if it stood still.
    pub fn go_on(&mut self, now_us: u64) {
        if let Some(at_us) = self.stalled_at_us.take() {
            self.stalled_us += now_us - at_us;
        }
    }

    fn begin(&mut self, now_us: u64) {
        while self.serving.len() < self.slots
            && let Some(job) = self.waiting.pop_front()
        {
            let takes_us = self.random.lognormal(self.mean_us, self.sigma) * self.slow;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of some seconds")]
            self.serving.push((self.clock_us(now_us) + takes_us as u64, job));
        }
    }

    fn clock_us(&self, now_us: u64) -> u64 {
        self.stalled_at_us.unwrap_or(now_us) - self.stalled_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every request takes exactly 10 ms.
    fn exact(slots: usize) -> Work {
        Work::new(slots, 10_000.0, 0.0, 1)
    }

    #[test]
    fn some_at_a_time_and_in_order() {
        let mut work = exact(2);
        (1..=4).for_each(|job| work.enter(0, job));
        work.abandon(3);
        assert_eq!((work.next_us(), work.finish(9_000)), (Some(10_000), None));
        let mut first = [work.finish(10_000), work.finish(10_000)];
        first.sort_unstable();
        assert_eq!((first, work.finish(10_000)), ([Some(1), Some(2)], None));
        assert_eq!((work.next_us(), work.finish(20_000), work.next_us()), (Some(20_000), Some(4), None));
    }

    #[test]
    fn what_is_left_of_a_job_outlasts_a_stall() {
        let mut work = exact(1);
        work.enter(0, 1);
        work.stall(4_000);
        work.enter(5_000, 2);
        assert_eq!((work.next_us(), work.finish(50_000)), (None, None));
        work.go_on(100_000);
        assert_eq!((work.next_us(), work.finish(105_999), work.finish(106_000)), (Some(106_000), None, Some(1)));
        assert_eq!(work.next_us(), Some(116_000));
    }

    #[test]
    fn slow_is_what_begins_afterwards() {
        let mut work = exact(1);
        work.enter(0, 1);
        work.slow = 3.0;
        work.enter(0, 2);
        assert_eq!((work.finish(10_000), work.next_us()), (Some(1), Some(40_000)));
    }
}
