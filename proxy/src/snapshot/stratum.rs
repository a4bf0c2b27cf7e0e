//! What is counted of one rule of an audience, to compare the users whom it moved with those whom it might have moved.
//!
//! Each request adds one to one cell: of its arm, by how its first attempt ended. All else are sums, so whoever remembers
//! what a cell was knows what came since, and no request is lost or told twice, whenever it looks. The control has a row of cells
//! for each sixteenth of its users, because how unlike those are is what chance is measured by; and, a second time, for each
//! sixteenth of its endpoints. Only of latencies that were seen is there a cell: an octave gets its cells with its first request.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use routing_rules::analysis::Latency;
use routing_rules::release::{Arm, Bucket};
use sha2::{Digest, Sha256};

use super::add;

/// The requests of one rule's users, for whom that rule decided.
pub struct Stratum {
    rule: Box<str>,
    /// One for each worker, made with its first request.
    workers: Box<[OnceLock<Box<Arms>>]>,
}

/// How the first attempt to serve a request ended. What came of others does not count: who retries well must not look better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstAttempt {
    /// It was the fault of the version or its endpoints that there was no good answer.
    Failed,
    /// It was answered.
    Answered {
        /// How long the head of the answer took, if that says something, in µs.
        after_us: Option<u64>,
    },
}

/// What one worker counted. Only that worker writes.
#[derive(Default)]
#[repr(align(128))]
struct Arms {
    canary: Cells<1>,
    /// By sixteenth of the users, and behind them by sixteenth of the endpoints.
    control: Cells<{ 2 * SIXTEEN }>,
    /// Of these requests, those whose users were told by their addresses for want of a cookie: canary, control.
    without_cookie: [AtomicU64; 2],
}

/// Rows of cells.
struct Cells<const ROWS: usize> {
    failed: [AtomicU64; ROWS],
    untimed: [AtomicU64; ROWS],
    octaves: [OnceLock<Box<Octave<ROWS>>>; OCTAVES],
}

type Octave<const ROWS: usize> = [[AtomicU64; OCTAVE]; ROWS];

/// How the first attempts of requests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Requests whose first attempt failed.
    pub failed: u64,
    /// Requests that were answered in a time that says nothing, such as upgrades.
    pub untimed: u64,
    /// All others, by [`Latency::place`].
    pub latencies: Box<[u64; Latency::COUNT]>,
}

/// The sum over workers of what a stratum has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StratumTotals {
    /// Users within the rule's share.
    pub canary: Outcomes,
    /// Users outside it, by sixteenth.
    pub users: [Outcomes; SIXTEEN],
    /// The same requests by sixteenth of the endpoints. Those that came to none are not among them.
    pub endpoints: [Outcomes; SIXTEEN],
    /// Requests of the canary's users that were told by their addresses for want of a cookie.
    pub canary_without_cookie: u64,
    /// The same of users outside the share.
    pub control_without_cookie: u64,
}

/// Into how many parts users and endpoints are divided to see how unlike the parts are.
pub const SIXTEEN: usize = 16;

impl Stratum {
    pub(super) fn new(rule: &str, workers: usize) -> Self {
        Self { rule: rule.into(), workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The name of the rule.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Counts one request of a worker; of an endpoint of this sixteenth, if it came to one. A worker that does not exist counts
    /// nowhere.
    pub fn count(&self, worker: usize, arm: Arm, user: Bucket, endpoint: Option<usize>, first: FirstAttempt) {
        let Some(arms) = self.workers.get(worker) else { return };
        let arms = arms.get_or_init(Box::default);
        match arm {
            Arm::Canary => arms.canary.count([0], first),
            Arm::Control => {
                let endpoint = endpoint.map(|sixteenth| SIXTEEN + sixteenth % SIXTEEN);
                arms.control.count([sixteenth_of_user(user)].into_iter().chain(endpoint), first);
            }
        }
    }

    /// Says of a request that was just counted that its user was told by the address for want of a cookie.
    pub fn count_without_cookie(&self, worker: usize, arm: Arm) {
        if let Some(arms) = self.workers.get(worker).and_then(OnceLock::get) {
            add(&arms.without_cookie[usize::from(arm == Arm::Control)], 1);
        }
    }

    /// All that was counted. What came between two looks is the difference.
    pub fn totals(&self) -> StratumTotals {
        let mut sum = StratumTotals::default();
        for arms in self.workers.iter().filter_map(OnceLock::get) {
            arms.canary.add_to([&mut sum.canary]);
            arms.control.add_to(sum.users.iter_mut().chain(&mut sum.endpoints));
            sum.canary_without_cookie += arms.without_cookie[0].load(Relaxed);
            sum.control_without_cookie += arms.without_cookie[1].load(Relaxed);
        }
        sum
    }

    /// How many requests there were: of users within the rule's share, and of others.
    pub fn requests(&self) -> [u64; 2] {
        let arms = || self.workers.iter().filter_map(OnceLock::get);
        let control = arms().map(|arms| arms.control.requests(SIXTEEN)).sum();
        [arms().map(|arms| arms.canary.requests(1)).sum(), control]
    }

    /// Whether it never had a request.
    pub fn is_idle(&self) -> bool {
        self.workers.iter().all(|arms| arms.get().is_none())
    }
}

/// The sixteenth of a user: the low end of the bucket, while the high end says who is in the canary group.
fn sixteenth_of_user(user: Bucket) -> usize {
    user.hash() as usize % SIXTEEN
}

/// The sixteenth of an endpoint. The same on every instance, because their counts are added.
pub(super) fn sixteenth_of_endpoint(address: SocketAddr) -> usize {
    let digest = Sha256::digest(address.to_string());
    usize::from(digest[0]) % SIXTEEN
}

impl<const ROWS: usize> Default for Cells<ROWS> {
    fn default() -> Self {
        Self { failed: row(), untimed: row(), octaves: [const { OnceLock::new() }; OCTAVES] }
    }
}

fn row<const LENGTH: usize>() -> [AtomicU64; LENGTH] {
    [const { AtomicU64::new(0) }; LENGTH]
}

impl<const ROWS: usize> Cells<ROWS> {
    fn count(&self, rows: impl IntoIterator<Item = usize>, first: FirstAttempt) {
        match first {
            FirstAttempt::Failed => rows.into_iter().for_each(|row| add(&self.failed[row], 1)),
            FirstAttempt::Answered { after_us: None } => rows.into_iter().for_each(|row| add(&self.untimed[row], 1)),
            FirstAttempt::Answered { after_us: Some(latency_us) } => {
                let bucket = Latency::of_us(latency_us).place();
                let octave = self.octaves[bucket / OCTAVE].get_or_init(|| Box::new(std::array::from_fn(|_| row())));
                rows.into_iter().for_each(|row| add(&octave[row][bucket % OCTAVE], 1));
            }
        }
    }

    /// The sum of the first rows.
    fn requests(&self, rows: usize) -> u64 {
        let sum = |row: &[AtomicU64]| row.iter().map(|cell| cell.load(Relaxed)).sum::<u64>();
        let octaves = self.octaves.iter().filter_map(OnceLock::get).flat_map(|octave| octave.iter().take(rows));
        let timed: u64 = octaves.map(|row| sum(row)).sum();
        timed + [&self.failed, &self.untimed].map(|cells| sum(&cells[..rows])).iter().sum::<u64>()
    }

    fn add_to<'s>(&self, rows: impl IntoIterator<Item = &'s mut Outcomes>) {
        for (row, sum) in rows.into_iter().enumerate().take(ROWS) {
            sum.failed += self.failed[row].load(Relaxed);
            sum.untimed += self.untimed[row].load(Relaxed);
            for (octave, sums) in self.octaves.iter().zip(sum.latencies.chunks_mut(OCTAVE)) {
                let Some(octave) = octave.get() else { continue };
                sums.iter_mut().zip(&octave[row]).for_each(|(sum, cell)| *sum += cell.load(Relaxed));
            }
        }
    }
}

/// How many buckets an octave has, and how many octaves there are; the last one is not full.
const OCTAVE: usize = 8;
const OCTAVES: usize = Latency::COUNT.div_ceil(OCTAVE);

impl Default for Outcomes {
    fn default() -> Self {
        Self { failed: 0, untimed: 0, latencies: Box::new([0; Latency::COUNT]) }
    }
}

impl Outcomes {
    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.failed + self.untimed + self.timed()
    }

    fn timed(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// What came since these were read.
    pub fn since(&self, before: &Self) -> Self {
        let mut latencies = self.latencies.clone();
        latencies.iter_mut().zip(before.latencies.iter()).for_each(|(now, before)| *now -= before);
        Self { failed: self.failed - before.failed, untimed: self.untimed - before.untimed, latencies }
    }

    /// The latency in ms that this part of the timed requests, from 0 to 1, does not exceed: the upper edge of a bucket.
    pub fn quantile_ms(&self, part: f64) -> Option<f64> {
        let rank = ((self.timed() as f64 * part).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.latencies.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Latency::at_place(bucket).end_ms())
    }

    /// The mean latency in ms, as if all requests of a bucket had been in its middle: right to 5 %.
    pub fn mean_ms(&self) -> Option<f64> {
        let middle = 2_f64.powf(-0.5 / OCTAVE as f64);
        let buckets = self.latencies.iter().enumerate();
        let sum: f64 = buckets.map(|(bucket, count)| *count as f64 * Latency::at_place(bucket).end_ms() * middle).sum();
        let timed = self.timed();
        (timed > 0).then(|| sum / timed as f64)
    }

    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        self.failed += other.failed;
        self.untimed += other.untimed;
        self.latencies.iter_mut().zip(other.latencies.iter()).for_each(|(sum, count)| *sum += count);
    }
}

impl StratumTotals {
    /// All users outside the rule's share.
    pub fn control(&self) -> Outcomes {
        let mut sum = Outcomes::default();
        self.users.iter().for_each(|users| sum.add(users));
        sum
    }

    /// What came since these were read.
    pub fn since(&self, before: &Self) -> Self {
        let each = |now: &[Outcomes; SIXTEEN], before: &[Outcomes; SIXTEEN]| {
            std::array::from_fn(|place| now[place].since(&before[place]))
        };
        Self {
            canary: self.canary.since(&before.canary),
            users: each(&self.users, &before.users),
            endpoints: each(&self.endpoints, &before.endpoints),
            canary_without_cookie: self.canary_without_cookie - before.canary_without_cookie,
            control_without_cookie: self.control_without_cookie - before.control_without_cookie,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const QUICK: FirstAttempt = FirstAttempt::Answered { after_us: Some(900) };
    const UPGRADED: FirstAttempt = FirstAttempt::Answered { after_us: None };

    fn user(sixteenth: u64) -> Bucket {
        Bucket::from_hash(0xabcd_0000 + sixteenth)
    }

    #[test]
    fn a_request_counts_once_where_it_belongs() {
        let stratum = Stratum::new("everyone", 2);
        stratum.totals();
        assert!(stratum.is_idle());
        stratum.count(0, Arm::Canary, user(3), Some(1), QUICK);
        stratum.count(1, Arm::Canary, user(3), Some(1), FirstAttempt::Failed);
        stratum.count(0, Arm::Control, user(3), Some(1), QUICK);
        stratum.count(1, Arm::Control, user(15), Some(1), UPGRADED);
        stratum.count(1, Arm::Control, user(15), None, FirstAttempt::Failed);
        stratum.count(2, Arm::Control, user(15), None, FirstAttempt::Failed);
        let totals = stratum.totals();
        let numbers = |outcomes: &Outcomes| (outcomes.requests(), outcomes.failed, outcomes.untimed, outcomes.timed());
        assert_eq!(numbers(&totals.canary), (2, 1, 0, 1));
        assert_eq!(numbers(&totals.control()), (3, 1, 1, 1));
        assert_eq!((numbers(&totals.users[3]), numbers(&totals.users[15])), ((1, 0, 0, 1), (2, 1, 1, 0)));
        assert_eq!(numbers(&totals.endpoints[1]), (2, 0, 1, 1));
        assert_eq!(totals.endpoints.iter().map(Outcomes::requests).sum::<u64>(), 2);
        assert_eq!(stratum.requests(), [totals.canary.requests(), totals.control().requests()]);
        assert_eq!(totals.canary.latencies[Latency::of_us(900).place()], 1);
        stratum.count_without_cookie(1, Arm::Control);
        stratum.count_without_cookie(2, Arm::Canary);
        let now = stratum.totals();
        assert_eq!((now.canary_without_cookie, now.control_without_cookie, now.control()), (0, 1, totals.control()));
        assert_eq!(now.since(&totals).control_without_cookie, 1);
        assert_eq!(totals.since(&totals), StratumTotals::default());
    }

    #[test]
    fn latencies_in_figures() {
        let stratum = Stratum::new("everyone", 1);
        assert_eq!((stratum.totals().canary.quantile_ms(0.5), stratum.totals().canary.mean_ms()), (None, None));
        for ms in 1..=100 {
            stratum.count(0, Arm::Canary, user(0), None, FirstAttempt::Answered { after_us: Some(ms * 1_000) });
        }
        let canary = stratum.totals().canary;
        for (part, ms) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let quantile = canary.quantile_ms(part).unwrap();
            assert!((1.0..1.0906).contains(&(quantile / ms)), "{part}: {quantile}");
        }
        let mean = canary.mean_ms().unwrap();
        assert!((mean / 50.5 - 1.0).abs() < 0.045, "{mean}");
    }

    /// Whoever looks while others write sees every request in exactly one of the differences.
    #[test]
    fn no_request_is_lost_or_told_twice() {
        let (stratum, over) = (Stratum::new("everyone", 2), AtomicBool::new(false));
        let each = 100_000;
        let mut before = StratumTotals::default();
        let mut sum = [Outcomes::default(), Outcomes::default()];
        let mut look = |before: &mut StratumTotals| {
            let now = stratum.totals();
            let fresh = now.since(before);
            sum[0].add(&fresh.canary);
            sum[1].add(&fresh.control());
            *before = now;
        };
        std::thread::scope(|scope| {
            let writers = [0, 1].map(|worker| {
                let stratum = &stratum;
                scope.spawn(move || {
                    for number in 0..each {
                        let first = match number % 10 {
                            0 => FirstAttempt::Failed,
                            _ => FirstAttempt::Answered { after_us: Some(number) },
                        };
                        let arm = if number % 4 == 0 { Arm::Canary } else { Arm::Control };
                        stratum.count(worker, arm, user(number % 16), Some(worker), first);
                    }
                })
            });
            scope.spawn(|| {
                writers.into_iter().for_each(|writer| writer.join().unwrap());
                over.store(true, Relaxed);
            });
            while !over.load(Relaxed) {
                look(&mut before);
            }
        });
        look(&mut before);
        let [canary, control] = sum;
        assert_eq!((canary.requests(), canary.failed), (2 * each / 4, 2 * each / 20));
        assert_eq!((control.requests(), control.failed), (2 * each * 3 / 4, 2 * each / 20));
        assert_eq!(control, stratum.totals().control());
    }

    #[test]
    fn endpoints_are_spread_over_the_sixteenths() {
        let sixteenths = (1..=64).map(|host| sixteenth_of_endpoint(([10, 0, 0, host], 80).into()));
        let mut counts = [0; SIXTEEN];
        sixteenths.for_each(|sixteenth| counts[sixteenth] += 1);
        assert!(counts.iter().all(|count| (1..=10).contains(count)), "{counts:?}");
        // Written down: another order would mix old and new instances of one fleet.
        assert_eq!(sixteenth_of_endpoint(([10, 0, 0, 1], 80).into()), 0);
    }
}
