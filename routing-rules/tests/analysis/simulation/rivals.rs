//! What is usual elsewhere, as far as it decides: fixed thresholds in a row of checks, and a test of ranks for each
//! interval.

use routing_rules::analysis::{Arm, Latency, Record};

use super::Judge;

/// As Flagger is set up in its own examples: a check each minute, fewer than 99 % successes or a p99 of more than 500
/// ms is a failed one, and five in a row roll back.
#[derive(Default)]
pub(super) struct Thresholds {
    windows: u32,
    minute: Arm,
    failed_checks: u32,
}

/// As Kayenta judges, in the simplest form: every five minutes the twenty points of 15 s of either group are compared
/// by the Mann-Whitney test, with a confidence of 98 %, metric by metric; a score of less than 75 of 100 rolls back.
/// Failures are half of the score, four quantiles of latency the other half.
#[derive(Default)]
pub(super) struct Intervals {
    windows: u32,
    point: Record,
    points: Vec<[[f64; METRICS]; 2]>,
}

impl Judge for Thresholds {
    fn rolls_back(&mut self, record: &Record) -> bool {
        add(&mut self.minute, &record.canary);
        self.windows += 1;
        if !self.windows.is_multiple_of(12) {
            return false;
        }
        let minute = std::mem::take(&mut self.minute);
        let successes = 1.0 - minute.failed as f64 / minute.requests.max(1) as f64;
        let has_failed = successes < 0.99 || quantile_ms(&minute, 0.99) > 500.0;
        self.failed_checks = if has_failed { self.failed_checks + 1 } else { 0 };
        self.failed_checks >= 5
    }
}

impl Judge for Intervals {
    fn rolls_back(&mut self, record: &Record) -> bool {
        self.point.add(record);
        self.windows += 1;
        if self.windows.is_multiple_of(3) {
            let point = std::mem::take(&mut self.point);
            self.points.push([values(&point.canary), values(&point.control)]);
        }
        if self.points.len() < 20 {
            return false;
        }
        let points = std::mem::take(&mut self.points);
        let passed = (0..METRICS).filter(|metric| {
            let [canary, control] =
                [0, 1].map(|arm| points.iter().map(|point| point[arm][*metric]).collect::<Vec<_>>());
            !is_larger(&canary, &control)
        });
        passed.map(|metric| if metric == 0 { 50.0 } else { 12.5 }).sum::<f64>() < 75.0
    }
}

/// The failure rate, p50, p75, p95 and p99.
const METRICS: usize = 5;

fn values(arm: &Arm) -> [f64; METRICS] {
    let [p50, p75, p95, p99] = [0.5, 0.75, 0.95, 0.99].map(|part| quantile_ms(arm, part));
    [arm.failed as f64 / arm.requests.max(1) as f64, p50, p75, p95, p99]
}

fn add(arm: &mut Arm, other: &Arm) {
    arm.requests += other.requests;
    arm.failed += other.failed;
    arm.latencies.add_all(&other.latencies);
}

/// Within its step as if answers were even there: ranks of steps would tie.
fn quantile_ms(arm: &Arm, part: f64) -> f64 {
    let rank = part * arm.latencies.total() as f64;
    let mut before = 0.0;
    for (step, count) in arm.latencies.iter() {
        let count = count as f64;
        if before + count >= rank {
            let begin_ms = Latency::at(step.index() - 1).end_ms();
            return begin_ms + (step.end_ms() - begin_ms) * (rank - before) / count;
        }
        before += count;
    }
    0.0
}

/// Mann and Whitney's U by its normal approximation, with its correction for ties: whether these are larger, by a
/// two-sided confidence of 98 %.
fn is_larger(these: &[f64], others: &[f64]) -> bool {
    let (n, m) = (these.len() as f64, others.len() as f64);
    let compare = |one: &f64, other: &f64| match one.total_cmp(other) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let u: f64 = these.iter().flat_map(|one| others.iter().map(move |other| compare(one, other))).sum();
    let mut all: Vec<f64> = these.iter().chain(others).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 =
        all.chunk_by(|one, other| one == other).map(|tied| (tied.len() as f64).powi(3) - tied.len() as f64).sum();
    let variance = n * m / 12.0 * (n + m + 1.0 - ties / ((n + m) * (n + m - 1.0)));
    variance > 0.0 && (u - n * m / 2.0 - 0.5) / variance.sqrt() > Z98
}

/// 1 % of a normal distribution is above it.
const Z98: f64 = 2.326_347_874;

#[test]
fn ranks_are_compared_as_mann_and_whitney_do() {
    let numbers = |from: u32| (from..from + 10).map(f64::from).collect::<Vec<_>>();
    // U is 50, 87.5 and 72: z is 0, 2.80 and 1.63.
    assert!(!is_larger(&numbers(0), &numbers(0)));
    assert!(is_larger(&numbers(5), &numbers(0)));
    assert!(!is_larger(&numbers(2), &numbers(0)));
    assert!(!is_larger(&numbers(0), &numbers(5)));
    assert!(!is_larger(&[1.0; 20], &[1.0; 20]));
}
