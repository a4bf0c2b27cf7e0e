//! The adaptive limit against an upstream on a virtual clock: servers with one queue, Poisson arrivals, lognormal times.
//!
//! The bars are those for overload: 90 % of the peak goodput, twice the latency of saturation, and two seconds until all is
//! well again; and nothing refused in normal use.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use routing_rules::limit::{Adaptive, Phase, Sample};

const SECOND: u64 = 1_000_000;
const SEEDS: u64 = 5;

#[test]
fn overload() {
    for times in [2.0, 5.0] {
        let (mut goodput, mut slower) = (f64::INFINITY, 0.0_f64);
        for upstream in Upstream::ALL {
            for seed in 0..SEEDS {
                let saturated = Run::new(upstream, seed).without_limit().load(|_| 0.95).measure(10, 40);
                let load = move |s| if s < 10.0 { 0.7 } else { times };
                let report = Run::new(upstream, seed).load(load).measure(10, 40);
                let what = format!("{upstream:?} at {times}x, seed {seed}: {report:?}, saturated {saturated:?}");
                assert!(report.goodput >= 0.9, "{what}");
                assert!(report.p99_ms <= 2.0 * saturated.p99_ms, "{what}");
                goodput = goodput.min(report.goodput);
                slower = slower.max(report.p99_ms / saturated.p99_ms);
            }
        }
        eprintln!("{times}x: goodput at least {goodput:.3} of the capacity, p99 at most {slower:.2} times saturation");
    }
}

/// What it has never seen without a queue it must find out first; after ten seconds it knows.
#[test]
fn a_start_under_overload() {
    for upstream in Upstream::ALL {
        for seed in 0..SEEDS {
            let saturated = Run::new(upstream, seed).without_limit().load(|_| 0.95).measure(10, 40);
            let report = Run::new(upstream, seed).load(|_| 5.0).measure(10, 40);
            let what = format!("{upstream:?}, seed {seed}: {report:?}, saturated {saturated:?}");
            assert!(report.goodput >= 0.9 && report.p99_ms <= 2.0 * saturated.p99_ms, "{what}");
        }
    }
}

#[test]
fn recovery() {
    for upstream in Upstream::ALL {
        for seed in 0..SEEDS {
            let load = |s| if (10.0..30.0).contains(&s) { 5.0 } else { 0.7 };
            let report = Run::new(upstream, seed).load(load).measure(32, 50);
            let normal = Run::new(upstream, seed).without_limit().load(|_| 0.7).measure(32, 50);
            assert_eq!(report.refused, 0, "{upstream:?}, seed {seed}");
            assert!(report.p99_ms < 1.1 * normal.p99_ms, "{upstream:?}, seed {seed}: {report:?}, {normal:?}");
        }
    }
}

/// Forty requests a second are few to learn from: it takes a while, and then holds.
#[test]
fn a_small_slow_upstream() {
    let upstream = Upstream { servers: 4, mean_ms: 100.0, sigma: 0.8 };
    for seed in 0..SEEDS {
        let saturated = Run::new(upstream, seed).without_limit().load(|_| 0.95).measure(60, 180);
        let load = |s| if (20.0..180.0).contains(&s) { 2.0 } else { 0.7 };
        let run = |from, to| Run::new(upstream, seed).load(load).measure(from, to);
        let (during, after) = (run(60, 180), run(182, 240));
        assert!(
            during.goodput >= 0.9 && during.p99_ms <= 2.0 * saturated.p99_ms,
            "seed {seed}: {during:?}, {saturated:?}"
        );
        assert_eq!(after.refused, 0, "seed {seed}: {after:?}");
    }
}

#[test]
fn no_limit_in_normal_use() {
    for upstream in Upstream::ALL {
        for seed in 0..2 * SEEDS {
            for load in [0.1, 0.5, 0.7] {
                let report = Run::new(upstream, seed).load(move |_| load).measure(0, 120);
                assert_eq!(report.refused, 0, "{upstream:?}, seed {seed}, load {load}");
            }
        }
    }
}

/// From a tenth to 70 % in an instant, and a burst of a hundred requests at once every second.
#[test]
fn no_limit_when_traffic_comes_in_bursts() {
    for seed in 0..SEEDS {
        let upstream = Upstream { servers: 32, ..Upstream::ALL[0] };
        let report = Run::new(upstream, seed).load(|s| if s as u64 % 10 < 5 { 0.1 } else { 0.7 }).measure(0, 120);
        assert_eq!(report.refused, 0, "seed {seed}");
        let report = Run::new(upstream, seed).load(|_| 0.4).bursts(60).measure(0, 120);
        assert_eq!(report.refused, 0, "seed {seed}");
    }
}

#[test]
fn half_of_the_capacity_goes_and_comes_back() {
    for seed in 0..SEEDS {
        let upstream = Upstream::ALL[0];
        let halved = |s| if (20.0..40.0).contains(&s) { 0.5 } else { 1.0 };
        let run = |from, to| Run::new(upstream, seed).load(|_| 0.9).capacity(halved).measure(from, to);
        let (during, after) = (run(20, 40), run(42, 60));
        if seed == 0 {
            eprintln!("half of the capacity: {during:?}, afterwards {after:?}");
        }
        assert!(during.goodput >= 0.9 * 0.5 && during.p99_ms < 250.0, "seed {seed}: {during:?}");
        assert!(after.goodput >= 0.88, "seed {seed}: {after:?}");
        assert!((after.refused as f64) < 0.02 * after.offered as f64, "seed {seed}: {after:?}");
    }
}

/// Under lasting overload the service itself becomes three times slower: the limit must grow with it, not shrink.
#[test]
fn a_slower_service_under_overload() {
    for seed in 0..SEEDS {
        let slower = |s| if s < 20.0 { 1.0 } else { 3.0 };
        let run = |from, to| Run::new(Upstream::ALL[0], seed).load(|_| 2.0).slowness(slower).measure(from, to);
        let report = run(24, 60);
        if seed == 0 {
            eprintln!("three times slower under overload: {report:?}");
        }
        assert!(report.goodput >= 0.9 / 3.0, "seed {seed}: {report:?}");
    }
}

/// So slow that some of its clients do not wait, but not short of capacity.
#[test]
fn too_slow_for_some_is_not_overloaded() {
    for seed in 0..SEEDS {
        let slower = move |s| if s < 20.0 { 1.0 } else { 30.0 };
        let upstream = Upstream { servers: 400, ..Upstream::ALL[0] };
        let run = Run::new(upstream, seed).load(|_| 0.01).slowness(slower).patience(SECOND, true);
        let report = run.measure(40, 120);
        assert!(report.refused * 20 < report.offered, "seed {seed}: {report:?}");
    }
}

/// A service that becomes slower without being short of capacity is not limited for more than a moment.
#[test]
fn slow_is_not_overloaded() {
    for seed in 0..SEEDS {
        for times in [2.0, 3.0, 10.0] {
            let slower = move |s| if s < 20.0 { 1.0 } else { times };
            let upstream = Upstream { servers: 400, ..Upstream::ALL[0] };
            let run = |from, to| Run::new(upstream, seed).load(|_| 0.06).slowness(slower).measure(from, to);
            let (at_once, later) = (run(20, 24), run(24, 120));
            assert_eq!(later.refused, 0, "seed {seed}, {times}x: {later:?}");
            assert!((at_once.refused as f64) < 0.3 * at_once.offered as f64, "seed {seed}, {times}x: {at_once:?}");
        }
    }
}

/// Clients that go away after a second, before an upstream whose queue would be longer than that: without a limit hardly
/// anybody is served in time. The smaller the upstream, the longer it takes to find out, above all if it works on for those
/// who have gone.
#[test]
fn clients_that_do_not_wait() {
    for (servers, at_once, later) in [(1, 0.0, 0.5), (2, 0.25, 0.5), (4, 0.75, 0.9), (16, 0.85, 0.9), (64, 0.9, 0.9)] {
        for (times, works_on) in [(2.0, false), (5.0, false), (2.0, true), (5.0, true)] {
            for seed in 0..SEEDS {
                let upstream = Upstream { servers, mean_ms: 50.0, sigma: 0.8 };
                let load = move |s| if s < 10.0 { 0.7 } else { times };
                let run = |from, to| Run::new(upstream, seed).load(load).patience(SECOND, works_on).measure(from, to);
                let what = format!("{servers} servers at {times}x, works on: {works_on}, seed {seed}");
                let (first, then) = (run(10, 25).goodput, run(25, 55).goodput);
                assert!(first >= at_once && then >= later, "{what}: {first:.2}, then {then:.2}");
            }
        }
    }
}

/// And that from the first request on.
#[test]
fn a_start_with_clients_that_do_not_wait() {
    for servers in [4, 16, 64] {
        for (times, works_on) in [(2.0, false), (5.0, false), (2.0, true), (5.0, true)] {
            for seed in 0..SEEDS {
                let upstream = Upstream { servers, mean_ms: 50.0, sigma: 0.8 };
                let report = Run::new(upstream, seed).load(move |_| times).patience(SECOND, works_on).measure(30, 60);
                let what = format!("{servers} servers at {times}x, works on: {works_on}, seed {seed}");
                assert!(report.goodput >= 0.9, "{what}: {:.2}", report.goodput);
            }
        }
    }
}

/// Clients who go away soon, whatever the upstream does, say nothing of it.
#[test]
fn clients_that_go_away_early() {
    for seed in 0..SEEDS {
        let upstream = Upstream { servers: 64, ..Upstream::ALL[0] };
        let report = Run::new(upstream, seed).load(|_| 0.7).patience(9_000, true).measure(0, 120);
        assert_eq!(report.refused, 0, "seed {seed}: {report:?}");
    }
}

/// One request in a thousand takes five seconds, by nature.
#[test]
fn a_few_slow_requests_are_no_overload() {
    for seed in 0..SEEDS {
        let upstream = Upstream { servers: 64, ..Upstream::ALL[0] };
        let report = Run::new(upstream, seed).load(|_| 0.5).some_take_five_seconds().measure(0, 120);
        assert_eq!(report.refused, 0, "seed {seed}: {report:?}");
    }
}

#[test]
fn any_samples_leave_a_limit() {
    let mut random = Random(1);
    let mut adaptive = Adaptive::new();
    let extremes = [0, 1, 50, 1_000, u32::MAX];
    for _ in 0..100_000 {
        let mut any = || extremes[(random.unit() * 4.999) as usize];
        let (finished, in_flight, refused, given_up) = (any(), any(), any(), any());
        let [latency_us, given_up_us] = [(); 2].map(|()| u64::from(any()).saturating_mul(u64::from(any())));
        let sample = Sample { finished, latency_us, in_flight, refused, given_up, given_up_us };
        assert!(adaptive.tick(sample) >= 4);
        assert!(adaptive.clip_us() > 0);
    }
}

/// Nothing comes back at all: the cap holds, and nothing waits for a trial that cannot end.
#[test]
fn an_upstream_that_hangs_meets_the_cap() {
    let mut adaptive = Adaptive::new();
    let normal = Sample { finished: 100, latency_us: 100 * 10_000, in_flight: 12, ..Sample::default() };
    (0..50).for_each(|_| _ = adaptive.tick(normal));
    let overloaded = Sample { latency_us: 100 * 50_000, in_flight: 128, refused: 50, ..normal };
    (0..5).for_each(|_| _ = adaptive.tick(overloaded));
    assert_eq!(adaptive.phase(), Phase::Trial);
    let hanging = Sample { finished: 0, latency_us: 0, ..overloaded };
    let limits: Vec<u32> = (0..200).map(|_| adaptive.tick(hanging)).collect();
    assert_eq!((adaptive.phase(), limits.iter().max()), (Phase::Free, Some(&128)));
}

#[derive(Clone, Copy, Debug)]
struct Upstream {
    servers: usize,
    mean_ms: f64,
    sigma: f64,
}

impl Upstream {
    const ALL: [Self; 5] = [
        Self { servers: 32, mean_ms: 10.0, sigma: 0.8 },
        Self { servers: 32, mean_ms: 10.0, sigma: 0.1 },
        Self { servers: 8, mean_ms: 10.0, sigma: 1.2 },
        Self { servers: 64, mean_ms: 50.0, sigma: 0.8 },
        Self { servers: 200, mean_ms: 20.0, sigma: 0.5 },
    ];

    fn capacity_per_s(&self) -> f64 {
        self.servers as f64 * 1_000.0 / self.mean_ms
    }
}

#[derive(Debug, Default)]
#[expect(dead_code, reason = "shown when a bar is missed")]
struct Report {
    /// Of the capacity when nothing is wrong.
    goodput: f64,
    p50_ms: f64,
    p99_ms: f64,
    offered: u64,
    refused: u64,
}

type OfTime = Box<dyn Fn(f64) -> f64>;

struct Run {
    upstream: Upstream,
    random: Random,
    adaptive: Option<Adaptive>,
    load: OfTime,
    capacity: OfTime,
    slowness: OfTime,
    burst: u32,
    slow_ones: bool,
    /// How long clients wait, and whether the upstream works on for those who have gone.
    patience: u64,
    works_on: bool,
    queue: VecDeque<u64>,
    /// When they end, and when they came.
    served: BinaryHeap<Reverse<(u64, u64)>>,
    /// When those came who have not gone.
    present: VecDeque<u64>,
    sample: Sample,
}

impl Run {
    fn new(upstream: Upstream, seed: u64) -> Self {
        Self {
            upstream,
            random: Random(seed),
            adaptive: Some(Adaptive::new()),
            load: Box::new(|_| 0.7),
            capacity: Box::new(|_| 1.0),
            slowness: Box::new(|_| 1.0),
            burst: 0,
            slow_ones: false,
            patience: u64::MAX,
            works_on: true,
            queue: VecDeque::new(),
            served: BinaryHeap::new(),
            present: VecDeque::new(),
            sample: Sample::default(),
        }
    }

    fn without_limit(self) -> Self {
        Self { adaptive: None, ..self }
    }

    fn load(self, load: impl Fn(f64) -> f64 + 'static) -> Self {
        Self { load: Box::new(load), ..self }
    }

    fn capacity(self, capacity: impl Fn(f64) -> f64 + 'static) -> Self {
        Self { capacity: Box::new(capacity), ..self }
    }

    fn slowness(self, slowness: impl Fn(f64) -> f64 + 'static) -> Self {
        Self { slowness: Box::new(slowness), ..self }
    }

    fn bursts(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    fn some_take_five_seconds(self) -> Self {
        Self { slow_ones: true, ..self }
    }

    fn patience(self, patience: u64, works_on: bool) -> Self {
        Self { patience, works_on, ..self }
    }

    /// What came and went between two seconds.
    fn measure(mut self, from_s: u64, to_s: u64) -> Report {
        let counts = |now: u64| (from_s * SECOND..to_s * SECOND).contains(&now);
        let mut report = Report::default();
        let mut latencies = Vec::new();
        let (mut arrival, mut next_tick) = (0, 0);
        while arrival < to_s * SECOND {
            let ending = self.served.peek().map_or(u64::MAX, |served| served.0.0);
            self.give_up(next_tick.min(arrival).min(ending));
            if next_tick <= arrival.min(ending) {
                self.tick();
                if self.burst > 0 && next_tick % SECOND == 0 {
                    (0..self.burst).for_each(|_| report.refused += u64::from(!self.arrive(next_tick)));
                }
                next_tick += 100_000;
            } else if ending <= arrival {
                if let Some(latency) = self.end().filter(|_| counts(ending)) {
                    latencies.push(latency);
                }
            } else {
                let refused = !self.arrive(arrival);
                report.offered += u64::from(counts(arrival));
                report.refused += u64::from(refused && counts(arrival));
                let rate = (self.load)(arrival as f64 / 1e6) * self.upstream.capacity_per_s();
                arrival += 1 + (-self.random.unit().ln() / rate * 1e6) as u64;
            }
        }
        latencies.sort_unstable();
        let at = |quantile: f64| {
            latencies.get((quantile * latencies.len() as f64) as usize).map_or(0.0, |us| *us as f64 / 1e3)
        };
        let goodput = latencies.len() as f64 / (to_s - from_s) as f64 / self.upstream.capacity_per_s();
        Report { goodput, p50_ms: at(0.5), p99_ms: at(0.99), ..report }
    }

    /// Whether it was let in.
    fn arrive(&mut self, now: u64) -> bool {
        let in_flight = self.present.len() as u32;
        if self.adaptive.as_ref().is_some_and(|adaptive| in_flight >= adaptive.limit()) {
            self.sample.refused += 1;
            return false;
        }
        self.sample.in_flight = self.sample.in_flight.max(in_flight + 1);
        self.present.push_back(now);
        self.queue.push_back(now);
        self.serve(now);
        true
    }

    /// How long it took, if somebody waited for it.
    fn end(&mut self) -> Option<u64> {
        let Reverse((now, came)) = self.served.pop()?;
        self.serve(now);
        let place = self.present.binary_search(&came).ok()?;
        self.present.remove(place);
        let clip = self.adaptive.as_ref().map_or(u64::MAX, Adaptive::clip_us);
        self.sample.finished += 1;
        self.sample.latency_us += (now - came).min(clip);
        Some(now - came)
    }

    /// Who has waited for too long by now goes away.
    fn give_up(&mut self, now: u64) {
        while self.present.front().is_some_and(|came| now - came >= self.patience) {
            self.present.pop_front();
            let Some(adaptive) = self.adaptive.as_ref().filter(|adaptive| self.patience >= adaptive.slow_us()) else {
                continue;
            };
            self.sample.given_up += 1;
            self.sample.given_up_us += self.patience.min(adaptive.clip_us());
        }
    }

    fn serve(&mut self, now: u64) {
        let seconds = now as f64 / 1e6;
        let servers = (self.upstream.servers as f64 * (self.capacity)(seconds)).round() as usize;
        while self.served.len() < servers
            && let Some(came) = self.queue.pop_front()
        {
            if !self.works_on && now - came >= self.patience {
                continue;
            }
            let Upstream { mean_ms, sigma, .. } = self.upstream;
            let ms = mean_ms * (self.slowness)(seconds) * (sigma * self.random.normal() - sigma * sigma / 2.0).exp();
            let ms = if self.slow_ones && self.random.unit() < 0.001 { 5_000.0 } else { ms };
            self.served.push(Reverse((now + (ms * 1e3) as u64, came)));
        }
    }

    fn tick(&mut self) {
        let in_flight = self.present.len() as u32;
        let sample = std::mem::replace(&mut self.sample, Sample { in_flight, ..Sample::default() });
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.tick(sample);
        }
    }
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ mixed >> 31) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}
