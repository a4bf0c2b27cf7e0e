//! Traffic of two groups, window by window: requests, failures and latencies by chance, faults of the canary, and
//! bursts.
//!
//! Arrivals are Poisson, so the counts of groups and steps are independent and are drawn at once; latencies are
//! lognormal.

use routing_rules::analysis::{
    Analysis, Arm, Block, Dispersion, Edges, GROUPS, Histogram, Latency, Metric, PerMetric, Phase, Record, Settings,
    Start, WINDOW_S,
};

use crate::random::Random;

/// What both groups are asked, and how they answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// Requests per second of both groups.
    pub(crate) per_second: f64,
    /// The canary's share, from 0 to 1.
    pub(crate) share: f64,
    /// The failure rate of stable.
    pub(crate) failing: f64,
    /// The failure rate of the canary.
    pub(crate) canary_failing: f64,
    /// How many times stable's the canary's p99 is, with the same median.
    pub(crate) canary_p99_times: f64,
    pub(crate) bursts: Bursts,
}

/// Failures that come together. Both groups have them, each by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bursts {
    None,
    /// Once a minute one user fails some twenty times in a row.
    Users,
    /// One of twenty instances fails for a while.
    Instance(Illness),
}

/// How an instance fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// Every two minutes, half of its requests for one to five seconds.
    Short,
    /// Every five minutes, a fifth of its requests for some ten seconds, or longer.
    Long,
}

/// Draws windows of some traffic.
pub(crate) struct Source {
    traffic: Traffic,
    random: Random,
    stable_latency: Vec<f64>,
    canary_latency: Vec<f64>,
    edges: Edges,
    /// The instance that fails, and for how many seconds more.
    ill: Option<(usize, f64)>,
}

/// 10 % of 500 requests a second, 0.5 % of which fail; nothing is wrong.
pub(crate) const ALIKE: Traffic = Traffic {
    per_second: 500.0,
    share: 0.1,
    failing: 0.005,
    canary_failing: 0.005,
    canary_p99_times: 1.0,
    bursts: Bursts::None,
};

impl Source {
    pub(crate) fn new(traffic: Traffic, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_97f4_a7c1));
        let stable_latency = latencies(1.0);
        let ten_minutes = traffic.per_second * (1.0 - traffic.share) * 600.0;
        let history = histogram(&mut random, &stable_latency, ten_minutes);
        Self {
            edges: Edges::of_history([(600, &history)]).expect("there was traffic"),
            canary_latency: latencies(traffic.canary_p99_times),
            ill: None,
            traffic,
            random,
            stable_latency,
        }
    }

    /// Fixed by ten minutes of stable before.
    pub(crate) fn edges(&self) -> Edges {
        self.edges
    }

    /// Of six hours of stable before.
    pub(crate) fn dispersion(&mut self) -> Dispersion {
        let bursts = self.traffic.bursts;
        let (of_users, of_instances) = match bursts {
            Bursts::Instance(_) => (Bursts::None, bursts),
            _ => (bursts, Bursts::None),
        };
        let mut blocks = |bursts| (0..72).map(|_| self.block(bursts)).collect::<Vec<Block>>();
        Dispersion::of(&blocks(of_users), Some(&blocks(of_instances)))
    }

    /// A phase at 10 %, the next one at 20 %, of a release that begins before window 1.
    pub(crate) fn analysis(&mut self, phases: u32) -> Analysis {
        let first = Phase::new(1, 1_000, 2_000).expect("it grows");
        let (edges, usual_failure_rate) = (Some(self.edges), self.traffic.failing);
        let start = Start { phases, first, edges, usual_failure_rate, window: 0 };
        let mut analysis = Analysis::new(Settings::default(), start);
        analysis.set_dispersion(self.dispersion());
        analysis
    }

    pub(crate) fn record(&mut self) -> Record {
        let Traffic { per_second, share, failing, canary_failing, bursts, .. } = self.traffic;
        let requests = per_second * WINDOW_S as f64;
        let canary_latency = std::mem::take(&mut self.canary_latency);
        let stable_latency = std::mem::take(&mut self.stable_latency);
        let mut record = Record {
            canary: arm(&mut self.random, requests * share, canary_failing, &canary_latency),
            control: arm(&mut self.random, requests * (1.0 - share), failing, &stable_latency),
        };
        (self.canary_latency, self.stable_latency) = (canary_latency, stable_latency);
        let (canary, control) = match bursts {
            Bursts::None => (0, 0),
            Bursts::Users => self.users_fail(),
            Bursts::Instance(illness) => self.instance_fails(illness),
        };
        fail(&mut record.canary, canary);
        fail(&mut record.control, control);
        record
    }

    /// Failures of the canary and of stable in a window in which users fail.
    fn users_fail(&mut self) -> (u64, u64) {
        let mut failed = (0, 0);
        for _ in 0..self.random.poisson(WINDOW_S as f64 / USER_EVERY_S) {
            let times = self.random.exponential(USER_TIMES) as u64;
            *(if self.random.unit() <= self.traffic.share { &mut failed.0 } else { &mut failed.1 }) += times;
        }
        failed
    }

    /// The same in one in which an instance may be ill.
    fn instance_fails(&mut self, illness: Illness) -> (u64, u64) {
        let mut window_s = WINDOW_S as f64;
        if self.ill.is_none() && self.random.poisson(window_s / illness.every_s()) > 0 {
            self.ill = Some((self.random.below(INSTANCES), illness.length_s(&mut self.random)));
            // It begins somewhere in this window.
            window_s *= self.random.unit();
        }
        let Some((instance, left_s)) = self.ill else { return (0, 0) };
        let now_s = left_s.min(window_s);
        self.ill = (left_s > now_s).then_some((instance, left_s - now_s));
        let failed = self.random.poisson(self.traffic.per_second / INSTANCES as f64 * now_s * illness.part());
        let canaries = (self.traffic.share * INSTANCES as f64).round() as usize;
        if instance < canaries { (failed, 0) } else { (0, failed) }
    }

    /// Five minutes of stable, in groups of users or of instances; bursts are seen in their own kind of group.
    fn block(&mut self, bursts: Bursts) -> Block {
        let stable = self.traffic.per_second * (1.0 - self.traffic.share);
        let each = stable * BLOCK_S / GROUPS as f64;
        let rates = PerMetric::new(|metric| match metric {
            Metric::Errors => self.traffic.failing,
            Metric::P50 => 0.5,
            Metric::P75 => 0.25,
            Metric::P95 => 0.05,
            Metric::P99 => 0.01,
        });
        let mut block = Block {
            requests: [each as u64; GROUPS],
            events: PerMetric::new(|metric| [(); GROUPS].map(|()| self.random.poisson(each * rates[metric]))),
        };
        let every_s = match bursts {
            Bursts::None => return block,
            Bursts::Users => USER_EVERY_S,
            Bursts::Instance(illness) => illness.every_s(),
        };
        for _ in 0..self.random.poisson(BLOCK_S / every_s * (1.0 - self.traffic.share)) {
            let group = self.random.below(GROUPS);
            block.events[Metric::Errors][group] += match bursts {
                Bursts::Instance(illness) => {
                    let requests = self.traffic.per_second / INSTANCES as f64 * illness.length_s(&mut self.random);
                    self.random.poisson(requests * illness.part())
                }
                _ => self.random.exponential(USER_TIMES) as u64,
            };
        }
        block
    }
}

impl Illness {
    fn every_s(self) -> f64 {
        match self {
            Self::Short => 120.0,
            Self::Long => 300.0,
        }
    }

    fn length_s(self, random: &mut Random) -> f64 {
        match self {
            Self::Short => 1.0 + 4.0 * random.unit(),
            Self::Long => random.exponential(10.0),
        }
    }

    /// Of its requests, how many fail.
    fn part(self) -> f64 {
        match self {
            Self::Short => 0.5,
            Self::Long => 0.2,
        }
    }
}

const USER_EVERY_S: f64 = 60.0;
const USER_TIMES: f64 = 20.0;
const INSTANCES: usize = 20;
const BLOCK_S: f64 = 300.0;

/// Half of the answers take 40 ms or less, 1 % 257 ms or more.
const MEDIAN_MS: f64 = 40.0;
const SIGMA: f64 = 0.8;
/// 99 % of a normal distribution are below it.
const Z99: f64 = 2.326_347_874;

fn arm(random: &mut Random, requests: f64, failing: f64, latencies: &[f64]) -> Arm {
    let failed = random.poisson(requests * failing);
    let latencies = histogram(random, latencies, requests * (1.0 - failing));
    Arm { requests: failed + latencies.total(), failed, latencies, ..Arm::default() }
}

/// More requests, all of which fail.
fn fail(arm: &mut Arm, times: u64) {
    arm.requests += times;
    arm.failed += times;
}

fn histogram(random: &mut Random, parts: &[f64], answers: f64) -> Histogram {
    let count = |(place, part): (usize, &f64)| (Latency::at(BEGIN + place as i32), random.poisson(part * answers));
    parts.iter().enumerate().map(count).collect()
}

/// The first step that latencies are drawn in, of as many as up to a minute.
const BEGIN: i32 = -16;

/// The part of answers in each step.
fn latencies(p99_times: f64) -> Vec<f64> {
    let sigma = SIGMA + p99_times.ln() / Z99;
    let below = |index: i32| normal(((f64::from(index) / 8.0).exp2() / MEDIAN_MS).ln() / sigma);
    let mut parts: Vec<f64> = (BEGIN..128).map(|index| below(index) - below(index - 1)).collect();
    parts[0] = below(BEGIN);
    parts
}

/// How much of a normal distribution lies below, to 10^−7 (Abramowitz and Stegun, 26.2.17).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let above = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z >= 0.0 { 1.0 - above } else { above }
}

impl Random {
    /// How many independent events there are. Many are about normally distributed.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 300.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let end = (-mean).exp();
        let (mut product, mut events) = (self.unit(), 0);
        while product > end {
            product *= self.unit();
            events += 1;
        }
        events
    }
}
